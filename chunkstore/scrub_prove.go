package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

// ProveOptions say how a pack is proved. The zero value is a quick proof.
type ProveOptions struct {
	Deep bool // decode every record and compute its chunk's id
	// Expect is how many index entries point to the pack (see CountPlaces),
	// or -1: not known.
	Expect int
	// Reader stands between the proof and the file, to pace and count.
	Reader func(io.ReaderAt) io.ReaderAt
	// Fix sets index entries right: lost ones, wrong ones, and those of
	// damaged chunks of which this pack has a good record.
	Fix bool
}

// PackReport is what the proof of one pack found.
type PackReport struct {
	Pack     uint64
	Size     int64
	Records  int
	Known    bool   // the index knows the pack
	Foreign  string // why the file is not a pack of this store; nothing else is told then
	Missing  bool   // there is no such file
	Result   PackResult
	Faults   []pack.Fault
	Bad      []ChunkDamage // damaged chunks that the index has in this pack, or, of a pack that it does not know, nowhere
	Stale    int           // damaged records whose chunks the index has elsewhere
	Entries  int           // index entries, of chunks and roots, that were lost or wrong
	Fixed    int           // of which were set right
	WantSize int64         // what the index says; 0 where it does not know the pack
}

// ChunkDamage is a chunk whose record is damaged.
type ChunkDamage struct {
	pack.Damage
	Healable bool // the pack's parity brings it back
}

// ProvePack proves one pack against its own sums and against the index, and
// remembers what it found: damage, or the damage's end, and the pack's proof.
// An error means that the proof did not come to its end. It holds about 3 MiB
// and an entry for each record of the pack. Safe for concurrent use with
// everything else.
func (s *Store) ProvePack(ctx context.Context, n uint64, opts ProveOptions) (PackReport, error) {
	began := time.Now()
	p := &packProver{Store: s, ctx: ctx, opts: opts, here: map[ID]proved{}}
	p.Pack = n
	if err := p.run(); err != nil {
		return p.PackReport, fmt.Errorf("prove pack %016x: %w", n, err)
	}
	if p.Known && !p.Missing {
		return p.PackReport, s.setProof(n, PackProof{When: began, Deep: opts.Deep, Result: p.Result})
	}
	return p.PackReport, nil
}

type packProver struct {
	*Store
	PackReport
	ctx     context.Context
	opts    ProveOptions
	here    map[ID]proved // records of the pack
	matched int           // records that the index has here
	proof   pack.Proof
	plain   []byte
	parity  *pack.Parity
	file    io.ReaderAt
	unread  bool
}

// proved is a record of the pack.
type proved struct {
	at   place
	good bool
}

func (p *packProver) run() error {
	info, err := p.packInfo(p.Pack)
	if err != nil {
		return err
	}
	p.Known, p.WantSize = info.records != 0 || info.size != 0, int64(info.size)
	f, err := p.media.Open(packName(p.Pack))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Missing, p.Result = true, PackDamaged
		if p.Known {
			p.noteGone(p.Pack)
		}
		return nil
	case err != nil:
		p.Result = PackUnreadable
		p.Faults = append(p.Faults, pack.Fault{Part: "file", Unreadable: true, Err: err})
		return nil
	}
	defer f.Close()
	p.noteBack(p.Pack)
	p.Size, p.file = f.Size(), io.ReaderAt(f)
	if p.opts.Reader != nil {
		p.file = p.opts.Reader(f)
	}
	if p.Foreign = p.foreign(p.file, p.Size); p.Foreign != "" && !p.Known {
		return p.ctx.Err()
	}
	if p.proof, err = pack.Prove(p.ctx, p.file, p.Size, p.record); err != nil {
		return err
	}
	p.judgeFile()
	if err := p.strays(); err != nil {
		return err
	}
	p.judge()
	return p.ctx.Err()
}

// foreign says why a file is not a pack of this store under its own name.
func (s *Store) foreign(r io.ReaderAt, size int64) string {
	b := make([]byte, pack.HeaderLen)
	if size < pack.HeaderLen {
		return ""
	}
	if _, err := r.ReadAt(b, 0); err != nil {
		return ""
	}
	h, err := pack.ParseHeader(b)
	if err == nil && h.Store != s.cfg.storeID() {
		return fmt.Sprintf("it belongs to store %x", h.Store)
	}
	return ""
}

// judgeFile compares the pack's own words with its name and with the index.
func (p *packProver) judgeFile() {
	p.Faults = p.proof.Faults
	if h := p.proof.Header; h.Pack != 0 && h.Pack != p.Pack {
		if !p.Known {
			p.Foreign = fmt.Sprintf("its header says pack %016x", h.Pack)
		}
		p.Faults = append(p.Faults, pack.Fault{Part: "header", Length: pack.HeaderLen, Err: fmt.Errorf("it is of pack %016x", h.Pack)})
	}
	if p.Known && p.Size != p.WantSize && !p.hasFault("length") {
		p.Faults = append(p.Faults, pack.Fault{Part: "length", Length: p.Size, Err: fmt.Errorf("the pack has %d bytes, the index says %d", p.Size, p.WantSize)})
	}
}

func (p *packProver) hasFault(part string) bool {
	for _, f := range p.Faults {
		if f.Part == part {
			return true
		}
	}
	return false
}

// record judges one record of the pack.
func (p *packProver) record(e pack.Entry, rec []byte, err error) error {
	p.Records++
	at := place{p.Pack, e.Offset, e.PayloadLen}
	deep := p.opts.Deep
	where, ok, lerr := p.lookup(e.ID)
	if lerr != nil {
		return lerr
	}
	if ok && where == at {
		p.matched++
	} else if err == nil {
		deep = true // before the index is pointed here
	}
	if err == nil && deep {
		if p.plain, err = p.codec.Decode(p.plain, rec, e.ID); err != nil {
			err = damageAt(pack.Corrupt, e.ID, at, err)
		}
	}
	if old, twice := p.here[e.ID]; !twice || ok && where == at || !old.good && old.at != where {
		p.here[e.ID] = proved{at, err == nil}
	}
	if err != nil {
		return p.damaged(err, ok && where == at || !ok && !p.Known)
	}
	if ok && where == at {
		return errors.Join(p.noteWhole(e.ID, at), p.checkRoot(e, rec))
	}
	if p.isInflight(e.ID) {
		return nil
	}
	// An entry that leads elsewhere into this pack may be wrong, or of a
	// second record of the chunk, such as a crash leaves: see strays.
	wrong := !ok
	if ok && where.pack != p.Pack {
		if wrong, err = p.isLost(e.ID, where); err != nil {
			return err
		}
	}
	if wrong {
		if err := p.fix(e.ID, where, ok, at); err != nil {
			return err
		}
	}
	return p.checkRoot(e, rec)
}

// isLost reports whether the chunk is known not to come back from where the
// index has it.
func (s *Store) isLost(id ID, where place) (bool, error) {
	if s.isGone(where.pack) {
		return true, nil
	}
	if lost, err := s.Damaged(id); err != nil || lost {
		return lost, err
	}
	known, err := s.knows(where.pack)
	return !known, err
}

// fix points the index to a proved record.
func (p *packProver) fix(id ID, was place, had bool, to place) error {
	p.Entries++
	if !p.opts.Fix || !p.Known {
		return nil
	}
	p.Fixed++
	return p.repoint(id, was, had, to)
}

// repoint sets the index entry of a chunk, unless it has changed since it was
// looked up, and forgets the chunk's damage.
func (s *Store) repoint(id ID, was place, had bool, to place) error {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	if now, ok, err := s.lookup(id); err != nil || ok != had || now != was {
		return err
	}
	b := s.index.NewBatch()
	defer b.Close()
	if err := b.Set(chunkKey(id), to.append(nil), nil); err != nil {
		return fmt.Errorf("index chunk %v: %w", id, err)
	}
	c, err := s.forgive(b, id)
	if err != nil {
		return err
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("index chunk %v: %w", id, err)
	}
	if c != nil {
		c.Add(-1)
	}
	return nil
}

// checkRoot looks for the root of a record in the index. Nothing removes roots
// yet, so one that is not there was lost.
func (p *packProver) checkRoot(e pack.Entry, rec []byte) error {
	if e.Kind != pack.KindRoot {
		return nil
	}
	plain, err := p.codec.Decode(nil, rec, e.ID)
	if err != nil {
		return nil // found by a deep proof
	}
	r, err := decodeRoot(plain)
	if err != nil {
		return nil
	}
	if _, err := p.Root(p.ctx, r.name); !errors.Is(err, ErrNotFound) {
		return err
	}
	p.Entries++
	if !p.opts.Fix || !p.Known {
		return nil
	}
	p.Fixed++
	return p.index.Set(rootKey(r.name), r.body, pebble.Sync)
}

// damaged takes in a record that is not as it was written.
func (p *packProver) damaged(err error, here bool) error {
	var d *pack.Damage
	if !errors.As(err, &d) {
		return err
	}
	d.Pack = p.Pack
	if d.Kind == pack.Unreadable {
		p.unread = true
	}
	if !here {
		p.Stale++
		return nil
	}
	c := ChunkDamage{Damage: *d}
	at := place{p.Pack, uint32(d.Offset), uint32(d.Length - pack.RecordHeaderLen)}
	if herr := p.tryParity(d.ID, at); herr != nil {
		c.Err = fmt.Errorf("%w; parity does not heal it: %w", d.Err, herr)
		d.Err = c.Err
	} else {
		c.Healable = true
	}
	if p.ctx.Err() != nil {
		return p.ctx.Err()
	}
	p.Bad = append(p.Bad, c)
	if c.Healable {
		return p.noteWhole(d.ID, at)
	}
	return p.noteDamage(d)
}

func (p *packProver) tryParity(id ID, at place) error {
	if p.parity == nil {
		var err error
		if p.parity, err = pack.OpenParity(p.file, p.Size); err != nil {
			return err
		}
	}
	rec, _, err := p.parity.ReadRange(int64(at.offset), at.recordLen())
	if err == nil {
		_, err = p.codec.Decode(nil, rec, id)
	}
	return err
}

// strays finds the index entries that point into the pack and that none of its
// records answered: wrong ones, or those of records that a scan could not find.
func (p *packProver) strays() error {
	if p.opts.Expect >= 0 && p.matched >= p.opts.Expect && !p.proof.Scanned {
		return nil
	}
	type stray struct {
		id ID
		at place
	}
	var found []stray
	err := p.chunksAt(p.ctx, func(n uint64) bool { return n == p.Pack }, func(id ID, at place) error {
		if r, ok := p.here[id]; !ok || r.at != at {
			found = append(found, stray{id, at})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, f := range found {
		if now, ok, err := p.lookup(f.id); err != nil || !ok || now != f.at {
			if err != nil {
				return err
			}
			continue
		}
		if r, ok := p.here[f.id]; ok && r.good {
			if err := p.fix(f.id, f.at, true, r.at); err != nil {
				return err
			}
			continue
		}
		if err := p.stray(f.id, f.at); err != nil {
			return err
		}
	}
	return nil
}

// stray judges an index entry that leads to no record known to the footer.
func (p *packProver) stray(id ID, at place) error {
	b := make([]byte, at.recordLen())
	got, err := p.file.ReadAt(b, int64(at.offset))
	if p.ctx.Err() != nil {
		return p.ctx.Err()
	}
	kind := pack.Corrupt
	switch {
	case got == len(b):
		if _, err = p.codec.Decode(nil, b, id); err == nil {
			return nil // there after all; the footer's fault is told already
		}
	case err == nil || errors.Is(err, io.EOF):
		kind, err = pack.Missing, fmt.Errorf("the pack ends at byte %d", p.Size)
	default:
		kind = pack.Unreadable
	}
	return p.damaged(damageAt(kind, id, at, err), true)
}

// judge sums up.
func (p *packProver) judge() {
	p.Result = PackWhole
	if p.Stale > 0 {
		p.Result = PackHealable
	}
	for _, f := range p.Faults {
		if f.Unreadable {
			p.unread = true
		} else {
			p.Result = PackHealable
		}
	}
	for _, d := range p.Bad {
		switch {
		case d.Healable:
			p.Result = max(p.Result, PackHealable)
		case d.Kind != pack.Unreadable:
			p.Result = PackDamaged
		}
	}
	if p.unread && p.Result != PackDamaged {
		p.Result = PackUnreadable
	}
}

func (s *Store) packInfo(n uint64) (packInfo, error) {
	v, closer, err := s.index.Get(packKey(n))
	if errors.Is(err, pebble.ErrNotFound) {
		return packInfo{}, nil
	}
	if err != nil {
		return packInfo{}, fmt.Errorf("look up pack %016x: %w", n, err)
	}
	defer closer.Close()
	return parsePackInfo(v)
}
