package tests

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallDisk mounts an empty file system of 24 MiB until the end of the test.
func smallDisk(t *testing.T, kind string) string {
	t.Helper()
	dir := t.TempDir()
	mnt, image := filepath.Join(dir, "mnt"), filepath.Join(dir, "disk")
	commands := [][]string{{"mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", mnt}}
	if kind == "ext4" {
		commands = [][]string{{"truncate", "-s", "24M", image}, {"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, mnt}}
	}
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range commands {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", c, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mnt).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
			exec.Command("umount", "-l", mnt).Run() //nolint:errcheck // the last try
		}
	})
	return mnt
}

// fill takes the last byte of a file system.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, 64<<10); len(b) > 0; {
		if _, err = f.Write(b); err != nil {
			b = b[:len(b)/2]
		}
	}
	if err = errors.Join(f.Sync(), f.Close()); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// noise is what can't be compressed.
func noise(seed byte, size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// refused runs a command that must fail with status 1 and say something.
func (p *program) refused(text string, args ...string) {
	p.Helper()
	out, err := p.run(args...)
	if err == nil || !strings.Contains(err.Error(), "exit status 1\n") || !strings.Contains(err.Error(), text) {
		p.Fatalf("holdfast %q: want status 1 and %q\n%s%v", args, text, out, err)
	}
}

// TestFullDisk: on a disk without a free byte versions can be looked at, pinned,
// forgotten, undeleted and pruned; a capture is refused and says what to type, and
// what it says brings the space back.
func TestFullDisk(t *testing.T) {
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) { fullDisk(t, kind) })
	}
}

func fullDisk(t *testing.T, kind string) {
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	mnt, dir := smallDisk(t, kind), t.TempDir()
	p := &program{t, bin, filepath.Join(mnt, "store")}
	p.must("init", p.store)
	disks := make([]string, 4)
	for i := range disks {
		disks[i] = filepath.Join(dir, fmt.Sprintf("%d.raw", i))
		size := 2_500_000
		if i == 3 {
			size = 30 << 20
		}
		if err := os.WriteFile(disks[i], noise(byte(i), size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		p.must("capture", "--vm", "web", "--at", fmt.Sprintf("2026-01-0%d 00:00", i+1), "vda="+disks[i])
	}
	const hint = "holdfast forget VM@VERSION, then holdfast prune --grace 0s"
	p.refused(hint, "capture", "--vm", "big", "vda="+disks[3])
	fill(t, filepath.Join(mnt, "filler"))
	for range 3 { // what is given back is made again as it can be
		p.must("list", "web")
	}
	p.refused(hint, "capture", "--vm", "big", "vda="+disks[3])
	p.must("policy", "set", "--keep-last", "1")
	p.must("pin", "web@2026-01-02T00-00-00Z")
	p.must("unpin", "web@2026-01-02T00-00-00Z")
	p.must("forget", "web")
	p.must("undelete", "web@2026-01-02T00-00-00Z")
	p.must("forget", "web@2026-01-02T00-00-00Z")
	if out, err := p.run("prune"); err != nil && !strings.Contains(err.Error(), "in the trash at once, and go on: holdfast prune --grace 0s") {
		t.Fatalf("%s%v", out, err)
	}
	p.must("prune", "--grace", "0s")
	p.must("capture", "--vm", "big", "vda="+disks[0])
	p.must("verify", "--deep", "web", "--against", "vda="+disks[2])
	p.must("verify", "--deep", "big", "--against", "vda="+disks[0])
	p.must("check")
}

// TestFullDiskMounted: a mount stays, and can be read, while others take every byte
// that comes free; through it versions are pinned, forgotten and pruned.
func TestFullDiskMounted(t *testing.T) {
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) { fullDiskMounted(t, kind) })
	}
}

func fullDiskMounted(t *testing.T, kind string) {
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	mnt, dir := smallDisk(t, kind), t.TempDir()
	p := &program{t, bin, filepath.Join(mnt, "store")}
	p.must("init", p.store)
	disks := make([]string, 3)
	for i := range disks {
		disks[i] = filepath.Join(dir, fmt.Sprintf("%d.raw", i))
		if err := os.WriteFile(disks[i], noise(byte(i), 2_500_000), 0o600); err != nil {
			t.Fatal(err)
		}
		p.must("capture", "--vm", "web", "--at", fmt.Sprintf("2026-01-0%d 00:00", i+1), "vda="+disks[i])
	}
	s := p.mount()
	read := func() {
		t.Helper()
		for i := range disks {
			at := s.path("web", fmt.Sprintf("2026-01-0%dT00-00-00Z", i+1), "vda.raw")
			if _, err := os.Stat(at); i < 2 && errors.Is(err, os.ErrNotExist) {
				continue // forgotten by now
			}
			if out, err := exec.Command("cmp", at, disks[i]).CombinedOutput(); err != nil {
				t.Fatalf("cmp: %v\n%s%s", err, out, s.log)
			}
		}
	}
	for i := range 3 {
		fill(t, filepath.Join(mnt, fmt.Sprintf("filler-%d", i)))
		read()
		p.must("pin", "web@2026-01-02T00-00-00Z")
		p.must("unpin", "web@2026-01-02T00-00-00Z")
	}
	p.refused("holdfast forget VM@VERSION, then holdfast prune --grace 0s", "capture", "--vm", "big", "vda="+disks[0], "vdb="+bin)
	p.must("forget", "web", "--keep-last", "1", "--min-age", "0s")
	fill(t, filepath.Join(mnt, "filler"))
	read()
	p.must("prune", "--grace", "0s")
	read()
	for i := range 3 { // others make room too: what was pruned is hardly more than the reserve
		if err := os.Remove(filepath.Join(mnt, fmt.Sprintf("filler-%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	p.must("capture", "--vm", "big", "vda="+disks[0])
	p.must("verify", "--deep", "web", "--against", "vda="+disks[2])
	p.must("verify", "--deep", "big", "--against", "vda="+disks[0])
	p.must("check")
	s.unmount()
}
