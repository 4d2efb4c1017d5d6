package capture

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"holdfast/capture/source"
	"holdfast/chunkstore/disk"
)

// toldDisk remembers what it was told that will be read, and fails reads of data
// that it was not told of.
type toldDisk struct {
	*memDisk
	mu     sync.Mutex
	told   []span // of the whole disk
	strict bool
}

var _ source.Expecter = (*toldDisk)(nil)

func (d *toldDisk) Expect(off, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = append(d.told, span{int(off), int(off + n)})
}

func (d *toldDisk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	known := slices.Contains(d.told, span{int(off), int(off) + len(p)})
	d.mu.Unlock()
	if d.strict && !known {
		return 0, errors.New("read of what was not expected")
	}
	return d.memDisk.ReadAt(p, off)
}

// TestSourceIsToldWhatIsRead: each run of a capture is announced before it is read,
// once, and in the order of the disk.
func TestSourceIsToldWhatIsRead(t *testing.T) {
	d := &toldDisk{memDisk: newDisk(5, 9*disk.RegionSize+700), strict: true}
	opts := options("told", 1)
	opts.Disks = []Input{{Name: "vda", Path: "/told", Source: &source.Opened{Disk: d, Format: "raw"}}}
	opts.Cutter, opts.KeepFree, opts.KeepSwap = Grid{}, true, true // nothing else reads
	if _, err := Run(t.Context(), newFixture(t).store, opts); err != nil {
		t.Fatal(err)
	}
	if len(d.told) == 0 {
		t.Fatal("the source was told nothing")
	}
	for i := 1; i < len(d.told); i++ {
		if d.told[i].from < d.told[i-1].to {
			t.Errorf("%v after %v", d.told[i], d.told[i-1])
		}
	}
}

// TestOneEarlyForManyTries: what was found before the store was open serves every
// try, and gives the same version as a capture that looks by itself.
func TestOneEarlyForManyTries(t *testing.T) {
	store := newFixture(t).store
	opts := options("tries", 1, newDisk(6, 3*disk.RegionSize))
	alone, err := Run(t.Context(), store, opts)
	if err != nil {
		t.Fatal(err)
	}
	opts.Early = Prepare(t.Context(), opts)
	defer opts.Early.Close()
	for range 2 {
		v, err := Run(t.Context(), store, opts)
		if err != nil {
			t.Fatal(err)
		}
		if v.Disks[0].Map != alone.Disks[0].Map || v.Cut != alone.Cut {
			t.Error("another version than without")
		}
	}
}

// TestEarlyEndsWithoutACapture: it leaves nothing running, and hands on why it could
// not look.
func TestEarlyEndsWithoutACapture(t *testing.T) {
	opts := options("ends", 1, newDisk(7, disk.RegionSize))
	Prepare(t.Context(), opts).Close()
	stopped, stop := context.WithCancel(t.Context())
	stop()
	early := Prepare(stopped, opts)
	defer early.Close()
	opts.Early = early
	if _, err := Run(t.Context(), newFixture(t).store, opts); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	bad := opts
	bad.VM, bad.Early = "", nil
	none := Prepare(t.Context(), bad)
	defer none.Close()
	if _, err := none.scanned(t.Context()); err == nil {
		t.Error("a capture without a VM's name was prepared")
	}
}
