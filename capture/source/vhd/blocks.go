package vhd

import (
	"encoding/binary"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer"
)

const (
	entrySize   = 4
	unallocated = 0xffffffff
)

// flat is the map of a fixed disk: the guest's bytes are the file's.
type flat struct{ size int64 }

func (m flat) Run(off int64) (layer.Run, error) {
	return layer.Run{Kind: layer.Stored, Length: m.size - off, FileOff: off}, nil
}

// blocks is the map of a dynamic or differencing disk.
type blocks struct {
	file      *source.File
	tables    *layer.Pages
	tableOff  int64
	blockSize int64
	bitmap    int64 // bytes of a block's sector bitmap, with its padding
	size      int64 // of the disk
	child     bool  // differencing: the bitmaps decide
}

func newBlocks(f *source.File, h header, size int64, child bool) *blocks {
	bitmap := (h.blockSize/sectorSize + 7) / 8
	return &blocks{
		file:      f,
		tables:    layer.NewPages(f),
		tableOff:  h.tableOff,
		blockSize: h.blockSize,
		bitmap:    (bitmap + sectorSize - 1) / sectorSize * sectorSize,
		size:      size,
		child:     child,
	}
}

// Run implements layer.Map.
func (m *blocks) Run(off int64) (layer.Run, error) {
	block, within := off/m.blockSize, off%m.blockSize
	length := m.blockSize - within
	at, err := m.locate(block)
	if err != nil {
		return layer.Run{}, err
	}
	if at < 0 { // in a dynamic disk there is no parent, so this means zeros
		return layer.Run{Kind: layer.Inherited, Length: length}, nil
	}
	run := layer.Run{Kind: layer.Stored, Length: length, FileOff: at + m.bitmap + within}
	if !m.child {
		return run, nil
	}
	bits, set, err := m.bits(at, within/sectorSize)
	if err != nil {
		return layer.Run{}, err
	}
	run.Length = min(length, bits*sectorSize-within%sectorSize)
	if !set {
		run.Kind, run.FileOff = layer.Inherited, 0
	}
	return run, nil
}

// locate returns where in the file a block begins, -1 where it is not there.
func (m *blocks) locate(block int64) (int64, error) {
	place := m.tableOff + block*entrySize
	entry, err := m.tables.At(place, "BAT")
	if err != nil {
		return 0, err
	}
	// The BAT begins at a sector, so an entry never straddles two pages; it
	// may straddle the end of a file that shrank.
	if len(entry) < entrySize {
		return 0, m.file.ReadFull(make([]byte, entrySize), place, "BAT")
	}
	sector := binary.BigEndian.Uint32(entry)
	if sector == unallocated {
		return -1, nil
	}
	at := int64(sector) * sectorSize
	need := m.bitmap + min(m.blockSize, m.size-block*m.blockSize)
	if need > m.file.Size()-at {
		return 0, m.file.Corrupt(place, "block %d at byte %d reaches beyond the end of the file (%d bytes): the image is truncated", block, at, m.file.Size())
	}
	return at, nil
}

// bits counts the equal bits from a sector's on in the bitmap of the block at
// byte at, as far as one page of the file goes.
func (m *blocks) bits(at, sector int64) (n int64, set bool, err error) {
	bitmap, err := m.tables.At(at+sector/8, "sector bitmap")
	if err != nil {
		return 0, false, err
	}
	bitmap = bitmap[:min(int64(len(bitmap)), m.bitmap-sector/8)]
	count, set := layer.BitRun(bitmap, int(sector%8), layer.HighFirst)
	return int64(count), set, nil
}
