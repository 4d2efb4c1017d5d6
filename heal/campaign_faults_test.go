package heal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/chunkstore"
)

// faulty is a filesystem that fails on demand: reads of packs, or every write
// outside of the index. A write of the index that fails ends the process, which
// TestCrashAtEveryStepOfRepair covers.
type faulty struct {
	vfs.FS

	mu    sync.Mutex // guards what follows
	r     *rand.Rand
	odds  int       // of how many reads of packs one fails; 0: none does
	how   readFault // and how
	after int       // writes that succeed before the disk is full; negative: it is not
	once  bool      // only one write fails
	hits  int
	where string // the last write that failed
}

type readFault int

const (
	readEIO      readFault = iota // no byte comes, and an error
	readPart                      // some bytes come, and an error
	readPartOnly                  // some bytes come, and no error
)

func newFaulty(mem vfs.FS, r *rand.Rand) *faulty {
	f := &faulty{r: r, after: -1}
	f.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(f.write))
	return f
}

// write fails writes while the disk is full.
func (f *faulty) write(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose || strings.HasPrefix(op.Path, "/store/index") {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.after < 0 || f.once && f.hits > 0:
		return nil
	case f.after > 0:
		f.after--
		return nil
	}
	f.hits++
	f.where = op.Path
	return syscall.ENOSPC
}

func (f *faulty) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, opts...)
	if err != nil || !strings.HasSuffix(name, ".pack") {
		return file, err
	}
	return &faultyFile{file, f}, nil
}

type faultyFile struct {
	vfs.File
	fs *faulty
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	part, how, fail := f.fs.read(len(p))
	if !fail {
		return f.File.ReadAt(p, off)
	}
	n, err := f.File.ReadAt(p[:part], off)
	switch {
	case err != nil && !errors.Is(err, io.EOF), how == readPartOnly:
		return n, err
	}
	return n, syscall.EIO
}

// read decides about a read of n bytes, and how many of them come.
func (f *faulty) read(n int) (part int, how readFault, fail bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.odds == 0 || n == 0 || f.r.IntN(f.odds) > 0 {
		return 0, 0, false
	}
	f.hits++
	if f.how != readEIO {
		part = f.r.IntN(n)
	}
	return part, f.how, true
}

// set changes what fails.
func (f *faulty) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.odds, f.after, f.once, f.hits = 0, -1, false, 0
	change()
}

func (f *faulty) heal() { f.set(func() {}) }

// faults are the injuries that are the medium's. Half of them meet a store that
// is hurt as well, in one of the other ways.
var faults = []injury{
	{name: "reads fail", fault: whileUnreadable(readEIO)},
	{name: "reads fail in the middle", fault: whileUnreadable(readPart)},
	{name: "reads come back short", fault: whileUnreadable(readPartOnly)},
	{name: "full disk, one write fails", fault: whileFull(true)},
	{name: "full disk", fault: whileFull(false)},
}

// whileUnreadable lets reads of packs fail while versions are read, scrubbed and
// repaired. Nothing wrong is served, and no chunk is called damaged for it.
func whileUnreadable(how readFault) func(testing.TB, *world, *chunkstore.Store, *faulty, bool, string) {
	return func(t testing.TB, w *world, s *chunkstore.Store, f *faulty, hurt bool, where string) {
		f.set(func() { f.odds, f.how = 1+f.r.IntN(20), how })
		w.read(t, s, where)
		rep := mustScrub(t, s, Options{Deep: f.odds%2 == 0, Repair: true}, where)
		w.read(t, s, where)
		f.mu.Lock()
		hits := f.hits
		f.mu.Unlock()
		f.heal()
		if hits == 0 {
			t.Fatalf("%s: no read failed", where)
		}
		if hurt {
			return
		}
		for _, c := range rep.Left.Chunks {
			if c.Kind != "unreadable" {
				t.Fatalf("%s: chunk %s is called %s: %s", where, c.ID, c.Kind, c.Tried)
			}
		}
		if s.Distrust() {
			t.Fatalf("%s: unreadable chunks count as damaged", where)
		}
		for _, c := range w.versions {
			if st, err := State(s, c.vm, c.id); err != nil || st.State == chunkstore.Hurt {
				t.Fatalf("%s: version %s of %s is %v, %v", where, c.id, c.vm, st.State, err)
			}
		}
	}
}

// whileFull lets one write of a repair fail, or all from one on. The repair says
// so, and what could be read before can be read after it.
func whileFull(once bool) func(testing.TB, *world, *chunkstore.Store, *faulty, bool, string) {
	return func(t testing.TB, w *world, s *chunkstore.Store, f *faulty, _ bool, where string) {
		before := map[span]bool{}
		for _, at := range w.read(t, s, where+", before the disk is full") {
			before[at] = true
		}
		if f.r.IntN(2) == 0 {
			s.SetDonors([]chunkstore.Donor{&storeDonor{Store: w.replica}})
			defer s.SetDonors(nil)
		}
		f.set(func() { f.after, f.once = f.r.IntN(1<<f.r.IntN(7)), once })
		rep, err := Scrub(context.Background(), s, Options{Repair: true})
		f.mu.Lock()
		hits, at := f.hits, f.where
		f.mu.Unlock()
		f.heal()
		where = fmt.Sprintf("%s, %d writes failed (%s)", where, hits, at)
		if err != nil && (hits == 0 || !errors.Is(err, syscall.ENOSPC)) {
			t.Fatalf("%s: %v", where, err)
		}
		// The directory is synced when the filter of what is new is removed, which only
		// the log tells: chunks may be stored twice. (The injector removes it, too, where
		// there is none.)
		quiet := strings.HasPrefix(at, "/store/log") || at == "/store" || at == "/store/filter"
		if hits > 0 && err == nil && len(rep.RepairErrors) == 0 && !quiet {
			t.Fatalf("%s: nobody was told; %s", where, describe(rep))
		}
		s.SetDonors(nil)
		for _, at := range w.read(t, s, where) {
			if !before[at] {
				t.Fatalf("%s: %v can't be read any more", where, at)
			}
		}
	}
}
