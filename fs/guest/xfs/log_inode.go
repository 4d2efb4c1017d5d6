package xfs

import (
	"context"
	"fmt"
	"slices"

	"holdfast/fs/guest"
)

// The format of a changed inode (Inode Log Item): type 2, regions 2, fields 4,
// lengths of the forks 2 + 2, 4 unused (not where a kernel of 32 bits wrote
// it), number 8, device 16, place of its buffer in sectors 8, the buffer's
// length 4, place in the buffer in bytes 4. Its regions are the core, in the
// order of bytes of the machine, and what has changed of the forks.
const (
	inodeItemLen   = 56
	inodeItemLen32 = 52

	fieldData       = 0x002
	fieldExtents    = 0x004
	fieldRoot       = 0x008
	fieldDevice     = 0x010
	fieldAttrData   = 0x040
	fieldAttrExts   = 0x080
	fieldAttrRoot   = 0x100
	fieldsData      = fieldData | fieldExtents | fieldRoot
	fieldsAttr      = fieldAttrData | fieldAttrExts | fieldAttrRoot
	fieldsAsTheyAre = fieldData | fieldExtents | fieldAttrData | fieldAttrExts

	maxFlush = 0xffff
)

// logInode is such a format.
type logInode struct {
	extent
	fields uint32
	device uint32
	within int64 // place in the buffer
}

func parseLogInode(b []byte) (logInode, error) {
	pad := 4
	switch {
	case len(b) >= inodeItemLen:
	case len(b) == inodeItemLen32:
		pad = 0
	default:
		return logInode{}, fmt.Errorf("a changed inode of %d bytes", len(b))
	}
	rest := b[12+pad:]
	return logInode{
		fields: le.Uint32(b[4:]), device: le.Uint32(rest[8:]), within: int64(int32(le.Uint32(rest[36:]))),
		extent: extent{place: int64(le.Uint64(rest[24:])), count: le.Uint32(rest[32:])},
	}, nil
}

// inode replays a changed inode.
func (r *replayer) inode(ctx context.Context, it *item, lsn uint64) error {
	li, err := parseLogInode(it.regions[0])
	if err != nil {
		return err
	}
	if r.cancels.counts[li.extent] > 0 {
		return nil
	}
	f := r.fs
	if err := f.checkExtent(li.extent); err != nil {
		return err
	}
	if li.within < 0 || li.within > int64(li.count)*sector-f.sb.inodeSize || li.within%f.sb.inodeSize != 0 || len(it.regions) < 2 {
		return guest.Corrupt("xfs log: an inode at byte %d of %d sectors, in %d regions", li.within, li.count, len(it.regions))
	}
	off := li.place*sector + li.within
	b, err := f.current(ctx, off, f.sb.inodeSize)
	if err != nil {
		return err
	}
	core := it.regions[1]
	if len(core) < f.coreLen() || le.Uint16(core) != inodeMagic || (core[4] == 3) != f.sb.v5 {
		return guest.Corrupt("xfs log: an inode's core of %d bytes at byte %d", len(core), off)
	}
	if f.newerInode(b, core, lsn) {
		return nil
	}
	f.writeCore(b, core, lsn)
	if err := f.writeForks(b, li, it.regions[2:]); err != nil {
		return fmt.Errorf("%w; inode at byte %d", err, off)
	}
	return f.change(ctx, b, off)
}

// coreLen is the length of a core, in the log as on disk. Before version 3 the
// last field of the log's, next unlinked, may be missing.
func (f *FS) coreLen() int {
	if f.sb.v5 {
		return coreLenV3
	}
	return inodeSum - 4
}

// newerInode says that the inode on disk holds the change already. Several
// transactions may have one LSN, so an equal one does not say so. Before
// version 3 a count of flushes, which wraps, tells.
func (f *FS) newerInode(b, core []byte, lsn uint64) bool {
	if be.Uint16(b) != inodeMagic {
		return false
	}
	if f.sb.v5 {
		onDisk := be.Uint64(b[inodeLSN:])
		return b[4] == 3 && onDisk != 0 && onDisk != ^uint64(0) && onDisk > lsn
	}
	onDisk, logged := be.Uint16(b[inodeFlush:]), le.Uint16(core[inodeFlush:])
	return logged < onDisk && !(onDisk == maxFlush && logged < maxFlush/2)
}

// coreFields are the offset and length of a core's numbers but for those that
// depend on its version.
var coreFields = [][2]int{
	{0, 2}, {2, 2}, {6, 2}, {8, 4}, {12, 4}, {16, 4}, {20, 2}, {22, 2}, {56, 8}, {64, 8}, {72, 4}, {76, 4}, {80, 2}, {84, 4}, {88, 2},
	{90, 2}, {92, 4},
}

// coreFieldsV3 are those of version 3 alone.
var coreFieldsV3 = [][2]int{{104, 8}, {120, 8}, {128, 4}, {152, 8}}

// writeCore writes a core in the order of bytes of the disk. The list of
// unlinked inodes is not the core's to change.
func (f *FS) writeCore(b, core []byte, lsn uint64) {
	unlinked := [4]byte(b[96:])
	length := min(len(core), coreLen)
	fields := coreFields
	times := [][2]int{{32, 4}, {36, 4}, {40, 4}, {44, 4}, {48, 4}, {52, 4}}
	if f.sb.v5 {
		length = coreLenV3
		fields = slices.Concat(fields, coreFieldsV3)
		times = append(times, [2]int{144, 4}, [2]int{148, 4})
		bits := le.Uint64(core[120:])
		if bits&flag2Big != 0 {
			times = [][2]int{{32, 8}, {40, 8}, {48, 8}, {144, 8}}
		}
		if bits&flag2Nrext != 0 {
			times = append(times, [2]int{24, 8})
		}
	}
	copy(b, core[:length])
	for _, field := range slices.Concat(fields, times) {
		slices.Reverse(b[field[0]:][:field[1]])
	}
	copy(b[96:], unlinked[:])
	if f.sb.v5 {
		be.PutUint64(b[inodeLSN:], lsn)
	} else {
		clear(b[inodeFlush:][:2])
	}
}

// writeForks writes what has changed of the forks.
func (f *FS) writeForks(b []byte, li logInode, regions [][]byte) error {
	literal := b[coreLen:]
	if f.sb.v5 {
		literal = b[coreLenV3:]
	}
	data, attr := literal, []byte(nil)
	if at := int(b[82]) * 8; at > len(literal) {
		return guest.Corrupt("xfs log: an attribute fork at %d of %d", at, len(literal))
	} else if at > 0 {
		data, attr = literal[:at], literal[at:]
	}
	for _, change := range []struct {
		fields uint32
		fork   []byte
	}{{li.fields & fieldsData, data}, {li.fields & fieldsAttr, attr}} {
		if change.fields == 0 {
			continue
		}
		if len(regions) == 0 {
			return guest.Corrupt("xfs log: a changed inode without its fork")
		}
		if err := f.writeFork(change.fork, regions[0], change.fields&fieldsAsTheyAre == 0); err != nil {
			return err
		}
		regions = regions[1:]
	}
	if li.fields&fieldDevice != 0 && len(data) >= 4 {
		be.PutUint32(data, li.device)
	}
	return nil
}

// writeFork writes a fork as it is, or the root of its B+tree, which the log
// has in the form of a block: there as here keys and pointers each take the
// room of all that fit.
func (f *FS) writeFork(fork, logged []byte, root bool) error {
	if !root {
		if len(logged) > len(fork) {
			return guest.Corrupt("xfs log: %d bytes for a fork of %d", len(logged), len(fork))
		}
		copy(fork, logged)
		return nil
	}
	head := longHead
	if f.sb.v5 {
		head = longHeadV5
	}
	if len(logged) < head || len(fork) < bmapRoot {
		return guest.Corrupt("xfs log: the root of an extent B+tree in %d bytes", len(logged))
	}
	count, from, to := int(be.Uint16(logged[6:])), (len(logged)-head)/16, (len(fork)-bmapRoot)/16
	if count > from || count > to {
		return guest.Corrupt("xfs log: the root of an extent B+tree with %d keys", count)
	}
	copy(fork, logged[4:8])
	copy(fork[bmapRoot:][:8*count], logged[head:])
	copy(fork[bmapRoot+8*to:][:8*count], logged[head+8*from:])
	return nil
}
