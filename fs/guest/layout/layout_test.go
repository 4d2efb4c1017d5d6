package layout

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/readers"
	"holdfast/fs/guest/volume"
)

var all = Options{Cuts: true, Free: true, Swap: true}

func scanOne(t testing.TB, v guest.Volume, o Options) *Layout {
	t.Helper()
	l, err := Scan(context.Background(), []volume.Disk{{Name: "a", Volume: v}}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// images are filesystems with all that a file's layout can be.
var images = []struct {
	name string
	mkfs []string
	at   int64 // of the filesystem on its disk: 0: all of it
}{
	{"ext4", []string{"mkfs.ext4", "-q", "-F"}, 0},
	{"ext4 1k", []string{"mkfs.ext4", "-q", "-F", "-b", "1024"}, 0},
	{"ext2", []string{"mkfs.ext2", "-q", "-F"}, 0},
	{"ext4 bigalloc", []string{"mkfs.ext4", "-q", "-F", "-O", "bigalloc"}, 0},
	{"xfs", []string{"mkfs.xfs", "-q", "-f", "-m", "reflink=1"}, 0},
	{"btrfs", []string{"mkfs.btrfs", "-q", "-f"}, 0},
	{"ext4 in a partition", []string{"mkfs.ext4", "-q", "-F"}, 1 << 20},
	{"ext4 across blocks", []string{"mkfs.ext4", "-q", "-F"}, 63 * 512},
}

// made are the disks, each made once for all tests.
var made sync.Map // name → func() (string, error)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "layout-")
	if err != nil {
		panic(err)
	}
	madeIn = dir
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

var madeIn string

// disk gives a disk, which nobody may write to: a filesystem, used and partly
// deleted, alone or in a partition.
func disk(t testing.TB, mkfs []string, at int64) string {
	t.Helper()
	key := fmt.Sprint(mkfs, at)
	once, _ := made.LoadOrStore(key, sync.OnceValue(func() string {
		path := filepath.Join(madeIn, fmt.Sprintf("%x", key))
		guesttest.Run(t, "cp", "--sparse=always", makeDisk(t, mkfs, at), path)
		return path
	}))
	return once.(func() string)()
}

func makeDisk(t testing.TB, mkfs []string, at int64) string {
	t.Helper()
	size := int64(64 << 20)
	if mkfs[0] == "mkfs.xfs" || mkfs[0] == "mkfs.btrfs" {
		size = 320 << 20
	}
	image := guesttest.Mkfs(t, size, mkfs...)
	guesttest.Mounted(t, image, func(dir string) { use(t, dir) })
	if at == 0 {
		return image
	}
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := io.Copy(io.NewOffsetWriter(f, at), in); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(at + size + 1<<20); err != nil {
		t.Fatal(err)
	}
	guesttest.Run(t, "sh", "-c", fmt.Sprintf("echo '%d,%d,83' | sfdisk -q %s", at/512, size/512, path))
	return path
}

// use fills a filesystem with files of all sizes, fragments them, and deletes
// and clones some.
func use(t testing.TB, dir string) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(4, 2))
	noise := rand.NewChaCha8([32]byte{9})
	write := func(name string, n int) {
		b := make([]byte, n)
		noise.Read(b)
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		write(fmt.Sprintf("f%03d", i), 1+rnd.IntN([]int{3000, 9000, 70_000, 300_000}[rnd.IntN(4)]))
	}
	guesttest.Run(t, "sync", "-f", dir)
	for i := 0; i < 300; i += 3 {
		if err := os.Remove(filepath.Join(dir, fmt.Sprintf("f%03d", i))); err != nil {
			t.Fatal(err)
		}
	}
	guesttest.Run(t, "sync", "-f", dir)
	for i := range 20 {
		write(fmt.Sprintf("big%d", i), 200_000+rnd.IntN(600_000)) // into the gaps
	}
	guesttest.Run(t, "sh", "-c", `cd "$1" && cp --reflink=auto big1 clone && truncate -s 5M sparse && echo x >>sparse && { fallocate -l 300K prealloc || :; } && mkdir d && cp f001 d`, "sh", dir)
	guesttest.Run(t, "sync", "-f", dir)
}

func blockOf(fs guest.Filesystem) int64 {
	if n := fs.State().Block; n > 0 {
		return min(n, coarse)
	}
	return coarse
}

// wantCuts computes the cuts of a volume at an offset of its disk from the
// extents that each file tells of, by the rule and not by the code.
func wantCuts(t testing.TB, fs guest.Filesystem, at, unit int64) []int64 {
	t.Helper()
	seen := map[guest.Node]bool{}
	cuts := map[int64]bool{}
	block := blockOf(fs)
	err := fs.Files(t.Context(), func(n guest.Node, size int64, _ guest.Extent) bool { seen[n] = true; return true })
	if err != nil {
		t.Fatal(err)
	}
	for n := range seen {
		err := fs.Extents(t.Context(), n, 0, func(e guest.Extent) bool {
			if e.Hole || e.Place < 0 {
				return true
			}
			end := e.Offset + (e.Length+block-1)/block*block
			for off := e.Offset; off < end; off += block {
				if off == e.Offset || off%MaxCell == 0 {
					cuts[(at+e.Place+off-e.Offset)/unit*unit] = true
				}
			}
			cuts[(at+e.Place+end-e.Offset)/unit*unit] = true
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var list []int64
	for c := range cuts {
		list = append(list, c)
	}
	slices.Sort(list)
	return list
}

// TestCutsByTheRule holds the cuts of each kind of filesystem against those
// that the rule gives, and against those of scans with little memory.
func TestCutsByTheRule(t *testing.T) {
	for _, c := range images {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := disk(t, c.mkfs, c.at)
			v := guesttest.OpenFile(t, path)
			l := scanOne(t, v, all)
			got := l.Cuts(nil, "a", 0, v.Size())
			found, err := volume.Find(t.Context(), []volume.Disk{{Name: "a", Volume: v}})
			if err != nil || len(found.Volumes) != 1 {
				t.Fatalf("%d volumes, %v", len(found.Volumes), err)
			}
			fs, err := readers.Open(t.Context(), found.Volumes[0])
			if err != nil {
				t.Fatal(err)
			}
			unit := int64(coarse)
			if c.at%coarse != 0 || blockOf(fs) < coarse {
				unit = fine
			}
			if want := wantCuts(t, fs, c.at, unit); !slices.Equal(got, want) {
				t.Errorf("%d cuts, want %d: %v", len(got), len(want), firstDifferent(got, want))
			}
			if n := l.Notices("a"); len(n) > 0 {
				t.Errorf("notices %q", n)
			}
			small := all
			small.MaxMemory, small.TempDir = 1, t.TempDir()
			again := scanOne(t, v, small)
			if cuts := again.Cuts(nil, "a", 0, v.Size()); !slices.Equal(cuts, got) {
				t.Error("another scan has other cuts")
			}
			if a, b := l.Out(nil, "a", 0, v.Size()), again.Out(nil, "a", 0, v.Size()); !slices.Equal(a, b) {
				t.Error("another scan leaves other ranges out")
			}
			if l.ReadBytes() > v.Size()/4 {
				t.Errorf("%d bytes of %d were read", l.ReadBytes(), v.Size())
			}
		})
	}
}

func firstDifferent(got, want []int64) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("number %d is %d, want %d", i, got[i], want[i])
		}
	}
	return "one ends before the other"
}

// TestGarbageInWhatIsOut writes garbage wherever a layout says that nothing is,
// and then the kernel finds the filesystem clean and every file as it was.
func TestGarbageInWhatIsOut(t *testing.T) {
	for _, c := range images[:6] {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			image := disk(t, c.mkfs, 0)
			copied := guesttest.Copy(t, image)
			v := guesttest.OpenFile(t, image)
			out := scanOne(t, v, all).Out(nil, "a", 0, v.Size())
			total := fill(t, copied, out)
			if total < v.Size()/4 {
				t.Errorf("only %d bytes of %d are out", total, v.Size())
			}
			check(t, c.mkfs[0], copied)
			want, got := sums(t, image), sums(t, copied)
			if want != got {
				t.Errorf("files differ:\n%s\n%s", want, got)
			}
		})
	}
}

// check proves a filesystem by its own tool.
func check(t testing.TB, mkfs, image string) {
	t.Helper()
	switch mkfs {
	case "mkfs.xfs":
		guesttest.Run(t, "xfs_repair", "-n", image)
	case "mkfs.btrfs":
		guesttest.Run(t, "btrfs", "check", "--readonly", "--check-data-csum", image)
	default:
		guesttest.Run(t, "e2fsck", "-fn", image)
	}
}

// sums are those of all files as the kernel reads them.
func sums(t testing.TB, image string) string {
	t.Helper()
	dir, unmount := guesttest.Mount(t, image, "ro")
	defer unmount()
	return guesttest.Run(t, "sh", "-c", `cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum && find . | sort`, "sh", dir)
}

// TestSwap: all behind the header is out; not when a guest sleeps in it, and
// then nothing of its other volumes either.
func TestSwap(t *testing.T) {
	const size = 8 << 20
	image := guesttest.Mkfs(t, size, "mkswap", "-q")
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	out := func(b []byte, o Options) []guest.Range {
		return scanOne(t, bytes.NewReader(b), o).Out(nil, "a", 0, size)
	}
	if got := out(b, all); !slices.Equal(got, []guest.Range{{Offset: edge, Length: size - 2*edge}}) {
		t.Errorf("out %v", got)
	}
	if got := out(b, Options{Cuts: true, Free: true}); len(got) > 0 {
		t.Errorf("swap was to be kept, out %v", got)
	}
	asleep := bytes.Clone(b)
	copy(asleep[4086:], "S1SUSPEND\x00")
	if got := out(asleep, all); len(got) > 0 {
		t.Errorf("a sleeping guest's memory is out: %v", got)
	}
	data, err := os.ReadFile(disk(t, images[0].mkfs, 0))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Scan(t.Context(), []volume.Disk{{Name: "data", Volume: bytes.NewReader(data)}, {Name: "swap", Volume: bytes.NewReader(asleep)}}, all)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := l.Out(nil, "data", 0, int64(len(data))); len(got) > 0 {
		t.Errorf("free space of a sleeping guest is out: %v", got)
	}
	if n := l.Notices("data"); len(n) != 1 || !strings.Contains(n[0], "sleep") {
		t.Errorf("notices %q", n)
	}
}

// TestDamageKeepsAll: where a reader finds damage, nothing is out.
func TestDamageKeepsAll(t *testing.T) {
	content, err := os.ReadFile(disk(t, images[0].mkfs, 0))
	if err != nil {
		t.Fatal(err)
	}
	whole := scanOne(t, bytes.NewReader(content), all).Out(nil, "a", 0, int64(len(content)))
	for name, damage := range map[string]func(b []byte){
		"marked as having errors": func(b []byte) { b[1024+58] |= 2 },
		"an older mark as well":   func(b []byte) { copy(b, "XFSB\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x10\x00") },
		"unknown feature":         func(b []byte) { b[1024+99] |= 0x40 },
	} {
		b := bytes.Clone(content)
		damage(b)
		l := scanOne(t, bytes.NewReader(b), all)
		if got := l.Out(nil, "a", 0, int64(len(b))); len(got) > 0 {
			t.Errorf("%s: %d ranges are out, of %d", name, len(got), len(whole))
		}
		if len(l.Notices("a")) == 0 {
			t.Errorf("%s: no notice", name)
		}
	}
}

// hostile is a volume that fails in the way that fail does, once armed.
type hostile struct {
	guest.Volume
	fail func(reads int)
	n    int
}

func (h *hostile) ReadAt(p []byte, off int64) (int, error) {
	h.n++
	h.fail(h.n)
	return h.Volume.ReadAt(p, off)
}

// TestReadersThatFail: a panic, and a reader that does not come back, make a
// notice and leave nothing out.
func TestReadersThatFail(t *testing.T) {
	path := disk(t, images[0].mkfs, 0)
	stuck := make(chan struct{})
	t.Cleanup(func() { close(stuck) })
	for name, fail := range map[string]func(int){
		"panic at once": func(int) { panic("at once") },
		"panic later": func(n int) {
			if n == 30 {
				panic("later")
			}
		},
		"hangs later": func(n int) {
			if n == 30 {
				<-stuck
			}
		},
		"hangs at once": func(n int) { <-stuck },
	} {
		t.Run(name, func(t *testing.T) {
			v := guesttest.OpenFile(t, path)
			o := all
			if strings.HasPrefix(name, "hangs") {
				o.Patience, o.grace = time.Millisecond, time.Millisecond
			}
			l := scanOne(t, &hostile{Volume: v, fail: fail}, o)
			if got := l.Out(nil, "a", 0, v.Size()); len(got) > 0 {
				t.Errorf("%d ranges are out", len(got))
			}
			if len(l.Notices("a")) == 0 {
				t.Error("no notice")
			}
		})
	}
}

// TestBudget: a scan ends when it has read too much.
func TestBudget(t *testing.T) {
	m := new(meter)
	m.allow(10)
	v := metered{bytes.NewReader(make([]byte, 100)), m}
	if _, err := v.ReadAt(make([]byte, 10), 0); err != nil {
		t.Error(err)
	}
	if _, err := v.ReadAt(make([]byte, 1), 0); err != errBudget {
		t.Errorf("error %v", err)
	}
}

// TestStoppedScan: only the end of its context ends a scan with an error.
func TestStoppedScan(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v := guesttest.OpenFile(t, disk(t, images[0].mkfs, 0))
	if l, err := Scan(ctx, []volume.Disk{{Name: "a", Volume: v}}, all); err != context.Canceled {
		t.Errorf("layout %v, error %v", l, err)
	}
	if _, err := Scan(t.Context(), nil, all); err != nil {
		t.Error(err)
	}
}
