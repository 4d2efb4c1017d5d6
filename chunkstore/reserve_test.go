package chunkstore

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// fillDisk takes every byte that dir's file system has left.
func fillDisk(t *testing.T, dir string) {
	t.Helper()
	f, err := os.CreateTemp(dir, "filler")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for b := make([]byte, 64<<10); len(b) > 0; {
		if _, err := f.Write(b); err != nil {
			b = b[:len(b)/2]
		}
	}
}

// TestIndexOnFullDisk: the index writes on after others have taken the disk's last
// byte, out of the reserve. When that is used up too the store says that the disk
// is full, and what was written before is there for the next owner.
func TestIndexOnFullDisk(t *testing.T) {
	mnt, dir := t.TempDir(), ""
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", mnt).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", mnt).CombinedOutput(); err != nil { // the store stays open
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	dir = filepath.Join(mnt, "store")
	if _, err := Create(dir, CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	s, err := Open(dir, Options{Fatal: func(err error) {
		select {
		case ended <- err:
		default:
		}
		select {} // where the program would end
	}})
	if err != nil {
		t.Fatal(err)
	}
	if s.spare.has < reserveLeast {
		t.Fatalf("the reserve has %d bytes, want %d", s.spare.has, reserveLeast)
	}
	fillDisk(t, mnt)
	written := make(chan int)
	go func() {
		for i := 0; ; i++ {
			if err := s.index.Set(fullKey(i), make([]byte, 16<<10), pebble.Sync); err != nil {
				t.Errorf("write %d: %v", i, err)
			}
			written <- i + 1
		}
	}()
	const enough = reserveLeast * 3 / 4 >> 14
	for n, guard := 0, time.After(5*time.Minute); ; {
		select {
		case n = <-written:
			continue
		case err = <-ended:
		case <-guard:
			t.Fatal("the disk never was full")
		}
		if !errors.Is(err, ErrFull) || !errors.Is(full(syscall.EDQUOT), ErrFull) {
			t.Errorf("the end says %v, want %v", err, ErrFull)
		}
		if n < enough {
			t.Errorf("%d writes on a full disk, want %d at least", n, enough)
		}
		checkWritten(t, dir, n)
		return
	}
}

func fullKey(i int) []byte { return fmt.Appendf([]byte{keyState}, "full %06d", i) }

// checkWritten opens a copy of a store as its next owner would.
func checkWritten(t *testing.T, dir string, n int) {
	t.Helper()
	next := filepath.Join(t.TempDir(), "next")
	if out, err := exec.Command("cp", "-a", dir, next).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	s, err := Open(next, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range n {
		_, c, err := s.index.Get(fullKey(i))
		if err != nil {
			t.Fatalf("write %d of %d is lost: %v", i, n, err)
		}
		c.Close()
	}
}
