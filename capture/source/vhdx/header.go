package vhdx

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"holdfast/capture/source"
)

const (
	kib = 1 << 10
	mib = 1 << 20

	signature  = "vhdxfile"
	headerSize = 4 * kib
	headerOff1 = 64 * kib
	headerOff2 = 128 * kib
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the current header of a file.
type header struct {
	sequence  uint64
	dataWrite guid // what a child's parent linkage names
	log       guid // zero: there is nothing to replay
	logOff    int64
	logLen    int64
}

// readHeader finds the current header: the valid one, of two valid ones that
// with the higher sequence number (section 2.2.2).
func readHeader(f *source.File) (header, error) {
	var sig [len(signature)]byte
	if err := f.ReadFull(sig[:], 0, "VHDX signature"); err != nil {
		return header{}, err
	}
	if string(sig[:]) != signature {
		return header{}, f.Corrupt(0, "no VHDX signature")
	}
	h1, err1 := headerAt(f, headerOff1)
	h2, err2 := headerAt(f, headerOff2)
	switch {
	case err1 != nil && err2 != nil:
		return header{}, fmt.Errorf("neither header is valid: %w; %w", err1, err2)
	case err1 != nil:
		return h2, nil
	case err2 != nil:
		return h1, nil
	case h1.sequence == h2.sequence && h1 != h2:
		return header{}, f.Corrupt(headerOff2, "two different headers have the same sequence number %d", h1.sequence)
	case h1.sequence >= h2.sequence:
		return h1, nil
	}
	return h2, nil
}

// headerAt reads and checks one header.
func headerAt(f *source.File, off int64) (header, error) {
	b := make([]byte, headerSize)
	if err := f.ReadFull(b, off, "VHDX header"); err != nil {
		return header{}, err
	}
	if string(b[:4]) != "head" {
		return header{}, f.Corrupt(off, "no VHDX header")
	}
	if err := checkSum(f, off, b, "header"); err != nil {
		return header{}, err
	}
	if v := binary.LittleEndian.Uint16(b[66:]); v != 1 {
		return header{}, f.Unsupported(fmt.Sprintf("VHDX version %d", v), "")
	}
	h := header{
		sequence:  binary.LittleEndian.Uint64(b[8:]),
		dataWrite: guid(b[32:48]),
		log:       guid(b[48:64]),
		logLen:    int64(binary.LittleEndian.Uint32(b[68:])),
		logOff:    int64(binary.LittleEndian.Uint64(b[72:])),
	}
	if v := binary.LittleEndian.Uint16(b[64:]); v != 0 && h.log != (guid{}) {
		return header{}, f.Unsupported(fmt.Sprintf("VHDX log version %d", v), "let Hyper-V replay the log by mounting the image once")
	}
	if h.logOff < mib || h.logOff%mib != 0 || h.logLen < mib || h.logLen%mib != 0 {
		return header{}, f.Corrupt(off+68, "the log of %d bytes at byte %d is not made of whole MiB behind the headers", h.logLen, h.logOff)
	}
	if h.logLen > f.Size()-h.logOff {
		return header{}, f.Corrupt(off+68, "the log of %d bytes at byte %d reaches beyond the end of the file (%d bytes): the image is truncated", h.logLen, h.logOff, f.Size())
	}
	return h, nil
}

// checkSum proves a structure that was read from off; its checksum is in the
// bytes 4..7.
func checkSum(f *source.File, off int64, b []byte, what string) error {
	if has, want := binary.LittleEndian.Uint32(b[4:]), sum(b); has != want {
		return f.Corrupt(off+4, "the %s's checksum is %08x, its bytes give %08x", what, has, want)
	}
	return nil
}

// sum is the CRC-32C of b with the bytes 4..7 taken as zero.
func sum(b []byte) uint32 {
	var zero [4]byte
	s := crc32.Update(0, castagnoli, b[:4])
	s = crc32.Update(s, castagnoli, zero[:])
	return crc32.Update(s, castagnoli, b[8:])
}
