package capture

import (
	"context"
	"errors"
	"testing"

	"holdfast/chunkstore/disk"
)

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
