package capture

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/capture/source"
	"holdfast/capture/source/image"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/media/odirect"
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

// TestEarlyLeavesTheDataAlone: the opening of the store has the disk for itself, but for
// what the guest's layout takes, which is little.
func TestEarlyLeavesTheDataAlone(t *testing.T) {
	data := make([]byte, 32<<20)
	rand.NewChaCha8([32]byte{8}).Read(data)
	path := filepath.Join(t.TempDir(), "vda.raw")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)); err != nil {
		t.Fatal(err)
	}
	left, _ := odirect.Cached(f.Fd(), 0, int64(len(data))) // tmpfs keeps all
	src, err := image.Open(path, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	early := Prepare(t.Context(), Options{VM: "alone", Disks: []Input{{Name: "vda", Path: path, Source: src}}})
	_, err = early.scanned(t.Context())
	early.Close()
	if err != nil {
		t.Fatal(err)
	}
	if cached, err := odirect.Cached(f.Fd(), 0, int64(len(data))); err != nil || cached-left > 4<<20 {
		t.Errorf("%d of %d bytes of the source were read while no store was open, %v", cached-left, len(data), err)
	}
}
