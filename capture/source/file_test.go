package source_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast/capture/source"
)

func TestReadPadded(t *testing.T) {
	for _, c := range []struct {
		size, off int64
		n         int
		fails     bool
	}{
		{1024, 0, 1024, false},
		{1024, 1023, 100, false},
		{1024, 1024, 1, true}, // begins beyond the end
		{1024, -1, 1, true},
		{1023, 0, 1023, false},
		{1023, 0, 1024, true}, // ends inside of a sector
	} {
		f := openFile(t, write(t, t.TempDir(), "x", string(make([]byte, c.size))), source.Options{})
		err := f.ReadPadded(make([]byte, c.n), c.off, "test")
		if want := (*source.CorruptError)(nil); c.fails != errors.As(err, &want) || !c.fails && err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestShrunk: a file that is cut off while it is read must not turn to zeros.
func TestShrunk(t *testing.T) {
	path := write(t, t.TempDir(), "x", string(make([]byte, 8192)))
	f := openFile(t, path, source.Options{})
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	want := (*source.CorruptError)(nil)
	if err := f.ReadFull(make([]byte, 200), 0, "test"); !errors.As(err, &want) {
		t.Errorf("read: %v", err)
	}
	if ext, err := f.Extent(4096); !errors.As(err, &want) {
		t.Errorf("extent: %+v, %v", ext, err)
	}
}

func TestCacheBoundAndSingleLoad(t *testing.T) {
	c := source.NewCache(100)
	loads := atomic.Int64{}
	load := func() ([]byte, error) { loads.Add(1); return make([]byte, 30), nil }
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				c.Get(1, load)
			}
		})
	}
	wg.Wait()
	if loads.Load() != 1 {
		t.Errorf("%d loads of one block", loads.Load())
	}
	for key := range int64(4) { // 0, 1, 2, 3: the least recently used one goes
		c.Get(key, load)
	}
	c.Get(1, load)
	if loads.Load() != 4 {
		t.Errorf("%d loads, want 4: block 1 was used and must have stayed", loads.Load())
	}
	c.Get(0, load)
	if loads.Load() != 5 {
		t.Errorf("%d loads, want 5: block 0 must have gone", loads.Load())
	}
	bad := errors.New("bad")
	for range 2 {
		if _, err := c.Get(9, func() ([]byte, error) { loads.Add(1); return nil, bad }); err != bad {
			t.Error(err)
		}
	}
	if loads.Load() != 7 {
		t.Errorf("%d loads: a failed one must be tried again", loads.Load())
	}
	if big, err := c.Get(10, func() ([]byte, error) { return make([]byte, 500), nil }); len(big) != 500 || err != nil {
		t.Errorf("a block above the bound: %d bytes, %v", len(big), err)
	}
}

// TestDescriptorsAreClosed opens and refuses often, then counts.
func TestDescriptorsAreClosed(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "x", "x")
	write(t, dir, "y", "y")
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	f := openFile(t, path, source.Options{})
	before := count()
	for range 20 {
		for _, ref := range []string{"y", "x", ".", "absent", "/etc/passwd"} {
			if related, err := f.OpenRelated(ref); err == nil {
				related.Close()
			}
		}
		source.OpenFile(dir, source.Options{})
		source.OpenFile(path, source.Options{FollowBacking: []string{filepath.Join(dir, "absent")}})
	}
	if after := count(); after != before {
		t.Errorf("%d open files, %d before", after, before)
	}
}
