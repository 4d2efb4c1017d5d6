package vmdk

import (
	"encoding/binary"
	"fmt"
	"math"

	"holdfast/capture/source"
)

const (
	magicSparse = "KDMV"
	magicCOWD   = "COWD"

	flagZeroedGrain = 1 << 2
	flagCompressed  = 1 << 16

	directoryAtEnd = math.MaxUint64 // the footer tells where the directory is
	footerBack     = 1024           // bytes from the footer to the end of the file

	maxGTEntries  = 512      // entries of a grain table; all known writers use it
	maxDirEntries = 32 << 20 // entries of a grain directory
	maxGrain      = 1 << 30  // bytes
	maxInflated   = 16 << 20 // bytes of a compressed grain; writers use 64 KiB
	directoryRead = 4 << 10  // bytes of the directory that are read at once
)

// sparseHeader is the checked header of a sparse extent file.
type sparseHeader struct {
	flags      uint32
	capacity   int64 // bytes
	grain      int64 // bytes
	descOff    int64 // bytes, 0 for none
	descLen    int64 // bytes
	gtEntries  int64
	dirOff     int64 // bytes
	dirEntries int64
}

func (h *sparseHeader) compressed() bool { return h.flags&flagCompressed != 0 }

// perTable is the number of guest bytes that one grain table maps.
func (h *sparseHeader) perTable() int64 { return h.gtEntries * h.grain }

// readSparseHeader reads the header, and the footer when it stands for it.
func readSparseHeader(f *source.File) (*sparseHeader, error) {
	h, atEnd, err := parseSparseHeader(f, 0)
	if err != nil || !atEnd {
		return h, err
	}
	at := f.Size() - footerBack
	if at < source.SectorSize {
		return nil, f.Corrupt(f.Size(), "the file ends before the footer that tells the grain directory: the image is truncated")
	}
	footer, atEnd, err := parseSparseHeader(f, at)
	if err != nil {
		return nil, fmt.Errorf("footer, which a truncated image lacks: %w", err)
	}
	if atEnd {
		return nil, f.Corrupt(at, "the footer does not tell the grain directory")
	}
	footer.descOff, footer.descLen = h.descOff, h.descLen
	return footer, nil
}

// parseSparseHeader reads the header at byte at; atEnd tells that the grain
// directory is told by the footer.
func parseSparseHeader(f *source.File, at int64) (_ *sparseHeader, atEnd bool, err error) {
	var b [79]byte
	if err := f.ReadFull(b[:], at, "VMDK header"); err != nil {
		return nil, false, err
	}
	switch version := binary.LittleEndian.Uint32(b[4:]); {
	case string(b[:4]) == magicCOWD:
		return nil, false, f.Unsupported("the COWD format of old ESX servers", "convert the disk with vmkfstools first")
	case string(b[:4]) != magicSparse:
		return nil, false, f.Corrupt(at, "not a sparse VMDK file: no magic number")
	case version < 1 || version > 3:
		return nil, false, f.Unsupported(fmt.Sprintf("VMDK version %d", version), "")
	}
	h := &sparseHeader{flags: binary.LittleEndian.Uint32(b[8:]), gtEntries: int64(binary.LittleEndian.Uint32(b[44:]))}
	for _, field := range []struct {
		at   int64
		to   *int64
		what string
	}{{12, &h.capacity, "capacity"}, {20, &h.grain, "grain size"}, {28, &h.descOff, "descriptor"}, {36, &h.descLen, "descriptor length"}} {
		sectors := binary.LittleEndian.Uint64(b[field.at:])
		if sectors > math.MaxInt64/source.SectorSize {
			return nil, false, f.Corrupt(at+field.at, "%s of %d sectors is beyond any disk", field.what, sectors)
		}
		*field.to = int64(sectors) * source.SectorSize
	}
	if h.capacity == 0 { // only holds a descriptor
		return h, false, nil
	}
	if c := binary.LittleEndian.Uint16(b[77:]); h.compressed() && c != 1 {
		return nil, false, f.Unsupported(fmt.Sprintf("VMDK compression %d", c), "")
	}
	if err := h.checkGeometry(f, at); err != nil {
		return nil, false, err
	}
	dir := binary.LittleEndian.Uint64(b[56:])
	if dir == directoryAtEnd {
		return h, true, nil
	}
	return h, false, h.setDirectory(f, at, dir)
}

func (h *sparseHeader) checkGeometry(f *source.File, at int64) error {
	switch {
	case h.grain == 0 || h.grain > maxGrain:
		return f.Corrupt(at+20, "grain size of %d bytes; %d to %d are possible", h.grain, source.SectorSize, maxGrain)
	case h.compressed() && h.grain > maxInflated:
		return f.Unsupported(fmt.Sprintf("compressed grains of %d bytes (at most %d)", h.grain, maxInflated), "")
	case h.gtEntries == 0 || h.gtEntries > maxGTEntries:
		return f.Corrupt(at+44, "grain tables of %d entries; 1 to %d are possible", h.gtEntries, maxGTEntries)
	}
	h.dirEntries = (h.capacity-1)/h.perTable() + 1
	if h.dirEntries > maxDirEntries {
		return f.Corrupt(at+12, "a capacity of %d bytes needs %d directory entries; %d are possible", h.capacity, h.dirEntries, maxDirEntries)
	}
	return nil
}

func (h *sparseHeader) setDirectory(f *source.File, at int64, sectors uint64) error {
	if sectors > math.MaxInt64/source.SectorSize {
		return f.Corrupt(at+56, "grain directory at sector %d", sectors)
	}
	h.dirOff = int64(sectors) * source.SectorSize
	if h.dirOff > f.Size() || h.dirEntries*4 > f.Size()-h.dirOff {
		return f.Corrupt(h.dirOff, "the grain directory of %d entries reaches beyond the end of the file (%d bytes): the image is truncated", h.dirEntries, f.Size())
	}
	return nil
}
