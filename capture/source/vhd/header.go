package vhd

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/url"
	"strings"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer"
)

const (
	headerSize     = 1024
	headerCookie   = "cxsparse"
	locatorsOff    = 576
	locatorCount   = 8
	locatorSize    = 24
	maxLocatorData = 64 << 10 // longer than any path of Windows in UTF-16
)

// header is a checked dynamic header.
type header struct {
	tableOff    int64 // of the BAT
	blockSize   int64
	parentID    uuid
	parentStamp uint32 // seconds since 2000-01-01, 0 for unknown
	parentRefs  []string
}

// readHeader reads the dynamic header and checks that its BAT covers the disk
// and lies in the file.
func readHeader(f *source.File, ft footer) (header, error) {
	off := ft.headerOff
	b := make([]byte, headerSize)
	if err := f.ReadFull(b, off, "VHD dynamic header"); err != nil {
		return header{}, err
	}
	if string(b[:8]) != headerCookie {
		return header{}, f.Corrupt(off, "no VHD dynamic header where the footer places it")
	}
	if err := checkSum(f, off, b, 36, "dynamic header"); err != nil {
		return header{}, err
	}
	if v := binary.BigEndian.Uint32(b[24:]); v>>16 != majorVersion {
		return header{}, f.Unsupported(fmt.Sprintf("VHD dynamic header version %d.%d", v>>16, v&0xffff), "")
	}
	h := header{
		tableOff:    int64(binary.BigEndian.Uint64(b[16:])),
		blockSize:   int64(binary.BigEndian.Uint32(b[32:])),
		parentID:    uuid(b[40:56]),
		parentStamp: binary.BigEndian.Uint32(b[56:]),
	}
	if h.blockSize < sectorSize || bits.OnesCount64(uint64(h.blockSize)) != 1 {
		return header{}, f.Corrupt(off+32, "the block size is %d bytes, not a power of two of at least %d", h.blockSize, sectorSize)
	}
	if err := checkTable(f, off, h, ft.size, int64(binary.BigEndian.Uint32(b[28:]))); err != nil {
		return header{}, err
	}
	if ft.kind != typeDifferencing {
		return h, nil
	}
	var err error
	h.parentRefs, err = readLocators(f, off, b)
	return h, err
}

// checkTable compares the BAT of the header at off with the disk and the file.
func checkTable(f *source.File, off int64, h header, size, entries int64) error {
	blocks := (size-1)/h.blockSize + 1
	if blocks > entries {
		return f.Corrupt(off+28, "the BAT has %d entries, the disk of %d bytes needs %d", entries, size, blocks)
	}
	// blocks < 2^32, so its bytes do not overflow.
	if h.tableOff < 0 || h.tableOff%sectorSize != 0 || h.tableOff > f.Size() || blocks*entrySize > f.Size()-h.tableOff {
		return f.Corrupt(off+16, "the BAT of %d entries at byte %d does not lie in the file (%d bytes): the image is truncated", blocks, h.tableOff, f.Size())
	}
	return nil
}

// readLocators collects the paths of the parent: relative ones, absolute ones,
// then the plain name of the header b, which was read from off.
func readLocators(f *source.File, off int64, b []byte) ([]string, error) {
	var relative, absolute []string
	for i := range int64(locatorCount) {
		place := locatorsOff + i*locatorSize
		l := b[place:][:locatorSize]
		code, length := string(l[:4]), int64(binary.BigEndian.Uint32(l[8:]))
		if code != "W2ru" && code != "W2ku" && code != "MacX" || length == 0 {
			continue
		}
		if length > maxLocatorData {
			return nil, f.Corrupt(off+place+8, "parent locator %s is %d bytes long, which no path is", code, length)
		}
		data := make([]byte, length)
		if err := f.ReadFull(data, int64(binary.BigEndian.Uint64(l[16:])), "parent locator "+code); err != nil {
			return nil, err
		}
		switch code {
		case "W2ru":
			relative = append(relative, layer.UTF16(data, binary.LittleEndian.Uint16))
		case "W2ku":
			absolute = append(absolute, layer.UTF16(data, binary.LittleEndian.Uint16))
		case "MacX":
			relative = append(relative, fromURL(string(data)))
		}
	}
	name := layer.UTF16(b[64:locatorsOff], binary.BigEndian.Uint16)
	return append(append(relative, absolute...), name), nil
}

// fromURL takes the path out of a file URL; XenServer writes file://./name
// without escapes.
func fromURL(ref string) string {
	ref, _, _ = strings.Cut(ref, "\x00")
	ref = strings.TrimPrefix(ref, "file://")
	if plain, err := url.PathUnescape(ref); err == nil {
		return plain
	}
	return ref
}
