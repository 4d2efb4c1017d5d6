package btrfs

import (
	"bytes"
	"slices"
)

// putExtent sets an extent of a file, and counts the bytes that it takes.
func (r *replayer) putExtent(k key, item []byte) error {
	if ok, err := r.exists(k.object); err != nil || !ok {
		return err
	}
	e, err := r.fs.parseExtent(k, item)
	if err != nil {
		return err
	}
	old, err := r.get(k)
	if err != nil || e.kind != extentInline && bytes.Equal(old, item) {
		return err
	}
	dropped, err := r.drop(k.object, uint64(e.start), uint64(e.end))
	if err != nil {
		return err
	}
	length := e.end - e.start
	switch {
	case e.kind == extentInline:
		length = int64(e.decoded)
	case e.place == 0:
		length = 0
	}
	if e.kind == extentInline || e.place != 0 || r.fs.sb.incompat&incompatNoHoles == 0 {
		r.put(k, slices.Clone(item))
	}
	return r.grow(k.object, atBytes, length-dropped)
}

// drop takes bytes start to end out of a file's extents, and gives how many of
// them took space.
func (r *replayer) drop(inode, start, end uint64) (dropped int64, err error) {
	first, err := r.fs.extentBefore(r.ctx, r.dest, inode, int64(start))
	if err != nil || start >= end {
		return 0, err
	}
	have, err := r.collect(r.dest, inode, kindExtentData, first.offset, end-1)
	if err != nil {
		return 0, err
	}
	for _, x := range have {
		e, err := r.fs.parseExtent(x.key, x.item)
		if err != nil {
			return 0, err
		}
		from, to := max(start, uint64(e.start)), min(end, uint64(e.end))
		if from >= to {
			continue
		}
		r.put(x.key, nil)
		if e.kind == extentInline {
			dropped += int64(e.decoded)
			continue
		}
		if e.place != 0 {
			dropped += int64(to - from)
		}
		r.keep(x, uint64(e.start), from)
		r.keep(x, to, uint64(e.end))
	}
	return dropped, nil
}

// keep puts back a part of an extent.
func (r *replayer) keep(x found, from, to uint64) {
	if from >= to {
		return
	}
	b := slices.Clone(x.item)
	if le.Uint64(b[21:]) != 0 {
		le.PutUint64(b[37:], le.Uint64(b[37:])+from-x.key.offset)
	}
	le.PutUint64(b[45:], to-from)
	r.put(key{x.key.object, kindExtentData, from}, b)
}
