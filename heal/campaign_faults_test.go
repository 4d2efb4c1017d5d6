package heal

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
)

// faulty is a filesystem of which packs can't be read, some of the time.
type faulty struct {
	vfs.FS

	mu    sync.Mutex // guards what follows
	r     *rand.Rand
	odds  int // of how many reads one fails; 0: none does
	short bool
	hits  int
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

// ReadAt fails with EIO, or brings a part and then fails.
func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	fail := f.fs.odds > 0 && f.fs.r.IntN(f.fs.odds) == 0
	part := 0
	if fail {
		f.fs.hits++
		if f.fs.short && len(p) > 0 {
			part = f.fs.r.IntN(len(p))
		}
	}
	f.fs.mu.Unlock()
	if !fail {
		return f.File.ReadAt(p, off)
	}
	n, err := f.File.ReadAt(p[:part], off)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, err
	}
	return n, syscall.EIO
}

// set makes one of so many reads fail.
func (f *faulty) set(odds int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.odds = odds
}

// TestCampaignOfUnreadablePacks lets reads of packs fail while versions are
// read, scrubbed and repaired. Nothing wrong is served, no chunk is called
// damaged, and the run without the fault ends whole.
func TestCampaignOfUnreadablePacks(t *testing.T) {
	t.Logf("seed %d (-heal-seed), %d injuries (-injuries)", *seed, max(*injuries/8, 4))
	w := newWorld(t)
	for i := range max(*injuries/8, 4) {
		r := rand.New(rand.NewPCG(*seed, uint64(1000+i)))
		mem := vfs.NewMem()
		w.put(t, mem)
		f := &faulty{FS: mem, r: r, short: i%2 == 1}
		s := openWorld(t, f)
		odds := 1 + r.IntN(20)
		where := fmt.Sprintf("injury %d, one of %d reads fails, short %v", i, odds, f.short)
		f.set(odds)
		w.read(t, s, where)
		rep := mustScrub(t, s, Options{Deep: i%4 < 2, Repair: true}, where)
		w.read(t, s, where)
		for _, c := range rep.Left.Chunks {
			if c.Kind != "unreadable" {
				t.Fatalf("%s: chunk %s is called %s", where, c.ID, c.Kind)
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
		f.set(0)
		if f.hits == 0 {
			t.Fatalf("%s: no read failed", where)
		}
		mustScrub(t, s, Options{Repair: true}, where)
		w.whole(t, s, where+", and the medium answers again")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
