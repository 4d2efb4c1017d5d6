package chunkstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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
	if !ok || len(hex) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil && packName(n) == name
}

// adopt brings index and medium together: it finishes what a crash left, and
// indexes the packs that the index does not know.
func (s *Store) adopt() error {
	if err := s.finishLeftovers(); err != nil {
		return err
	}
	known := map[uint64]bool{}
	if err := s.packs(context.Background(), func(n uint64, _ packInfo) { known[n] = true }); err != nil {
		return err
	}
	var unknown []foundPack
	err := s.media.List(func(name string) error {
		n, ok := parsePackName(name)
		if !ok {
			s.log.Warn("a file among the packs is not a pack; it is left alone", "file", name)
		} else if known[n] {
			delete(known, n)
		} else {
			unknown = append(unknown, s.inspect(n))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for n := range known {
		s.adopted.Missing = append(s.adopted.Missing, n)
		s.log.Error("a pack is missing", "pack", packName(n))
	}
	slices.Sort(s.adopted.Missing)
	// Data before maps: a root must find all that it names.
	slices.SortStableFunc(unknown, func(a, b foundPack) int { return int(a.header.Class) - int(b.header.Class) })
	for _, p := range unknown {
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
	if errors.Is(p.err, pack.ErrNoTrailer) {
		s.log.Error("a pack's footer is damaged; its records are read one by one", "pack", packName(n), "err", p.err)
		p.entries = nil
		_, _, p.err = pack.Scan(f, f.Size(), func(e pack.Entry, _ []byte) error {
			p.entries = append(p.entries, e)
			return nil
		})
	}
	if p.err == nil && p.header.Pack != n {
		p.err = fmt.Errorf("its header says pack %016x", p.header.Pack)
	}
	if p.err == nil && p.header.Store != s.cfg.storeID() {
		p.err = fmt.Errorf("it belongs to store %x", p.header.Store)
	}
	return p
}

// adoptPack indexes a pack and makes its roots visible.
func (s *Store) adoptPack(p foundPack) error {
	if p.err != nil {
		s.adopted.Broken = append(s.adopted.Broken, p.number)
		s.log.Error("a pack can't be read; it is left as it is", "pack", packName(p.number), "err", p.err)
		return nil
	}
	var roots []root
	for _, e := range p.entries {
		if e.Kind != pack.KindRoot {
			continue
		}
		r, err := s.readRoot(p.number, e)
		if err != nil {
			s.log.Error("a root can't be read", "pack", packName(p.number), "offset", e.Offset, "err", err)
			continue
		}
		roots = append(roots, r)
	}
	if err := s.publish(p.header, p.entries, roots, p.size); err != nil {
		return err
	}
	s.adopted.Unknown++
	s.adopted.Roots += len(roots)
	return nil
}

func (s *Store) readRoot(n uint64, e pack.Entry) (root, error) {
	rec, err := s.readPlace(e.ID, place{n, e.Offset, e.PayloadLen}, nil)
	if err != nil {
		return root{}, err
	}
	plain, err := s.codec.Decode(nil, rec, e.ID)
	if err != nil {
		return root{}, err
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
		if err := s.finishLeftover(name, n); err != nil {
			return fmt.Errorf("finish %s, left by a crash: %w", name, err)
		}
	}
	return nil
}

func (s *Store) finishLeftover(name string, n uint64) error {
	l, err := s.media.OpenUnfinished(name)
	if err != nil {
		return err
	}
	defer l.Close()
	if h, _, err := pack.ReadFooter(l, l.Size); err == nil && h.Pack == n && h.Store == s.cfg.storeID() {
		// Whole, and not yet renamed when the crash came; a root in it was
		// not yet visible either, so go on below only to strike it out.
		if h.Class == pack.ClassData {
			return l.Publish()
		}
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
