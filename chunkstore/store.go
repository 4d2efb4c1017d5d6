package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/media"
	"holdfast/chunkstore/pack"
)

// DefaultPackSize is the size at which a pack is sealed.
const DefaultPackSize = 64 << 20

// Options say how to open a store. The zero value is the default.
type Options struct {
	FS       vfs.FS       // nil: the machine's
	Log      *slog.Logger // nil: nothing is logged
	PackSize int64        // pack bytes at which a pack is sealed; 0: DefaultPackSize
	// IndexCache is how many bytes of the index's blocks are kept in memory at the most;
	// 0: 16 MiB. Who reads at random has more of it than who captures.
	IndexCache int64
	// Fatal is called when the index can't go on (its disk fails or is full
	// at the wrong moment). It must end the process; nil panics.
	Fatal func(error)
	// Rebuild, if it is not nil, makes Open put an index in the place of the one
	// that is there, made from the packs alone, and is told what was found.
	Rebuild func(*RebuildReport)
	// Donor makes a donor of a store that this one knows as a replica; nil:
	// replicas are not asked. It must not wait; Close of the store closes the
	// donor if that is an io.Closer.
	Donor func(Replica) Donor
	// DonorWait is how long a read waits for one donor; 0: 20 s.
	DonorWait time.Duration
}

// Store is an open store in the one process that owns it. Its methods are safe
// for concurrent use.
//
// Own memory: about 64 MiB for the index (block cache and memtables; less with a smaller
// IndexCache), 1 MiB for each pack being written, 8 MiB for each whose parity is made, and a
// record for each read under way; once much that is new was asked for, up to 5 MiB for the
// filter that tells it, and twice that while it
// is made anew; 12 MiB at most for where chunks lie, once
// parts are read; 32 MiB at most for what was made of roots.
type Store struct {
	cfg   Config
	fs    vfs.FS
	dir   string
	log   *slog.Logger
	codec *pack.Codec
	media *media.Dir
	index *pebble.DB
	files *packFiles
	size  int64 // at which a pack is sealed

	indexCache int64 // bytes

	writers  [2]writer // by pack.Class
	damage   damage
	activity activity
	donors   donors
	donorOf  func(Replica) Donor
	healLog  healLog

	pruning pruning
	spare   reserve
	using   packUsers

	totals  packTotals
	newness newness
	warmth  warmth
	places  places // without the index, for parts
	memo    Memo

	proofsSynced atomic.Pointer[time.Time] // when a proof was last made durable; nil: not yet
	proving      sync.Mutex                // held to write a proof, or to clear one for what it says; and guards doubted
	doubted      map[uint64]doubts         // by pack that is being proved

	// rootMu is held for reading while a root becomes visible, and for
	// writing while roots are dropped: nothing slips between the decision to
	// drop a root and its end.
	rootMu sync.RWMutex

	mu       sync.Mutex        // guards what follows
	inflight map[ID]inflight   // appended, not yet in the index
	names    map[string]bool   // roots being committed
	sessions map[*session]bool // open ones
	begun    uint64            // sessions so far: the next one's number
	ended    chan struct{}     // closed when a session ends, and made anew
	making   map[uint64]bool   // packs that a repair or a prune writes
	lost     int               // how many packs failed to seal
	lostErr  error             // why the last one did
	adopted  Adopted
	rebuilt  *RebuildReport // of the rebuild that is under way; nil: none is
	closed   bool
}

// Adopted counts what Open found that the index did not know: the traces of a
// crash, or of an index that was lost.
type Adopted struct {
	Finished int      // packs that a crash left unfinished
	Unknown  int      // finished packs that were not in the index
	Roots    int      // roots that became visible by it
	Missing  []uint64 // packs that the index knows and the medium lacks
	Broken   []uint64 // packs that can't be read
	Stale    bool     // the index is of another state of the packs; see checkState
}

var _ API = (*Store)(nil)

// Open opens the store in dir. The caller must be its only owner (package
// owner sees to that).
func Open(dir string, opts Options) (*Store, error) {
	fsys := orDefault(opts.FS)
	cfg, err := readConfig(fsys, dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, fs: fsys, dir: dir, log: opts.Log, size: opts.PackSize, donorOf: opts.Donor,
		inflight: map[ID]inflight{}, names: map[string]bool{}, sessions: map[*session]bool{},
		ended: make(chan struct{}), making: map[uint64]bool{},
		doubted: map[uint64]doubts{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.donors.wait = opts.DonorWait; s.donors.wait == 0 {
		s.donors.wait = defaultDonorWait
	}
	if s.size == 0 {
		s.size = DefaultPackSize
	}
	if s.indexCache = opts.IndexCache; s.indexCache == 0 {
		s.indexCache = defaultIndexCache
	}
	if s.size < pack.HeaderLen || s.size > pack.MaxPack/2 {
		return nil, fmt.Errorf("open store %s: pack size %d is out of bounds", dir, s.size)
	}
	if s.codec, err = pack.NewCodec(cfg.Key, cfg.FrameSize, cfg.Compression, cfg.FormatVersion); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	if s.media, err = media.NewDir(fsys, fsys.PathJoin(dir, "packs")); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s.findReserve()
	s.takeRoom()
	defer s.leaveRoom()
	s.files = newPackFiles(s.media)
	if opts.Rebuild != nil {
		if err := s.rebuildIndex(opts); err != nil {
			return nil, fmt.Errorf("rebuild the index of store %s: %w", dir, err)
		}
		report := s.rebuilt
		s.rebuilt, s.adopted = nil, Adopted{}
		s.files = newPackFiles(s.media)
		report.sort()
		opts.Rebuild(report)
	}
	if s.index, err = openOrReplaceIndex(s.indexFS(), fsys.PathJoin(dir, indexDir), s.indexCache, s.log, opts.Fatal); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	for c := range s.writers {
		s.writers[c] = writer{store: s, class: pack.Class(c), slots: make(chan struct{}, maxSealing)}
	}
	if _, err := s.FinishRepairs(context.Background()); err != nil {
		s.log.Error("a repair could not be finished; the next scrub tries again", "err", err)
	}
	if err = s.finishTrash(); err == nil {
		err = s.adopt()
	}
	if err == nil {
		err = errors.Join(s.loadDamage(), s.loadPruning(), s.checkState(), s.measureReserve())
	}
	if err != nil {
		s.index.Close()
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	if known, err := s.Replicas(); err != nil {
		s.log.Error("the store's replicas are not known", "err", err)
	} else {
		s.useReplicas(known)
	}
	return s, nil
}

// Info implements API.
func (s *Store) Info() Info { return s.cfg.Info }

// Config returns the store's configuration, its key included.
func (s *Store) Config() Config { return s.cfg }

// Codec returns the store's codec.
func (s *Store) Codec() *pack.Codec { return s.codec }

// ID implements API.
func (s *Store) ID(plain []byte) ID { return s.codec.ID(plain) }

// Adopted tells what Open found that the index did not know.
func (s *Store) Adopted() Adopted { return s.adopted }

// Close seals what is unfinished, so that the next try finds it, and closes the
// index. No other call may run.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.closeDonors()
	var err error
	for c := range s.writers {
		err = errors.Join(err, s.writers[c].drain())
	}
	s.closeWarmth()
	s.closeNewness()
	err = errors.Join(err, s.measureReserve(), s.files.close(), s.index.Close())
	s.lastRoom()
	if err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}
