package vm

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// fsckRoot checks the root filesystem of a raw disk with the judge of its kind.
func fsckRoot(t *testing.T, raw string) {
	t.Helper()
	off, size := RootExtent(t, raw)
	part := filepath.Join(t.TempDir(), "part")
	if err := createSized(part, size); err != nil {
		t.Fatal(err)
	}
	if _, err := run("dd", "if="+raw, "of="+part, "bs=1M", "conv=sparse,notrunc", "iflag=skip_bytes,count_bytes",
		fmt.Sprintf("skip=%d", off), fmt.Sprintf("count=%d", size)); err != nil {
		t.Fatal(err)
	}
	check := []string{"e2fsck", "-fn", part}
	if isXFS(raw, off) {
		check = []string{"xfs_repair", "-n", part}
	}
	if out, err := run(check[0], check[1:]...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func sumOf(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func TestSmallIsAWholeDisk(t *testing.T) {
	raw := Small(t)
	if out, err := run("sgdisk", "-v", raw); err != nil || !strings.Contains(out, "No problems found") {
		t.Fatalf("sgdisk: %v\n%s", err, out)
	}
	fsckRoot(t, raw)
	root := MountRoot(t, raw, ReadOnly)
	marker, err := os.ReadFile(filepath.Join(root, "etc/holdfast-marker"))
	if err != nil || string(marker) != FirstMarker+"\n" {
		t.Fatalf("marker %q, %v", marker, err)
	}
	if err := os.WriteFile(filepath.Join(root, "no"), nil, 0o644); err == nil {
		t.Fatal("wrote to a read-only mount")
	}
}

func TestCloneKeepsBytesAndHoles(t *testing.T) {
	d, err := Build(KindSmall)
	if err != nil {
		t.Fatal(err)
	}
	clone := d.Clone(t, t.TempDir())
	if sumOf(t, clone) != sumOf(t, d.Path) {
		t.Fatal("clone differs from its origin")
	}
	info, err := os.Stat(clone)
	if err != nil {
		t.Fatal(err)
	}
	out, err := run("stat", "-c", "%b", clone)
	if err != nil {
		t.Fatal(err)
	}
	var blocks int64
	fmt.Sscan(out, &blocks)
	if blocks*512 > info.Size()/2 {
		t.Fatalf("clone takes %d of %d bytes: its holes are filled", blocks*512, info.Size())
	}
}

func TestCopyAtEdges(t *testing.T) {
	dir := t.TempDir()
	for _, size := range []int64{0, 1, 4095, 4096, 4097, 3 << 20} {
		for _, at := range []int64{-1, 0, size / 2, size - 1} { // -1: holes only
			src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
			if err := createSized(src, size); err != nil {
				t.Fatal(err)
			}
			if at >= 0 && at < size {
				f, err := os.OpenFile(src, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				f.WriteAt([]byte{7}, at)
				f.Close()
			}
			if err := Copy(dst, src); err != nil {
				t.Fatal(err)
			}
			want, _ := os.ReadFile(src)
			got, _ := os.ReadFile(dst)
			if !bytes.Equal(got, want) {
				t.Fatalf("size %d, data at %d: copy differs", size, at)
			}
			os.Remove(src)
			os.Remove(dst)
		}
	}
}

func TestChange(t *testing.T) {
	first := Small(t)
	second := filepath.Join(t.TempDir(), "second.raw")
	if err := Copy(second, first); err != nil {
		t.Fatal(err)
	}
	Change(t, second, 7)
	fsckRoot(t, second)
	before, after := MountRoot(t, first, ReadOnly), MountRoot(t, second, ReadOnly)
	if got, _ := os.ReadFile(filepath.Join(after, "etc/holdfast-marker")); string(got) != "changed-7\n" {
		t.Fatalf("marker %q", got)
	}
	if sumOf(t, filepath.Join(before, DataFile)) == sumOf(t, filepath.Join(after, DataFile)) {
		t.Fatal("the data file was not changed")
	}
	diff, err := exec.Command("diff", "-rq", "--no-dereference", before, after).Output()
	if err == nil {
		t.Fatal("diff sees no change")
	}
	for what, want := range map[string]int{ // 40 picked: 10 deleted, 30 replaced
		"Only in " + filepath.Join(before, "srv/many"): 10,
		"Only in " + filepath.Join(after, "srv") + ":": 1,
		" differ\n": 30 + 3, // and marker, data file, log
	} {
		if got := strings.Count(string(diff), what); got != want {
			t.Errorf("%q: %d times in diff's output, want %d", what, got, want)
		}
	}
}

func TestManyAskForOneDisk(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	made := 0
	r := recipe{name: "probe", ext: ".raw", text: "v1"}
	r.make = func(work, out string) error {
		made++ // the lock guards it
		time.Sleep(50 * time.Millisecond)
		return os.WriteFile(out, []byte("whole"), 0o644)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			path, err := ensure(r)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != "whole" {
				t.Errorf("read %q, %v", got, err)
			}
		})
	}
	wg.Wait()
	if made != 1 {
		t.Fatalf("made %d times, want once", made)
	}
	old, _ := ensure(r)
	r.text = "v2"
	recent, err := ensure(r)
	if err != nil || recent == old || made != 2 {
		t.Fatalf("another recipe: %s, %v, made %d times", recent, err, made)
	}
	longAgo := time.Now().Add(-2 * keepOld)
	if err := os.Chtimes(old, longAgo, longAgo); err != nil {
		t.Fatal(err)
	}
	r.text = "v3"
	if _, err := ensure(r); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the old disk is still there: %v", err)
	}
	if _, err := os.Stat(recent); err != nil {
		t.Errorf("a recent disk of another recipe is gone: %v", err)
	}
}

// A killed builder leaves a work directory with a mounted filesystem. The next
// one clears it up without deleting through the mount.
func TestLeftoverOfADeadBuilder(t *testing.T) {
	cache := t.TempDir()
	raw := Small(t)
	off, size := RootExtent(t, raw)
	t.Setenv("XDG_CACHE_HOME", cache)
	r := recipe{name: "probe", ext: ".raw", text: "v1"}
	r.make = func(work, out string) error {
		mnt := filepath.Join(work, "mnt")
		if err := os.Mkdir(mnt, 0o755); err != nil {
			return err
		}
		if err := mountLoop(raw, mnt, fmt.Sprintf("loop,offset=%d,sizelimit=%d", off, size)); err != nil {
			return err
		}
		return os.WriteFile(out, nil, 0o644) // and dies here
	}
	work := filepath.Join(cache, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.make(work, filepath.Join(cache, "out")); err != nil {
		t.Fatal(err)
	}
	r.make = func(_, out string) error { return os.WriteFile(out, []byte("whole"), 0o644) }
	if err := makeLocked(r, work, filepath.Join(cache, "probe.raw")); err != nil {
		t.Fatal(err)
	}
	if left, err := mountsBelow(cache); err != nil || len(left) != 0 {
		t.Fatalf("still mounted: %v, %v", left, err)
	}
	root := MountRoot(t, raw, ReadOnly)
	if _, err := os.Stat(filepath.Join(root, DataFile)); err != nil {
		t.Fatalf("the leftover's disk lost its files: %v", err)
	}
}

func TestSweepOfADeadProcess(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	raw := Small(t)
	live := MountRoot(t, raw, ReadOnly)
	dir, err := mountDir()
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, fmt.Sprintf("%d-left", dead.Process.Pid))
	if err := os.Mkdir(left, 0o755); err != nil {
		t.Fatal(err)
	}
	off, size := RootExtent(t, raw)
	if err := mountLoop(raw, left, fmt.Sprintf("loop,ro,offset=%d,sizelimit=%d", off, size)); err != nil {
		t.Fatal(err)
	}
	sweepMounts(dir)
	if mounts, err := mountsBelow(dir); err != nil || len(mounts) != 1 || mounts[0] != live {
		t.Fatalf("mounted after the sweep: %v, %v; want only %s", mounts, err, live)
	}
}

func TestAwait(t *testing.T) {
	out, err := runBounded(exec.Command("sh", "-c", "echo HOLDFAST-MARKER-x; sleep 60 & sleep 60"), 300*time.Millisecond)
	if err != errTimeout || out != "HOLDFAST-MARKER-x\n" {
		t.Fatalf("%q, %v; want the output so far and a timeout", out, err)
	}
	if _, err := runBounded(exec.Command("false"), time.Minute); err == nil {
		t.Fatal("a failed command passed")
	}
	if got := Await(t, exec.Command("printf", `HOLDFAST-MARKER-y\r\n`), "y", time.Minute); got != "HOLDFAST-MARKER-y\n" {
		t.Fatalf("%q", got)
	}
}

// Both Debian disks boot by themselves from a qcow2 overlay, read their files
// right and write; the ext4 one after a change.
func TestDebianBoots(t *testing.T) {
	for _, c := range []struct {
		kind   Kind
		change int64
		marker string
	}{{KindDebian, 4, ChangedMarker(4)}, {KindXFS, 0, FirstMarker}} {
		t.Run(string(c.kind), func(t *testing.T) {
			dir := t.TempDir()
			raw := cached(t, c.kind).Clone(t, dir)
			if c.change != 0 {
				Change(t, raw, c.change)
			}
			fsckRoot(t, raw)
			root := MountRoot(t, raw, ReadOnly)
			sum := sumOf(t, filepath.Join(root, DataFile))
			Unmount(t, root)
			overlay := filepath.Join(dir, "overlay.qcow2")
			if _, err := run("qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", overlay); err != nil {
				t.Fatal(err)
			}
			before := sumOf(t, raw)
			out := Boot(t, []string{"-drive", "file=" + overlay + ",if=virtio,cache=unsafe"}, c.marker, BootTimeout)
			for _, want := range []string{"HOLDFAST-SUM-" + sum + "-" + DataFile, "-/usr/bin/perl\n", "HOLDFAST-RW-OK\n"} {
				if !strings.Contains(out, want) {
					t.Errorf("serial output lacks %q:\n%s", want, tail(out, 2000))
				}
			}
			if sumOf(t, raw) != before {
				t.Error("booting from an overlay wrote to the disk below")
			}
		})
	}
}
