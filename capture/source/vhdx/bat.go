package vhdx

import (
	"encoding/binary"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer"
)

const (
	batEntrySize    = 8
	bitmapBlockSize = 1 * mib
	bitsPerBitmap   = 8 * bitmapBlockSize
)

// State of a block (section 2.5.1). Payload blocks can have all of them,
// sector bitmap blocks notPresent and fullyPresent.
const (
	notPresent       = 0
	undefined        = 1
	zeroed           = 2
	unmapped         = 3
	fullyPresent     = 6
	partiallyPresent = 7
)

// bat is the map of a disk.
type bat struct {
	file   *source.File
	bytes  layer.Bytes // the file after replay
	tables *layer.Pages
	region span
	meta   metadata
	ratio  int64 // payload blocks in a chunk
}

// newBAT checks that the region holds an entry for each block.
func newBAT(f *source.File, bytes layer.Bytes, region span, m metadata) (*bat, error) {
	t := &bat{
		file:   f,
		bytes:  bytes,
		tables: layer.NewPages(bytes),
		region: region,
		meta:   m,
		// At least 16: 2^23 sectors of 512 bytes in blocks of 256 MiB.
		ratio: bitsPerBitmap * m.sector / m.blockSize,
	}
	last := t.payloadIndex((m.size - 1) / m.blockSize)
	if m.hasParent {
		last = t.bitmapIndex((m.size - 1) / m.blockSize)
	}
	if (last+1)*batEntrySize > region.length {
		return nil, f.Corrupt(region.off, "the BAT of %d bytes is too short for the %d entries of a disk of %d bytes", region.length, last+1, m.size)
	}
	return t, nil
}

// payloadIndex is the number of a payload block's entry.
func (t *bat) payloadIndex(block int64) int64 { return block + block/t.ratio }

// bitmapIndex is the number of the entry of the sector bitmap block that
// describes a payload block.
func (t *bat) bitmapIndex(block int64) int64 { return (block/t.ratio+1)*(t.ratio+1) - 1 }

// Run implements layer.Map.
func (t *bat) Run(off int64) (layer.Run, error) {
	block, within := off/t.meta.blockSize, off%t.meta.blockSize
	length := t.meta.blockSize - within
	index := t.payloadIndex(block)
	state, at, err := t.entry(index)
	if err != nil {
		return layer.Run{}, err
	}
	switch state {
	case notPresent: // without a parent, what is inherited is zeros
		return layer.Run{Kind: layer.Inherited, Length: length}, nil
	case undefined, zeroed, unmapped:
		return layer.Run{Kind: layer.Zeros, Length: length}, nil
	}
	if state != fullyPresent && (state != partiallyPresent || !t.meta.hasParent) {
		return layer.Run{}, t.file.Corrupt(t.place(index), "block %d has the state %d, which a disk of its kind cannot have", block, state)
	}
	need := min(t.meta.blockSize, t.meta.size-block*t.meta.blockSize)
	if err := t.checkPlace(index, at, need); err != nil {
		return layer.Run{}, err
	}
	run := layer.Run{Kind: layer.Stored, Length: length, FileOff: at + within}
	if state == fullyPresent {
		return run, nil
	}
	n, here, err := t.sectors(block, off)
	if err != nil {
		return layer.Run{}, err
	}
	run.Length = min(length, n)
	if !here {
		run.Kind, run.FileOff = layer.Inherited, 0
	}
	return run, nil
}

// place is where in the file an entry lies.
func (t *bat) place(index int64) int64 { return t.region.off + index*batEntrySize }

// entry reads one entry; at is the byte that it points to, not yet checked.
func (t *bat) entry(index int64) (state uint64, at int64, err error) {
	b, err := t.tables.At(t.place(index), "BAT")
	if err != nil {
		return 0, 0, err
	}
	if len(b) < batEntrySize { // the region is in the file: never so
		return 0, 0, t.file.Corrupt(t.place(index), "the BAT ends within an entry")
	}
	e := binary.LittleEndian.Uint64(b)
	// 44 bits of MiB may overflow: the largest value stands for "beyond".
	return e & 7, int64(min(e>>20, 1<<43-1)) * mib, nil
}

// checkPlace proves that the need bytes of a block lie in the file, behind the
// headers.
func (t *bat) checkPlace(index, at, need int64) error {
	if at < mib {
		return t.file.Corrupt(t.place(index), "BAT entry %d points into the headers, at byte %d", index, at)
	}
	if need > t.bytes.Size()-at {
		return t.file.Corrupt(t.place(index), "the block of BAT entry %d at byte %d reaches beyond the end of the file (%d bytes): the image is truncated", index, at, t.bytes.Size())
	}
	return nil
}

// sectors counts the guest bytes from off on that are all here or all in the
// parent, as far as one page of the sector bitmap tells.
func (t *bat) sectors(block, off int64) (n int64, here bool, err error) {
	index := t.bitmapIndex(block)
	state, at, err := t.entry(index)
	if err != nil {
		return 0, false, err
	}
	if state != fullyPresent {
		return 0, false, t.file.Corrupt(t.place(index), "block %d is partially present, but its sector bitmap is not (state %d)", block, state)
	}
	if err := t.checkPlace(index, at, bitmapBlockSize); err != nil {
		return 0, false, err
	}
	sector := off / t.meta.sector % bitsPerBitmap
	bitmap, err := t.tables.At(at+sector/8, "sector bitmap")
	if err != nil {
		return 0, false, err
	}
	// A bitmap block is 1 MiB at a multiple of 1 MiB: whole pages.
	count, here := layer.BitRun(bitmap, int(sector%8), layer.LowFirst)
	return int64(count)*t.meta.sector - off%t.meta.sector, here, nil
}
