package chunkstore

import (
	"context"
	"errors"
	"io"

	"holdfast/chunkstore/pack"
)

const (
	runFirst = 128 << 10 // what the first read of a row takes; holds any record
	runMost  = 512 << 10
)

// Run reads chunks for one reader who wants them mostly in the order in which they
// were put, as whoever reads a disk from front to back does. Two records of a row,
// found by the index, make it read the pack on from there in larger steps. What then
// lies behind the last chunk and says that it is the next one is taken without a
// look-up: wherever bytes were found, the chunk's id proves them. What is not proved so
// is read as Get reads it, with all that follows for what is damaged.
//
// It holds up to 512 KiB of one pack beside what its shelf has. It is not safe for
// concurrent use.
type Run struct {
	store *Store
	mem   []byte

	row  spot   // behind the last record that was taken from have
	have []byte // of row's pack, from row on; a part of mem, or of what on has
	step int    // bytes that the next read takes; 0: it is not read on

	shelf *shelf
	on    *stretch // in use; nil: none

	alone spot // behind the last record that was read by itself
	rec   []byte
}

// spot is a byte of a pack.
type spot struct {
	pack   uint64
	offset int64
}

var _ Getter = (*Run)(nil)

// Get implements Getter, for one caller at a time.
func (r *Run) Get(ctx context.Context, id ID, buf []byte) ([]byte, error) {
	r.store.activity.begin()
	defer r.store.activity.end()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if rec := r.find(id); rec != nil {
		if plain, err := r.store.codec.Decode(buf, rec, id); err == nil {
			return plain, nil
		}
		r.have = nil
	}
	return r.store.get(ctx, id, buf)
}

// find returns what is probably the record of a published chunk, until the next
// call, or nil.
func (r *Run) find(id ID) []byte {
	if rec := r.following(id); rec != nil {
		return rec
	}
	at, ok, err := r.store.lookup(id)
	if err != nil || !ok {
		return nil
	}
	here := spot{at.pack, int64(at.offset)}
	skip := here.offset - r.row.offset
	switch {
	case here.pack == r.row.pack && skip >= 0 && skip < r.whole():
		r.take(int(skip))
		return r.following(id)
	case r.enter(here):
		return r.following(id)
	case here == r.alone:
		r.leave()
		r.row, r.have, r.step = here, nil, runFirst
		return r.following(id)
	}
	if r.rec, err = r.store.readPlace(id, at, r.rec); err != nil {
		r.rec = nil
		return nil
	}
	r.alone = spot{at.pack, int64(at.offset) + int64(len(r.rec))}
	return r.rec
}

// whole is how much of have holds whole records, or what fill can make whole. It has
// nothing once a record in it was not proved.
func (r *Run) whole() int64 {
	n := int64(len(r.have))
	if r.on != nil {
		n = min(n, r.on.end-r.row.offset)
	}
	return n
}

// enter goes on in what was read ahead, if that has a place.
func (r *Run) enter(here spot) bool {
	t := r.shelf.take(here)
	if t == nil {
		return false
	}
	r.leave()
	r.row, r.have, r.step, r.on = here, t.bytes[here.offset-t.offset:], 0, t
	return true
}

// leave lets go of what was read ahead.
func (r *Run) leave() {
	if r.on != nil {
		r.shelf.giveBack(r.on)
		r.on, r.have = nil, nil
	}
}

// following returns the record behind the last one if it says that it is of chunk id.
func (r *Run) following(id ID) []byte {
	if len(r.have) < pack.RecordHeaderLen && !r.fill() {
		return nil
	}
	n, ok := pack.Peek(r.have, id)
	if !ok || len(r.have) < n && (!r.fill() || len(r.have) < n) {
		return nil
	}
	rec := r.have[:n]
	r.take(n)
	return rec
}

// take leaves n bytes behind.
func (r *Run) take(n int) {
	r.have, r.row.offset = r.have[n:], r.row.offset+int64(n)
}

// fill reads on, and reports whether there is more than before.
func (r *Run) fill() bool {
	if r.step == 0 {
		return false
	}
	if r.mem == nil {
		r.mem = make([]byte, runMost)
	}
	n := copy(r.mem, r.have)
	f, err := r.store.files.open(r.row.pack)
	if err != nil {
		r.step = 0
		return false
	}
	defer r.store.files.done(f)
	got, err := f.ReadAt(r.mem[n:max(r.step, n)], r.row.offset+int64(n))
	r.have, r.step = r.mem[:n+got], min(2*r.step, runMost)
	if err != nil && !errors.Is(err, io.EOF) {
		r.step = 0
	}
	return got > 0
}
