package btrfs

import (
	"cmp"
	"context"
	"slices"

	"holdfast/fs/guest"
)

// A chunk maps a run of the logical space, in which trees and extents have
// their places, to stripes on devices (btrfs_chunk):
//
//	0 length  16 stripe length  24 type  44 stripes 2  46 sub-stripes 2
//	48 stripes: device 8, place 8, uuid 16
const (
	chunkHead  = 48
	stripeSize = 32
	maxChunks  = 1 << 20 // of 256 MiB at least on any large filesystem
)

// Bits of a chunk's type: what it holds, and how.
const (
	chunkData  = 0x1
	chunkRAID0 = 0x8
	chunkRAID1 = 0x10
	chunkDup   = 0x20
	chunk10    = 0x40
	chunk5     = 0x80
	chunk6     = 0x100
	chunk1C3   = 0x200
	chunk1C4   = 0x400
	chunkKnown = 0x7ff
)

type chunk struct {
	start, length uint64 // in the logical space
	kind          uint64
	sub           uint64 // RAID10: copies of each stripe
	stripes       []stripe
}

type stripe struct {
	device uint64
	off    uint64 // on the device
	uuid   [16]byte
}

// parseChunk reads a chunk, and gives the length of its item.
func parseChunk(start uint64, b []byte) (chunk, int, error) {
	if len(b) < chunkHead {
		return chunk{}, 0, guest.Corrupt("btrfs chunk at %d: %d bytes", start, len(b))
	}
	c := chunk{start: start, length: le.Uint64(b), kind: le.Uint64(b[24:]), sub: uint64(le.Uint16(b[46:]))}
	n, unit := int(le.Uint16(b[44:])), le.Uint64(b[16:])
	size := chunkHead + n*stripeSize
	switch {
	case n == 0 || len(b) < size || unit != stripeLen || c.length == 0 || c.length > 1<<60 || start > 1<<62 || c.length%4096 != 0:
		return chunk{}, 0, guest.Corrupt("btrfs chunk at %d: %d bytes, %d stripes of %d", start, c.length, n, unit)
	case c.kind&^chunkKnown != 0 || !c.plausible(n):
		return chunk{}, 0, guest.Corrupt("btrfs chunk at %d: type %#x with %d stripes, %d of them copies", start, c.kind, n, c.sub)
	}
	for at := chunkHead; at < size; at += stripeSize {
		s := stripe{le.Uint64(b[at:]), le.Uint64(b[at+8:]), [16]byte(b[at+16:])}
		if s.off > 1<<62 {
			return chunk{}, 0, guest.Corrupt("btrfs chunk at %d: a stripe at byte %d", start, s.off)
		}
		c.stripes = append(c.stripes, s)
	}
	return c, size, nil
}

// plausible tells whether n stripes can be what the type says.
func (c *chunk) plausible(n int) bool {
	switch c.kind & (chunkRAID0 | chunkRAID1 | chunkDup | chunk10 | chunk5 | chunk6 | chunk1C3 | chunk1C4) {
	case 0:
		return n == 1
	case chunkRAID0:
		return true
	case chunkRAID1, chunkDup, chunk1C3, chunk1C4:
		return n <= 4
	case chunk10:
		return c.sub == 2 && n%2 == 0
	case chunk5:
		return n >= 2 && n <= 255
	case chunk6:
		return n >= 3 && n <= 255
	}
	return false
}

// readChunks reads the chunks of the superblock, by them the tree of all
// chunks, and the items of the devices.
func (f *FS) readChunks(ctx context.Context) error {
	for b := f.sb.systemChunks; len(b) > 0; {
		if len(b) < keyLen || b[8] != kindChunk {
			return guest.Corrupt("btrfs superblock: %d odd bytes behind its chunks", len(b))
		}
		c, n, err := parseChunk(parseKey(b).offset, b[keyLen:])
		if err != nil {
			return err
		}
		f.chunks, b = append(f.chunks, c), b[keyLen+n:]
	}
	if err := f.sortChunks(); err != nil {
		return err
	}
	system := f.chunks
	var all []chunk
	var failed error
	err := f.scan(ctx, &tree{id: treeChunk, root: f.sb.chunks}, key{}, func(k key, b []byte) bool {
		switch {
		case k.kind == kindDevice && len(b) >= deviceItemLen:
			d := parseDevice(b)
			d.number = k.offset
			f.items = append(f.items, d)
		case k.kind == kindChunk:
			var c chunk
			if c, _, failed = parseChunk(k.offset, b); failed == nil {
				all = append(all, c)
			}
		}
		if len(all)+len(f.items) > maxChunks {
			failed = guest.Corrupt("btrfs: more than %d chunks", maxChunks)
		}
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	f.chunks = append(all, system...)
	return f.sortChunks()
}

// sortChunks puts chunks in order, and those that come twice once.
func (f *FS) sortChunks() error {
	slices.SortStableFunc(f.chunks, func(a, b chunk) int { return cmp.Compare(a.start, b.start) })
	f.chunks = slices.CompactFunc(f.chunks, func(a, b chunk) bool { return a.start == b.start && a.length == b.length && a.kind == b.kind })
	for i := 1; i < len(f.chunks); i++ {
		if a, b := &f.chunks[i-1], &f.chunks[i]; a.start+a.length > b.start {
			return guest.Corrupt("btrfs: chunks of %d bytes at %d and at %d overlap", a.length, a.start, b.start)
		}
	}
	return nil
}

// chunkAt finds the chunk that holds a place in the logical space.
func (f *FS) chunkAt(logical uint64) (*chunk, error) {
	i, found := slices.BinarySearchFunc(f.chunks, logical, func(c chunk, at uint64) int { return cmp.Compare(c.start, at) })
	if !found {
		i--
	}
	if i < 0 || logical-f.chunks[i].start >= f.chunks[i].length {
		return nil, guest.Corrupt("btrfs: no chunk holds byte %d of the logical space", logical)
	}
	return &f.chunks[i], nil
}
