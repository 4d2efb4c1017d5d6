package btrfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// machine is a filesystem over several image files.
type machine struct {
	t     testing.TB
	files []string
}

// newMachine makes a filesystem on n image files.
func newMachine(t testing.TB, n int, size int64, options ...string) *machine {
	m := &machine{t: t}
	dir := t.TempDir()
	for i := range n {
		path := filepath.Join(dir, fmt.Sprint("device", i+1))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		m.files = append(m.files, path)
	}
	m.attached(func(loops []string) {
		args := append(mkfs(options...), loops...)
		guesttest.Run(t, args[0], args[1:]...)
	})
	return m
}

// attached calls fn with a loop device for each file.
func (m *machine) attached(fn func(loops []string)) {
	m.t.Helper()
	var loops []string
	defer func() {
		for _, l := range loops {
			guesttest.Run(m.t, "losetup", "-d", l)
		}
	}()
	for _, f := range m.files {
		loops = append(loops, strings.TrimSpace(guesttest.Run(m.t, "losetup", "--find", "--show", f)))
	}
	fn(loops)
}

// mounted mounts all of it, calls fn and unmounts it.
func (m *machine) mounted(fn func(dir string), options ...string) {
	m.t.Helper()
	m.attached(func(loops []string) {
		dir := m.t.TempDir()
		all := append([]string{"noatime", "device=" + strings.Join(loops, ",device=")}, options...)
		guesttest.Run(m.t, "mount", "-t", "btrfs", "-o", strings.Join(all, ","), loops[0], dir)
		defer func() {
			guesttest.Unmount(m.t, dir)
			for _, l := range loops {
				guesttest.Run(m.t, "btrfs", "device", "scan", "--forget", l)
			}
		}()
		fn(dir)
	})
}

// volumes opens the files, the one with that number first, without some.
func (m *machine) volumes(first int, without ...int) []guest.Volume {
	all := []guest.Volume{guesttest.OpenFile(m.t, m.files[first])}
	for i, f := range m.files {
		if i != first {
			all = append(all, guesttest.OpenFile(m.t, f))
		}
		for _, w := range without {
			if w == i {
				all = all[:len(all)-1]
			}
		}
	}
	return all
}

func (m *machine) open(all []guest.Volume) *FS {
	m.t.Helper()
	fs, err := Open(m.t.Context(), all[0], all[1:]...)
	if err != nil {
		m.t.Fatal(err)
	}
	return fs
}

// file is a file of a filesystem as an io.ReaderAt.
type file struct {
	ctx context.Context
	fs  *FS
	n   guest.Node
}

func (f file) ReadAt(p []byte, off int64) (int, error) { return f.fs.ReadAt(f.ctx, f.n, p, off) }

// contentOf sums all files of a filesystem, up to the first error.
func contentOf(ctx context.Context, fs *FS) (map[string][32]byte, error) {
	all := map[string][32]byte{}
	var failed error
	var walk func(path string, n guest.Node)
	walk = func(path string, n guest.Node) {
		a, err := fs.Stat(ctx, n)
		if a.Type == guest.Directory {
			err = fs.ReadDir(ctx, n, 0, func(e guest.Entry) bool { walk(path+"/"+e.Name, e.Node); return failed == nil })
		}
		if a.Type == guest.Regular && a.Size < 64<<20 {
			h := sha256.New()
			_, err = io.Copy(h, io.NewSectionReader(file{ctx, fs, n}, 0, a.Size))
			all[path] = [32]byte(h.Sum(nil))
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w", path, err)
		}
	}
	walk("", fs.Root())
	return all, failed
}

func content(t testing.TB, fs *FS) map[string][32]byte {
	t.Helper()
	all, err := contentOf(t.Context(), fs)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func compareContent(t testing.TB, what string, got, want map[string][32]byte) {
	t.Helper()
	if len(got) != len(want) || len(want) < 10 {
		t.Fatalf("%s: %d files, want %d", what, len(got), len(want))
	}
	for path, sum := range want {
		if got[path] != sum {
			t.Fatalf("%s: %s differs", what, path)
		}
	}
}

// comparePlaces holds what the reader reads against the bytes at the places
// that it tells, and gives how many bytes these are.
func comparePlaces(t testing.TB, fs *FS) (total int64) {
	t.Helper()
	err := fs.Files(t.Context(), func(n guest.Node, size int64, e guest.Extent) bool {
		length := min(e.Length, size-e.Offset)
		want, got := make([]byte, length), make([]byte, length)
		if _, err := fs.ReadAt(t.Context(), n, want, e.Offset); err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("read %+v: %v", e, err)
		}
		if _, err := fs.self.ReadAt(got, e.Place); err != nil || !bytes.Equal(got, want) {
			t.Errorf("node %d: %+v is not there: %v", n, e, err)
		}
		total += length
		return !t.Failed()
	})
	if err != nil {
		t.Error(err)
	}
	return total
}

// spoilt is a volume with garbage behind its first MiB, but for superblocks: in
// each nth run of 64 KiB, from one of them on.
type spoilt struct {
	guest.Volume
	from, n int64
}

func (s spoilt) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.Volume.ReadAt(p, off)
	for at := 0; at < n; {
		block := (off + int64(at)) / 4096 * 4096
		end := min(int(block+4096-off), n)
		if block >= reservedStart && block != superPlaces[1] && block/stripeLen%s.n == s.from {
			copy(p[at:end], spoil)
		}
		at = end
	}
	return n, err
}

var spoil = bytes.Repeat([]byte("spoilt! "), 512)

// fillFree writes garbage to both ends of all that is free on each device.
func (m *machine) fillFree() (total int64) {
	m.t.Helper()
	rnd := rand.New(rand.NewPCG(1, 1))
	garbage := make([]byte, 256<<10)
	for i := range garbage {
		garbage[i] = byte(rnd.Uint32())
	}
	for i, path := range m.files {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			m.t.Fatal(err)
		}
		err = m.open(m.volumes(i)).Free(m.t.Context(), func(r guest.Range) bool {
			total += r.Length
			head := garbage[:min(int64(len(garbage)), r.Length)]
			_, err := f.WriteAt(head, r.Offset)
			if err == nil {
				_, err = f.WriteAt(head, r.Offset+r.Length-int64(len(head)))
			}
			if err != nil {
				m.t.Fatal(err)
			}
			return true
		})
		if err := errors.Join(err, f.Close()); err != nil {
			m.t.Fatal(err)
		}
	}
	return total
}

// profiles are the ways to lay a filesystem over devices; lose is how many may
// be lost. Where it is one, their number divides 16, so that runs spoilt in turns
// never meet in a row: places of chunks differ by MiB.
var profiles = []struct {
	name    string
	devices int
	lose    int
	mkfs    []string
}{
	{"dup", 1, 0, []string{"-m", "dup", "-d", "dup"}},
	{"single", 2, 0, []string{"-m", "raid1", "-d", "single"}},
	{"raid0", 3, 0, []string{"-m", "raid0", "-d", "raid0"}},
	{"raid1", 2, 1, []string{"-m", "raid1", "-d", "raid1"}},
	{"raid10", 4, 1, []string{"-m", "raid10", "-d", "raid10"}},
	{"raid1c3", 3, 2, []string{"-m", "raid1c3", "-d", "raid1c3"}},
	{"raid1c4", 4, 3, []string{"-m", "raid1c4", "-d", "raid1c4", "-R", "^free-space-tree"}},
	{"raid5", 4, 1, []string{"-m", "raid5", "-d", "raid5"}},
	{"raid6", 5, 2, []string{"-m", "raid6", "-d", "raid6"}},
}

// TestProfiles reads filesystems over several devices: as the kernel does, with
// garbage in all free space, with devices spoilt, and with devices missing.
func TestProfiles(t *testing.T) {
	for i, p := range profiles {
		t.Run(p.name, func(t *testing.T) {
			m := newMachine(t, p.devices, 256<<20, p.mkfs...)
			m.mounted(func(dir string) {
				guesttest.PopulateFew(t, dir, uint64(i))
				rnd := rand.NewChaCha8([32]byte{byte(i)})
				for k, size := range []int{100, 4096, 65536, 1_000_000, 2_500_001} {
					b := make([]byte, size)
					rnd.Read(b)
					if err := os.WriteFile(fmt.Sprint(dir, "/large", k), b, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			})
			fs := m.open(m.volumes(0))
			want := content(t, fs)
			placed := int64(0)
			for first := range m.files {
				placed += comparePlaces(t, m.open(m.volumes(first)))
			}
			if free := m.fillFree(); placed < 1<<20 || free < int64(p.devices)*64<<20 {
				t.Errorf("%d bytes have a place, %d are free", placed, free)
			}
			m.mounted(func(dir string) {
				fs := m.open(m.volumes(p.devices - 1))
				if st := fs.State(); st.Health != guest.Clean || st.Reason != "" || st.Size != int64(p.devices)*256<<20 {
					t.Errorf("state %+v", st)
				}
				guesttest.CompareTreeBut(t, fs, dir, sees)
				if out := guesttest.Run(t, "btrfs", "scrub", "start", "-B", "-r", dir); !strings.Contains(out, "no errors found") {
					t.Errorf("free space was in use: %s", out)
				}
			}, "ro")
			m.compareDegraded(want, p.lose)
			if p.lose+1 < p.devices {
				m.compareLost(want, p.lose+1)
			}
		})
	}
}

// compareDegraded reads with parts of all devices spoilt, with the last ones
// spoilt, and with them missing.
func (m *machine) compareDegraded(want map[string][32]byte, lose int) {
	t := m.t
	n := len(m.files)
	if lose > 0 {
		all := m.volumes(0)
		for i := range all {
			all[i] = spoilt{all[i], int64(i), int64(n)}
		}
		compareContent(t, "each spoilt in part", content(t, m.open(all)), want)
	}
	for lost := 1; lost <= lose; lost++ {
		all := m.volumes(0)
		var missing []int
		for i := n - lost; i < n; i++ {
			all[i] = spoilt{all[i], 0, 1}
			missing = append(missing, i)
		}
		compareContent(t, fmt.Sprint("spoilt: ", missing), content(t, m.open(all)), want)
		if lost == 2 {
			compareContent(t, "one missing, one spoilt", content(t, m.open(all[:n-1])), want)
		}
		fs := m.open(m.volumes(0, missing...))
		compareContent(t, fmt.Sprint("missing: ", missing), content(t, fs), want)
		if st := fs.State(); !strings.Contains(st.Reason, fmt.Sprintf("%d of its %d devices are missing: ", lost, n)) {
			t.Errorf("state %+v", st)
		}
	}
}

// compareLost reads without more devices than can be missed: an error names
// them, unless all that there is lies on the rest.
func (m *machine) compareLost(want map[string][32]byte, lost int) {
	t := m.t
	var missing []int
	for i := len(m.files) - lost; i < len(m.files); i++ {
		missing = append(missing, i)
	}
	all := m.volumes(0, missing...)
	fs, err := Open(t.Context(), all[0], all[1:]...)
	var got map[string][32]byte
	if err == nil {
		got, err = contentOf(t.Context(), fs)
	}
	switch {
	case err == nil:
		compareContent(t, "on the rest", got, want)
	case !strings.Contains(err.Error(), "missing") && !strings.Contains(err.Error(), "are here"):
		t.Errorf("without %v: %v", missing, err)
	}
}
