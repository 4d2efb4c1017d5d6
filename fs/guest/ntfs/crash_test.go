package ntfs

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// TestCrashImages reads images as they were while ntfs-3g, which keeps no log,
// wrote to them: nothing may break, what was synced before and left alone since
// reads as it was, and no cluster of it is free. Of six images each, or as many
// as HOLDFAST_CAMPAIGN says.
func TestCrashImages(t *testing.T) {
	for i, cluster := range []string{"512", "4096"} {
		t.Run(cluster, func(t *testing.T) {
			t.Parallel()
			image := mkntfs(t, 32<<20, "-c", cluster)
			snapshot := filepath.Join(t.TempDir(), "snapshot")
			rnd := rand.New(rand.NewPCG(uint64(i), 77))
			for round := range guesttest.Rounds(t, 6) {
				synced := map[string][]byte{}
				dir, server, unmount := serve(t, image)
				must(t, os.MkdirAll(dir+"/churn", 0o755))
				must(t, os.Mkdir(fmt.Sprintf("%s/round%d", dir, round), 0o755))
				for k := range 30 {
					name := fmt.Sprintf("round%d/kept%d", round, k)
					synced[name] = noise(rnd, 1+rnd.IntN(30_000))
					writeSynced(t, filepath.Join(dir, name), synced[name])
				}
				must(t, syncDir(dir))
				ops := 1 + rnd.IntN(150) // before the disk is copied
				churn(dir+"/churn", rand.New(rand.NewPCG(uint64(round), 78)), ops, func() {
					frozen(t, server, func() { guesttest.Run(t, "cp", "--sparse=always", image, snapshot) })
				})
				unmount()
				checkSnapshot(t, snapshot, synced)
				if t.Failed() {
					guesttest.Keep(t, snapshot)
					return
				}
			}
		})
	}
}

// checkSnapshot walks an image and reads what must be there.
func checkSnapshot(t testing.TB, snapshot string, synced map[string][]byte) {
	t.Helper()
	fs := openFS(t, snapshot)
	if err := guesttest.Walk(t.Context(), fs); err != nil {
		t.Error(err)
	}
	var free []guest.Range
	err := fs.Free(t.Context(), func(r guest.Range) bool { free = append(free, r); return true })
	t.Logf("%d free ranges, %v; %s", len(free), err, fs.State().Reason)
	for name, want := range synced {
		n := lookup(t, fs, name)
		got := make([]byte, len(want)+1)
		if m, err := fs.ReadAt(t.Context(), n, got, 0); m != len(want) || err != io.EOF || !bytes.Equal(got[:m], want) {
			t.Errorf("%s: %d bytes of %d, %v", name, m, len(want), err)
		}
		must(t, fs.Extents(t.Context(), n, 0, func(e guest.Extent) bool {
			for _, r := range free {
				if e.Place >= 0 && r.Offset < e.Place+e.Length && e.Place < r.Offset+r.Length {
					t.Errorf("%s: %+v is free: %+v", name, e, r)
				}
			}
			return true
		}))
	}
}

func writeSynced(t testing.TB, path string, content []byte) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	_, err = f.Write(content)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}

// syncDir makes ntfs-3g write all that it holds.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fsync(int(f.Fd()))
}

// frozen stops the server wherever it is, and calls fn: what lies on the disk is
// then what a crash would leave.
func frozen(t testing.TB, server *os.Process, fn func()) {
	t.Helper()
	must(t, server.Signal(unix.SIGSTOP))
	defer func() {
		if err := server.Signal(unix.SIGCONT); err != nil {
			t.Error(err)
		}
	}()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", server.Pid))
		must(t, err)
		if bytes.Contains(stat, []byte(") T ")) {
			break
		}
		if time.Since(start) > 2*time.Minute {
			t.Fatal("ntfs-3g does not stop")
		}
	}
	fn()
}

// churn makes, changes and removes files; after some of these it goes on beside
// during, and ends when that ends.
func churn(dir string, rnd *rand.Rand, ops int, during func()) {
	done := make(chan struct{})
	for i := 0; ; i++ {
		if i == ops {
			go func() {
				defer close(done)
				during()
			}()
		}
		select {
		case <-done:
			return
		default:
		}
		name := fmt.Sprintf("%s/churn%d", dir, rnd.IntN(40))
		switch rnd.IntN(6) {
		case 0, 1, 2: // errors are part of it: the volume gets full
			_ = os.WriteFile(name, noise(rnd, rnd.IntN(60_000)), 0o644)
		case 3:
			_ = os.Remove(name)
		case 4:
			_ = os.Rename(name, fmt.Sprintf("%s/churn%d", dir, rnd.IntN(40)))
		case 5:
			_ = os.Truncate(name, rnd.Int64N(100_000))
		}
	}
}
