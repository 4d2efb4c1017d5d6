package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/media"
	"holdfast/chunkstore/pack"
)

// ProveOptions say how a pack is proved. The zero value is a quick proof.
type ProveOptions struct {
	Deep bool // decode every record and compute its chunk's id
	// Expect sums up the index entries that lead to the pack (see CountPlaces);
	// NoPlaces: it is not known.
	Expect Places
	// LeadsApart says that the entries which lead to the pack are held against it by
	// the caller (see Leads): no good record is looked up, and Expect has no say.
	LeadsApart bool
	// Workers is how many goroutines prove records side by side; 0 or 1: only
	// the caller's, which also reads.
	Workers int
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
	Pruned   bool   // there was such a pack, and a prune has done away with it; nothing else is told then
	Result   PackResult
	Faults   []pack.Fault
	Bad      []ChunkDamage // damaged chunks that the index has in this pack, or, of a pack that it does not know, nowhere
	Stale    int           // damaged records whose chunks the index has elsewhere
	loose    []stray       // whole records that the index has here and the footer does not
	Entries  int           // index entries, of chunks and roots, that were lost or wrong
	Fixed    int           // of which were set right
	WantSize int64         // what the index says; 0 where it does not know the pack
}

// stray is a record that only the index leads to.
type stray struct {
	id ID
	at place
}

// ChunkDamage is a chunk whose record is damaged.
type ChunkDamage struct {
	pack.Damage
	Healable bool // the pack's parity brings it back
}

// ProvePack proves one pack against its own sums and against the index, and
// remembers what it found: damage, or the damage's end, and the pack's proof. Damage that
// others meet in the pack meanwhile does not end by it, and it is no proof then. An error means that the proof did not come to its end. It holds about 4 MiB, 8
// with Workers, and an entry for each record of the pack. Safe for concurrent use with
// everything else.
func (s *Store) ProvePack(ctx context.Context, n uint64, opts ProveOptions) (PackReport, error) {
	began := time.Now()
	if err := s.using.lock(ctx, n); err != nil {
		return PackReport{Pack: n}, err
	}
	defer s.using.unlock(n)
	p := &packProver{Store: s, ctx: ctx, opts: opts, here: map[ID]proved{}, doubts: s.beginProof(n)}
	defer s.endProof(n)
	p.Pack = n
	if err := p.run(); err != nil {
		return p.PackReport, fmt.Errorf("prove pack %016x: %w", n, err)
	}
	wrong := p.Entries > p.Fixed // the next scrub must not pass over it
	switch {
	case !p.Known:
		return p.PackReport, nil
	case p.Missing, wrong && p.Result == PackWhole:
		return p.PackReport, s.clearProof(n, pebble.Sync)
	}
	proof := PackProof{When: began, Deep: opts.Deep && !wrong, Result: p.Result, Doubted: wrong}
	return p.PackReport, s.remember(n, proof, p.doubts, p.Bad)
}

type packProver struct {
	*Store
	PackReport
	ctx     context.Context
	opts    ProveOptions
	here    map[ID]proved // records of the pack
	matched int           // records that the index has here
	asKnown bool          // the footer and the index name the same records, so that none is looked up
	proof   pack.Proof
	parity  *pack.Parity
	file    io.ReaderAt
	unread  bool
	doubts  doubts // that others have had since the proof began
}

// proved is a record of the pack.
type proved struct {
	at   place
	good bool
}

func (p *packProver) run() error {
	info, _, err := p.packInfo(p.Pack)
	if err != nil {
		return err
	}
	if p.Pruned, err = p.isTrashed(p.Pack); err != nil || p.Pruned {
		return err
	}
	p.Known, p.WantSize = info.records != 0 || info.size != 0, int64(info.size)
	f, err := p.media.Open(packName(p.Pack))
	switch {
	case errors.Is(err, fs.ErrNotExist) && !p.Known:
		p.Pruned = true // and the trash was emptied
		return nil
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
	p.Size, p.file = f.Size(), media.PastCache(f)
	if p.opts.Reader != nil {
		p.file = p.opts.Reader(p.file)
	}
	if p.Foreign = p.foreign(p.file, p.Size); p.Foreign != "" && !p.Known {
		return p.ctx.Err()
	}
	how := pack.ProveOptions{Workers: p.opts.Workers, Begin: p.compare}
	if p.opts.Deep {
		how.Check = p.codec.ProveMany
	}
	if p.proof, err = pack.Prove(p.ctx, p.file, p.Size, how, p.record); err != nil {
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
