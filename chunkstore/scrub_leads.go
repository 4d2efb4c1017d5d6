package chunkstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"holdfast/chunkstore/pack"
)

// Leads holds index entries against the packs that they lead to. The proof of a pack
// vouches for its records, not for what leads there: an entry that is none of the
// footer's may lead to another record, behind the pack's end, or into a pack that is
// gone. Such a chunk is read and decoded where the index has it, and its damage is
// remembered if it does not come back. It holds 12 MiB at most, and one footer at a
// time. Not safe for concurrent use.
type Leads struct {
	// Reader stands between the packs' files and all that is read of them, to pace and
	// count; nil: nothing does.
	Reader func(io.ReaderAt) io.ReaderAt
	// Wrong, if not nil, is told of each chunk that does not come back.
	Wrong func(DamagedChunk)
	// Found, if not nil, is told of each pack to which the first entry leads that was taken
	// in, before those that come behind it; its error ends what takes them in.
	Found func(pack uint64) error
	// Moved says that entries were moved since they were taken in, or may have been as a
	// pack to which some led is no more: who has to know of each walks once more.
	Moved bool
	// Hurt says that a chunk did not come back from where an entry leads.
	Hurt bool

	s     *Store
	most  int // entries that are held against footers at once
	list  []lead
	packs map[uint64]bool // to which entries led, and whether the pack was in use then
}

// lead is an index entry.
type lead struct {
	id ID
	at place
}

// mostLeads is how many entries are held against footers at once. A version that has
// more has its packs' footers read more than once, where it is strewn over them.
const mostLeads = 1 << 18

// NewLeads returns leads without an entry.
func (s *Store) NewLeads() *Leads { return &Leads{s: s, most: mostLeads, packs: map[uint64]bool{}} }

// Add looks a chunk up and takes its entry in. It reports whether the index has one.
func (l *Leads) Add(ctx context.Context, id ID) (bool, error) {
	at, ok, err := l.s.lookup(id)
	if err != nil || !ok {
		return false, err
	}
	return true, l.take(ctx, lead{id, at})
}

// AddAll is Add for many chunks, which it looks up on all cores. It puts ids in order: those
// whose entries lie in one block of the index follow each other then, and it is read once.
// It returns those of which the index has no entry, each once.
func (l *Leads) AddAll(ctx context.Context, ids []ID) (lacking []ID, err error) {
	slices.SortFunc(ids, func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
	ids = slices.Compact(ids)
	type found struct {
		at place
		ok bool
	}
	all := make([]found, len(ids))
	cores := runtime.GOMAXPROCS(0)
	var g errgroup.Group
	for core := range cores {
		g.Go(func() (err error) {
			for i := core * len(ids) / cores; i < (core+1)*len(ids)/cores && err == nil; i++ {
				all[i].at, all[i].ok, err = l.s.lookup(ids[i])
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, f := range all {
		if !f.ok {
			lacking = append(lacking, ids[i])
		} else if err := l.take(ctx, lead{ids[i], f.at}); err != nil {
			return nil, err
		}
	}
	return lacking, nil
}

// AddRoot takes in the pack that holds the record of a root. Its entry is not judged: what
// is read of a root is what the index has, and a repair stores a record that is lost anew.
func (l *Leads) AddRoot(ctx context.Context, name string) error {
	id, err := l.s.RootID(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return nil // dropped meanwhile
	}
	if err != nil {
		return err
	}
	at, ok, err := l.s.lookup(id)
	if err != nil || !ok {
		return err
	}
	return l.use(at.pack)
}

// use takes note of a pack to which an entry leads.
func (l *Leads) use(n uint64) (err error) {
	if _, had := l.packs[n]; had {
		return nil
	}
	if l.packs[n], err = l.s.InUse(n); err != nil || l.Found == nil {
		return err
	}
	return l.Found(n)
}

func (l *Leads) take(ctx context.Context, e lead) (err error) {
	if err := l.use(e.at.pack); err != nil {
		return err
	}
	if l.list = append(l.list, e); len(l.list) < l.most {
		return nil
	}
	return l.judgeAll(ctx)
}

// InUse reports whether the index knows a pack that nobody has replaced.
func (s *Store) InUse(n uint64) (bool, error) {
	if known, err := s.knows(n); err != nil || !known {
		return false, err
	}
	if trashed, err := s.isTrashed(n); err != nil || trashed {
		return false, err
	}
	replaced, err := s.hasKey(replacedKey(n))
	if err != nil {
		return false, fmt.Errorf("look up repair of pack %016x: %w", n, err)
	}
	return !replaced, nil
}

// AddPacks takes in the entries that lead to packs which have others than their
// footers tell of: sums is what the index has of each (see CountPlaces). Where there
// are any, it goes through the index once.
func (l *Leads) AddPacks(ctx context.Context, sums map[uint64]Places) error {
	differ := map[uint64]bool{}
	for _, n := range slices.Sorted(maps.Keys(sums)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := l.footer(n)
		if err != nil || sumOf(n, entries) != sums[n] {
			differ[n] = true
		}
	}
	if len(differ) == 0 {
		return ctx.Err()
	}
	return l.s.chunksAt(ctx, func(n uint64) bool { return differ[n] }, func(id ID, at place) error {
		return l.take(ctx, lead{id, at})
	})
}

// Packs returns the packs to which anything led so far.
func (l *Leads) Packs() map[uint64]bool {
	packs := make(map[uint64]bool, len(l.packs))
	for n := range l.packs {
		packs[n] = true
	}
	return packs
}

// Check judges all entries that were taken in and not judged yet, and looks whether
// their packs are still in use. The errors are the index's and the context's.
func (l *Leads) Check(ctx context.Context) error {
	if err := l.judgeAll(ctx); err != nil {
		return err
	}
	for n, was := range l.packs {
		// Entries that were judged before may lead elsewhere now: to a pack that is not
		// among these, and that nobody may have proved.
		if is, err := l.s.InUse(n); err != nil {
			return err
		} else if was && !is {
			l.Moved = true
		}
	}
	return ctx.Err()
}

func (l *Leads) judgeAll(ctx context.Context) error {
	slices.SortFunc(l.list, func(a, b lead) int {
		return cmp.Or(cmp.Compare(a.at.pack, b.at.pack), cmp.Compare(a.at.offset, b.at.offset))
	})
	for from := 0; from < len(l.list); {
		n, to := l.list[from].at.pack, from+1
		for to < len(l.list) && l.list[to].at.pack == n {
			to++
		}
		if err := l.checkPack(ctx, n, l.list[from:to]); err != nil {
			return fmt.Errorf("hold entries against pack %016x: %w", n, err)
		}
		from = to
	}
	l.list = l.list[:0]
	return nil
}

// checkPack judges entries that lead to one pack, in the order of their offsets.
func (l *Leads) checkPack(ctx context.Context, n uint64, leads []lead) error {
	proof, err := l.s.proof(n)
	if err != nil {
		return err
	}
	entries, err := l.footer(n)
	if ctx.Err() != nil { // which is no fault of the footer's
		return ctx.Err()
	}
	gone := errors.Is(err, fs.ErrNotExist)
	if err != nil && !gone && proof.Result == PackWhole {
		if err := l.s.doubtProof(n, ID{}); err != nil { // a scrub is to look at it; one may have done so by now
			return err
		}
	}
	if proof.Result == PackHealable || proof.Result == PackDamaged {
		// Of its records only those are known to be good to which the index led when
		// it was proved.
		entries = nil
	}
	i := 0
	for _, e := range leads {
		if err := ctx.Err(); err != nil {
			return err
		}
		for i < len(entries) && entries[i].Offset < e.at.offset {
			i++
		}
		if i < len(entries) && entries[i].ID == e.id && entries[i].Offset == e.at.offset && entries[i].PayloadLen == e.at.payloadLen {
			continue
		}
		if err := l.judge(ctx, e, gone); err != nil {
			return err
		}
	}
	return nil
}

// footer returns a pack's entries in the order of their offsets. The error is
// fs.ErrNotExist where the pack is not there, or on its way out.
func (l *Leads) footer(n uint64) ([]pack.Entry, error) {
	if trashed, err := l.s.isTrashed(n); err != nil {
		return nil, err
	} else if trashed {
		return nil, fs.ErrNotExist
	}
	f, err := l.s.media.Open(packName(n))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := l.s.readFooter(readBy(l.Reader, f), f.Size(), n)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b pack.Entry) int { return cmp.Compare(a.Offset, b.Offset) })
	return entries, nil
}

// judge reads a chunk as others do, of which no footer says that it comes back.
func (l *Leads) judge(ctx context.Context, e lead, gone bool) error {
	now, ok, err := l.s.lookup(e.id)
	if err != nil {
		return err
	}
	l.Moved = l.Moved || !ok || now != e.at
	if !ok {
		return nil
	}
	if was, known, err := l.s.DamageOf(e.id); err != nil || known && was.Pack == now.pack && was.Offset == int64(now.offset) {
		l.Hurt = true
		return err
	}
	var d *pack.Damage
	if gone && now == e.at {
		if known, err := l.s.knows(now.pack); err != nil {
			return err
		} else if known {
			l.s.noteGone(now.pack)
		}
		errors.As(damageAt(pack.Missing, e.id, now, errors.New("the pack is gone")), &d)
	} else if d, err = l.s.proveChunk(ctx, e.id, l.Reader); err != nil || d == nil {
		return err
	}
	l.Hurt = true
	if l.Wrong != nil {
		l.Wrong(DamagedChunk{ID: d.ID, Kind: d.Kind, Pack: d.Pack, Offset: d.Offset, Length: d.Length, Tried: d.Err.Error()})
	}
	return l.s.noteDamage(d)
}

// readBy puts reader, if it is not nil, before a file.
func readBy(reader func(io.ReaderAt) io.ReaderAt, f io.ReaderAt) io.ReaderAt {
	if reader == nil {
		return f
	}
	return reader(f)
}

// proveChunk reads one chunk from where the index has it and decodes it, by the help
// of its pack's parity if need be. It returns what is wrong with it, or nil. reader is
// as that of Leads.
func (s *Store) proveChunk(ctx context.Context, id ID, reader func(io.ReaderAt) io.ReaderAt) (*pack.Damage, error) {
	var was place
	for {
		at, ok, err := s.lookup(id)
		if err != nil || !ok { // who looks it up next is told
			return nil, err
		}
		d, err := s.provePlace(id, at, reader)
		if ctx.Err() != nil { // which is no fault of the chunk's
			return nil, ctx.Err()
		}
		if d == nil || err != nil || at == was {
			return d, err
		}
		was = at // it may have been moved meanwhile: damage is damage if it is in the same place twice
	}
}

// provePlace is proveChunk for one place.
func (s *Store) provePlace(id ID, at place, reader func(io.ReaderAt) io.ReaderAt) (*pack.Damage, error) {
	rb := recordBuffers.Get().(*[]byte)
	defer recordBuffers.Put(rb)
	plain := plainBuffers.Get().(*[]byte)
	defer plainBuffers.Put(plain)
	rec, err := s.readPlaceBy(id, at, *rb, reader)
	if err == nil {
		if _, err = s.codec.Decode(*plain, rec, id); err == nil {
			return nil, s.noteWhole(id, at)
		}
		err = damageAt(pack.Corrupt, id, at, err)
	}
	var d *pack.Damage
	if !errors.As(err, &d) {
		return nil, err
	}
	if _, _, _, herr := s.fromParity(id, at, *plain, reader); herr != nil {
		d.Err = fmt.Errorf("%w; parity does not heal it: %w", d.Err, herr)
		return d, nil
	}
	return nil, s.noteWhole(id, at)
}
