package guesttest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Crash says how CrashImages makes its images.
type Crash struct {
	Size    int64    // of the image, in bytes; default 64 MiB
	Mkfs    []string // the command and its arguments, without the image
	Options []string // of the mount, while the workload runs
	Seed    uint64
	Ops     int // of the workload, for each image, at most; default 400
}

// CrashImages makes n crash images and calls fn for each with the path of the
// snapshot, copied while a random workload had the filesystem mounted, and the
// directory where the kernel has mounted, and by that recovered, a copy of it.
// Half of the time the workload goes on from the crashed state.
func CrashImages(t testing.TB, c Crash, n int, fn func(t testing.TB, snapshot, recovered string)) {
	t.Helper()
	if c.Size == 0 {
		c.Size = 64 << 20
	}
	if c.Ops == 0 {
		c.Ops = 400
	}
	rnd := rand.New(rand.NewPCG(c.Seed, 7))
	image := Mkfs(t, c.Size, c.Mkfs...)
	dir := t.TempDir()
	snapshot, recovered := filepath.Join(dir, "snapshot"), filepath.Join(dir, "recovered")
	for i := range n {
		Mounted(t, image, func(mnt string) {
			w := newWorkload(t, mnt, rnd)
			w.run(c.Ops/4 + rnd.IntN(c.Ops))
			Snapshot(t, image, snapshot)
		}, c.Options...)
		Run(t, "cp", "--sparse=always", snapshot, recovered)
		Mounted(t, recovered, func(mnt string) { fn(t, snapshot, mnt) })
		if t.Failed() {
			Keep(t, snapshot)
			t.Fatalf("crash image %d of %d, seed %d", i, n, c.Seed)
		}
		if rnd.IntN(2) == 0 {
			Run(t, "cp", "--sparse=always", snapshot, image)
		}
	}
}

// Keep copies a failed snapshot to where HOLDFAST_KEEP says.
func Keep(t testing.TB, snapshot string) {
	if dir := os.Getenv("HOLDFAST_KEEP"); dir != "" {
		Run(t, "cp", "--sparse=always", snapshot, filepath.Join(dir, "snapshot"))
		t.Logf("kept %s/snapshot", dir)
	}
}

// Snapshot copies a mounted image so that the copy is a state in which it
// really was: until two copies in a row are equal.
func Snapshot(t testing.TB, image, path string) {
	t.Helper()
	for range 20 {
		Run(t, "cp", "--sparse=always", image, path)
		if sameFile(t, image, path) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s never came to rest", image)
}

func sameFile(t testing.TB, a, b string) bool {
	t.Helper()
	var files [2]*os.File
	for i, path := range []string{a, b} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	p, q := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(files[0], p)
		m, err2 := io.ReadFull(files[1], q)
		if !bytes.Equal(p[:n], q[:m]) {
			return false
		}
		if err != nil || err2 != nil {
			return errors.Is(err, err2)
		}
	}
}
