package chunkstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"holdfast/chunkstore/media"
	"holdfast/chunkstore/pack"
)

func parsePackKey(k []byte) (uint64, error) {
	if len(k) != 9 || k[0] != keyPack {
		return 0, fmt.Errorf("index: pack key of %d bytes", len(k))
	}
	return binary.BigEndian.Uint64(k[1:]), nil
}

func parsePackName(name string) (uint64, bool) {
	hex, ok := strings.CutSuffix(name, ".pack")
	if !ok || len(hex) != 16 || strings.ToLower(hex) != hex {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil
}

// awaited are the packs that the index knows, in order, and which of them are there.
type awaited struct {
	packs []uint64
	there []bool
}

// takes reports whether the index knows a pack, which is there.
func (a *awaited) takes(n uint64) bool {
	i, known := slices.BinarySearch(a.packs, n)
	if known {
		a.there[i] = true
	}
	return known
}

// missing returns the packs that are not there, in order.
func (a *awaited) missing() (packs []uint64) {
	for i, n := range a.packs {
		if !a.there[i] {
			packs = append(packs, n)
		}
	}
	return packs
}

// adopt brings index and medium together: it finishes what a crash left, and
// indexes the packs that the index does not know.
func (s *Store) adopt() error {
	if err := s.finishLeftovers(); err != nil {
		return err
	}
	var known awaited
	if err := s.readPacks(func(n uint64) { known.packs = append(known.packs, n) }); err != nil {
		return err
	}
	known.there = make([]bool, len(known.packs))
	trashed, err := s.trash()
	if err != nil {
		return err
	}
	var unknown []foundPack
	err = s.media.List(func(name string) error {
		n, ok := parsePackName(name)
		if _, is := trashed[n]; is {
			return nil // what it held lies elsewhere
		}
		if !ok {
			s.log.Warn("a file among the packs is not a pack; it is left alone", "file", name)
		} else if !known.takes(n) {
			p := s.inspect(n)
			p.entries = nil // read again below: those of all packs may not fit the memory
			unknown = append(unknown, p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.adopted.Missing = known.missing()
	for _, n := range s.adopted.Missing {
		s.log.Error("a pack is missing", "pack", packName(n))
	}
	// Data before maps: a root must find all that it names.
	slices.SortStableFunc(unknown, func(a, b foundPack) int { return int(a.header.Class) - int(b.header.Class) })
	if len(unknown) > 0 {
		s.dropFilter() // it may lack what only these hold
	}
	s.newness.left = s.hasFilter()
	for _, p := range unknown {
		if p.err == nil {
			p = s.inspect(p.number)
		}
		if err := s.adoptPack(p); err != nil {
			return err
		}
	}
	return nil
}

// foundPack is a finished pack that the index does not know.
type foundPack struct {
	number  uint64
	header  pack.Header
	entries []pack.Entry
	size    int64 // of the file
	scanned bool  // its footer is lost
	skipped int64 // bytes between the records that a scan found
	err     error
}

// inspect reads what a pack holds, from its footer or else by a scan.
func (s *Store) inspect(n uint64) foundPack {
	p := foundPack{number: n}
	f, err := s.media.Open(packName(n))
	if err != nil {
		p.err = err
		return p
	}
	defer f.Close()
	p.size = f.Size()
	p.header, p.entries, p.err = pack.ReadFooter(f, p.size)
	if errors.Is(p.err, pack.ErrNoTrailer) || errors.Is(p.err, pack.ErrNoHeader) {
		s.log.Error("a pack's header or footer is damaged; its records are read one by one", "pack", packName(n), "err", p.err)
		s.scanFound(f, &p)
	}
	if p.err == nil && p.header.Pack != n {
		p.err = fmt.Errorf("its header says pack %016x", p.header.Pack)
	}
	if p.err == nil && p.header.Store != s.cfg.storeID() {
		p.err = fmt.Errorf("it belongs to store %x", p.header.Store)
	}
	return p
}

// scanFound finds a pack's records without its footer, and without its header
// too where that is lost: the records' own ids say whose they are.
func (s *Store) scanFound(f media.File, p *foundPack) {
	noHeader := errors.Is(p.err, pack.ErrNoHeader)
	p.entries, p.scanned = nil, true
	_, skipped, err := pack.Scan(f, p.size, func(e pack.Entry, _ []byte) error {
		p.entries = append(p.entries, e)
		return nil
	})
	if noHeader && len(p.entries) == 0 {
		return // it may be anything
	}
	if noHeader {
		p.header = pack.Header{Pack: p.number, Store: s.cfg.storeID(), Class: pack.ClassOf(p.entries[0].Kind)}
	}
	p.skipped, p.err = skipped, err
}

// adoptPack indexes a pack and makes its roots visible.
func (s *Store) adoptPack(p foundPack) error {
	if p.err != nil {
		s.adopted.Broken = append(s.adopted.Broken, p.number)
		if s.rebuilt != nil {
			s.rebuilt.Broken = append(s.rebuilt.Broken, BrokenPack{p.number, p.err})
		}
		s.log.Error("a pack can't be read; it is left as it is", "pack", packName(p.number), "err", p.err)
		return nil
	}
	var roots []root
	for _, e := range p.entries {
		if e.Kind != pack.KindRoot {
			continue
		}
		r, err := s.readRoot(p.number, e)
		if d, ok := errors.AsType[*pack.Damage](err); ok && d.Kind == pack.Unreadable {
			// No proof of damage: a pack that stays unknown is tried again.
			return s.adoptPack(foundPack{number: p.number, err: err})
		}
		if err != nil {
			if s.rebuilt != nil {
				s.rebuilt.Lost = append(s.rebuilt.Lost, BrokenRoot{p.number, int64(e.Offset), err})
			}
			s.log.Error("a root can't be read", "pack", packName(p.number), "offset", e.Offset, "err", err)
			if err := s.noteLostRoot(e.ID, place{p.number, e.Offset, e.PayloadLen}); err != nil {
				return err
			}
			continue
		}
		if dropped, err := s.isDropped(r.name); err != nil {
			return err
		} else if dropped {
			continue
		}
		roots = append(roots, r)
	}
	if p.mayHideRoot() {
		if err := s.noteLostRoot(gapID(p.number), place{pack: p.number}); err != nil {
			return err
		}
	}
	if err := s.publish(p.header, p.entries, roots, p.size); err != nil {
		return err
	}
	s.adopted.Unknown++
	if s.rebuilt != nil {
		s.rebuilt.Chunks += int64(len(p.entries))
		if p.scanned {
			s.rebuilt.Scanned = append(s.rebuilt.Scanned, p.number)
		}
	}
	s.adopted.Roots += len(roots)
	return nil
}

// readRoot reads a root, by the help of its pack's parity if need be: what is
// not found now is no version any more.
func (s *Store) readRoot(n uint64, e pack.Entry) (root, error) {
	at := place{n, e.Offset, e.PayloadLen}
	var plain []byte
	rec, err := s.readPlace(e.ID, at, nil)
	if err == nil {
		plain, err = s.codec.Decode(nil, rec, e.ID)
	}
	if err != nil {
		var herr error
		if _, plain, herr = s.healRecord(e.ID, at, nil); herr != nil {
			return root{}, errors.Join(err, herr)
		}
	}
	return decodeRoot(plain)
}

// finishLeftovers finishes the packs that a crash left, in place: nothing in
// them is moved or cut off. Their roots were never reported as committed and
// are struck out.
func (s *Store) finishLeftovers() error {
	names, err := s.media.Unfinished()
	if err != nil {
		return err
	}
	for _, name := range names {
		n, ok := parsePackName(name)
		if !ok {
			s.log.Warn("a file among the unfinished packs is not a pack; it is left alone", "file", name)
			continue
		}
		// Where a rename is not atomic, a crash can leave both names. The one
		// in place was reported; both may be one file, so nothing is written.
		if placed, err := s.isPlaced(name); err != nil {
			return err
		} else if placed {
			s.log.Warn("an unfinished pack is also there finished; it is left alone", "file", name)
			continue
		}
		if err := s.finishLeftover(name, n); err != nil {
			// Nothing that was committed relies on it, so a full disk or a
			// bad sector under it is no reason to keep the store shut.
			s.log.Error("a pack that a crash left can't be finished; the next opening tries again", "pack", name, "err", err)
		}
	}
	return nil
}

// isPlaced reports whether there is a finished pack of that name.
func (s *Store) isPlaced(name string) (bool, error) {
	f, err := s.media.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

func (s *Store) finishLeftover(name string, n uint64) error {
	l, err := s.media.OpenUnfinished(name)
	if err != nil {
		return err
	}
	defer l.Close()
	if l.Size > pack.MaxPack {
		return fmt.Errorf("it has %d bytes, more than any pack", l.Size)
	}
	if s.isWhole(l, n) {
		return l.Publish()
	}
	var entries []pack.Entry
	_, _, err = pack.Scan(l, l.Size, func(e pack.Entry, _ []byte) error {
		if e.Kind != pack.KindRoot {
			entries = append(entries, e)
			return nil
		}
		_, err := l.WriteAt(make([]byte, pack.RecordHeaderLen), int64(e.Offset))
		return err
	})
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return l.Discard()
	}
	h := pack.Header{Pack: n, Store: s.cfg.storeID(), Class: pack.ClassOf(entries[0].Kind)}
	if err := s.finishInPlace(l, h, entries); err != nil {
		return err
	}
	s.adopted.Finished++
	s.log.Info("finished a pack that a crash had left", "pack", name, "records", len(entries))
	return l.Publish()
}

// isWhole reports whether a leftover lacks nothing but its name. Its footer
// alone does not tell: what was not synced reaches the disk in any order. A root
// in it was not yet visible and is to be struck out.
func (s *Store) isWhole(l *media.Leftover, n uint64) bool {
	proof, err := pack.Prove(context.Background(), l, l.Size, pack.ProveOptions{}, func(e pack.Entry, _ []byte, err error) error {
		if err == nil && e.Kind == pack.KindRoot {
			err = errors.New("it holds a root")
		}
		return err
	})
	return err == nil && len(proof.Faults) == 0 && len(proof.Entries) > 0 &&
		proof.Header.Pack == n && proof.Header.Store == s.cfg.storeID()
}

// finishInPlace writes the header, which may not have reached the disk, and a
// footer behind everything that did.
func (s *Store) finishInPlace(l *media.Leftover, h pack.Header, entries []pack.Entry) error {
	if _, err := l.WriteAt(h.Append(nil), 0); err != nil {
		return err
	}
	b, err := pack.Tail(l, h, l.Size, entries, s.packOptions())
	if err != nil {
		return err
	}
	_, err = l.WriteAt(b, l.Size)
	return err
}
