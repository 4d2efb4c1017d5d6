package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

// mover copies what is alive in some packs to new ones and then removes them.
// Roots go to a pack of their own: to drop one later costs a small pack.
type mover struct {
	*pruner
	sources []*source
	out     [3]*openPack // data, maps, roots
	moves   []packMove
	dead    []deadChunk
	buf     []byte
}

// source is a pack to be removed.
type source struct {
	*packShare
	stays bool // something in it is still needed, or may be
	keep  bool // it stays because it is not known what is in it
}

const rootsOut = 2

type packMove struct {
	move
	out  *openPack
	from *source
}

type deadChunk struct {
	id   ID
	at   place
	from *source
}

// copyPack copies the live records of one pack. What it can't read or judge
// makes the pack stay; an error is of the new pack or the context.
func (m *mover) copyPack(ctx context.Context, src *source) error {
	known, err := m.knows(src.number)
	if err != nil || !known {
		src.stays = true
		return err
	}
	f, entries, err := m.footer(src.number)
	if err != nil {
		return m.unreadable(ctx, src, err)
	}
	defer m.files.done(f)
	found := 0
	for _, e := range entries {
		if err := m.breathe(ctx); err != nil {
			return err
		}
		here, err := m.take(f, src, e)
		if err != nil {
			return err
		}
		if here {
			found++
		}
	}
	if found < src.entries { // entries lead to it that are none of its records': a scrub's work
		if left, err := m.strays(ctx, src, entries); err != nil || left {
			src.stays = true
			return err
		}
	}
	return nil
}

// unreadable is what becomes of a pack that can't be read: nothing alive in it
// is lost by its end, or it stays. Its footer may have been read when it was judged.
func (m *mover) unreadable(ctx context.Context, src *source, cause error) error {
	if src.live == 0 && !src.allKnown() && !errors.Is(cause, fs.ErrNotExist) {
		src.stays, src.keep = true, true
		m.warnKept(src.number, cause)
		return nil
	}
	if src.live > 0 {
		src.stays = true
		m.log.Warn("a pack can't be read and is left to a scrub", "pack", packName(src.number), "err", cause)
		return nil
	}
	return m.chunksAt(ctx, func(n uint64) bool { return n == src.number }, func(id ID, at place) error {
		m.dead = append(m.dead, deadChunk{id, at, src})
		return nil
	})
}

// strays reports whether index entries lead into a pack where it has no record.
// Those that were moved since they were counted are none.
func (m *mover) strays(ctx context.Context, src *source, entries []pack.Entry) (bool, error) {
	type spot struct {
		id ID
		at place
	}
	records := make(map[spot]bool, len(entries))
	for _, e := range entries {
		records[spot{e.ID, place{src.number, e.Offset, e.PayloadLen}}] = true
	}
	found := false
	err := m.chunksAt(ctx, func(n uint64) bool { return n == src.number }, func(id ID, at place) error {
		found = found || !records[spot{id, at}]
		return nil
	})
	return found, err
}

// take deals with one record: it is copied if the index leads to it and it is
// not condemned, or if it is the only good one of its chunk. It reports whether
// the index leads to it.
func (m *mover) take(f *packFile, src *source, e pack.Entry) (here bool, err error) {
	at := place{src.number, e.Offset, e.PayloadLen}
	was, had, err := m.lookup(e.ID)
	if err != nil {
		return false, err
	}
	here = had && was == at
	if here {
		dead, err := m.isCondemned(e.ID, at)
		if err != nil {
			return true, err
		}
		if dead {
			m.dead = append(m.dead, deadChunk{e.ID, at, src})
			return true, nil
		}
	} else if had {
		if lost, err := m.isLost(e.ID, was); err != nil || !lost {
			return false, err
		}
	}
	rec, ok := m.read(f, e, at)
	if !ok {
		if here {
			src.stays = true
			return true, nil
		}
		return false, m.missed(src, e.ID, was, had)
	}
	out, err := m.output(rec.Kind)
	if err != nil {
		return here, err
	}
	to, err := out.Append(rec)
	if err != nil {
		return here, err
	}
	m.moves = append(m.moves, packMove{move{e.ID, was, had, to}, out, src})
	m.step(int64(len(rec.Bytes)))
	return here, nil
}

// missed keeps a pack of which a record can't be read whose chunk comes back from
// nowhere else: what fails now may be read another time, and a chunk that the index
// does not know may be what a version has lost.
func (m *mover) missed(src *source, id ID, was place, had bool) error {
	if had {
		if dead, err := m.isCondemned(id, was); err != nil || dead {
			return err // nobody needs it, wherever it lies
		}
	}
	src.stays, src.keep = true, true
	return nil
}

// read returns a record whose stored bytes fit their sum, and which decodes if its chunk
// is known to be damaged, by the help of the parity if need be.
func (m *mover) read(f *packFile, e pack.Entry, at place) (pack.Record, bool) {
	if cap(m.buf) < pack.MaxRecord {
		m.buf = make([]byte, pack.MaxRecord)
	}
	b := m.buf[:e.RecordLen()]
	n, err := f.ReadAt(b, int64(e.Offset))
	if n == len(b) {
		var rec pack.Record
		if rec, err = pack.CheckStored(b); err == nil && rec.ID == e.ID && len(rec.Bytes) == len(b) {
			if err = m.decodeHurt(e.ID, at, b); err == nil {
				return rec, true
			}
		}
	}
	healed, _, herr := m.healRecord(e.ID, at, nil)
	if herr == nil {
		if rec, cerr := pack.CheckStored(healed); cerr == nil && rec.ID == e.ID {
			return rec, true
		}
	}
	m.log.Warn("a record can't be read, and its pack is left to a scrub", "pack", packName(at.pack), "offset", at.offset, "err", errors.Join(err, herr))
	return pack.Record{}, false
}

// output returns the new pack for records of a kind.
func (m *mover) output(kind pack.Kind) (*openPack, error) {
	i := int(pack.ClassOf(kind))
	if kind == pack.KindRoot {
		i = rootsOut
	}
	if m.out[i] == nil {
		p, err := m.makePack(pack.ClassOf(kind))
		if err != nil {
			return nil, err
		}
		m.out[i] = p
	}
	return m.out[i], nil
}

// abandon throws the new packs away: what is in them are copies.
func (m *mover) abandon() error {
	var err error
	for i, p := range m.out {
		if p == nil {
			continue
		}
		m.out[i] = nil
		name := packName(p.Header().Pack)
		err = errors.Join(err, p.up.Close())
		if l, lerr := m.media.OpenUnfinished(name); lerr == nil {
			err = errors.Join(err, l.Discard(), l.Close())
		} else if rerr := m.media.Remove(name); !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr) // it had its name, and no index entry
		}
		m.unmake(p)
	}
	return err
}

// release gives the packs back.
func (m *mover) release() {
	for _, p := range m.out {
		if p != nil {
			m.unmake(p)
		}
	}
	for _, src := range m.sources {
		m.using.unlock(src.number)
	}
}

// publish makes the new packs durable and then, in one synced batch, leads their
// chunks there, takes what is dead out of the index, and says of the old packs
// that they are trash.
func (m *mover) publish(ctx context.Context) error {
	for _, p := range m.out {
		if p == nil {
			continue
		}
		err := m.breathe(ctx)
		if err == nil {
			err = p.Seal()
		}
		if err == nil {
			err = p.up.Commit()
		}
		if err != nil {
			return errors.Join(err, m.abandon())
		}
	}
	for _, p := range m.out {
		if p != nil {
			m.closePack(p)
		}
	}
	m.rootMu.RLock()
	defer m.rootMu.RUnlock()
	m.damage.mu.Lock()
	defer m.damage.mu.Unlock()
	b := m.index.NewBatch()
	defer b.Close()
	whole := map[ID]*atomic.Int64{} // counters of damage that ends with this
	for _, mv := range m.moves {
		if err := m.batchMove(b, mv, whole); err != nil {
			return err
		}
	}
	for _, d := range m.dead {
		if err := m.judgeDead(d); err != nil {
			return err
		}
	}
	for _, d := range m.dead {
		if err := m.batchDead(b, d, whole); err != nil {
			return err
		}
	}
	if err := m.batchPacks(b); err != nil {
		return err
	}
	if b.Empty() {
		return nil
	}
	if err := m.commitPacks(b, pebble.Sync); err != nil {
		return fmt.Errorf("index new packs: %w", err)
	}
	for _, c := range whole {
		c.Add(-1)
	}
	for _, src := range m.sources {
		if !src.stays {
			m.noteBack(src.number)
		}
	}
	return nil
}

// batchMove leads a chunk to its new place, unless it was stored anew meanwhile.
func (m *mover) batchMove(b *pebble.Batch, mv packMove, whole map[ID]*atomic.Int64) error {
	now, ok, err := m.lookup(mv.id)
	if err != nil || ok != mv.had || now != mv.was {
		return err
	}
	c, err := m.forgive(b, mv.id)
	if err != nil {
		return err
	}
	if c != nil {
		whole[mv.id] = c
	}
	m.enters(mv.id)
	to := place{mv.out.Header().Pack, mv.to.Offset, mv.to.PayloadLen}
	if err := b.Set(chunkKey(mv.id), to.append(nil), nil); err != nil {
		return fmt.Errorf("index chunk %v: %w", mv.id, err)
	}
	return nil
}

// judgeDead looks at a dead chunk again: one that was revived since the pack was
// read keeps its pack.
func (m *mover) judgeDead(d deadChunk) error {
	now, ok, err := m.lookup(d.id)
	if err != nil || !ok || now != d.at {
		return err
	}
	dead, err := m.isCondemned(d.id, d.at)
	d.from.stays = d.from.stays || !dead
	return err
}

// batchDead takes a dead chunk out of the index, if its pack goes: as long as a
// record lies in a pack the index leads to it.
func (m *mover) batchDead(b *pebble.Batch, d deadChunk, whole map[ID]*atomic.Int64) error {
	now, ok, err := m.lookup(d.id)
	if err != nil || !ok || now != d.at || d.from.stays {
		return err
	}
	c, err := m.forgive(b, d.id)
	if err != nil {
		return err
	}
	if c != nil {
		whole[d.id] = c
	}
	if err := errors.Join(b.Delete(chunkKey(d.id), nil), b.Delete(condemnedKey(d.id), nil)); err != nil {
		return fmt.Errorf("index chunk %v: %w", d.id, err)
	}
	return nil
}

// batchPacks adds the new packs and the end of the old ones.
func (m *mover) batchPacks(b *pebble.Batch) error {
	for _, p := range m.out {
		if p == nil {
			continue
		}
		info := packInfo{class: p.Header().Class, size: uint64(p.FileSize())}
		for _, e := range p.Entries() {
			info.records++
			info.plain += uint64(e.PlainLen)
			info.stored += uint64(e.RecordLen())
		}
		if err := b.Set(packKey(p.Header().Pack), info.append(nil), nil); err != nil {
			return fmt.Errorf("index pack: %w", err)
		}
		m.report.NewPacks++
		m.report.NewBytes += p.FileSize()
	}
	for _, src := range m.sources {
		if src.stays {
			continue
		}
		err := errors.Join(b.Delete(packKey(src.number), nil), b.Delete(proofKey(src.number), nil), b.Set(trashKey(src.number), trashed{since: time.Now(), grace: m.opts.Grace}.append(nil), nil))
		if err != nil {
			return fmt.Errorf("index pack: %w", err)
		}
	}
	return nil
}
