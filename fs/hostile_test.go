package fs

import (
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/readers"
)

const hostileSteps = 20_000 // of one walk: a hostile tree may have no end

// hostileKinds are volumes to mutate, without the checksums that would end a
// reader's way at its first look where mkfs can leave them out.
var hostileKinds = []struct {
	kind string
	size int64
	mkfs []string
	fill func(t *testing.T, image string) // nil: it stays empty
}{
	{"ext4", 8 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "^metadata_csum,inline_data"}, fillMounted},
	{"xfs", 300 << 20, []string{"mkfs.xfs", "-q"}, fillMounted},
	{"btrfs", 128 << 20, []string{"mkfs.btrfs", "-q"}, fillMounted},
	{"ntfs", 8 << 20, []string{"mkntfs", "-q", "-F"}, fillNTFS},
	{"fat16", 16 << 20, []string{"mkfs.vfat", "-F", "16"}, fillFAT},
	{"exfat", 16 << 20, []string{"mkfs.exfat"}, nil},
}

// TestHostileVolumes mounts and walks volumes that were changed at random places:
// no panic, no hang, bounded memory; errors are as they come.
func TestHostileVolumes(t *testing.T) {
	s := newStore(t)
	m := mountTest(t, s, Options{Cache: 32 << 20})
	for _, h := range hostileKinds {
		if !readers.Knows(h.kind) {
			continue
		}
		t.Run(h.kind, func(t *testing.T) {
			image := guesttest.Mkfs(t, h.size, h.mkfs...)
			if h.fill != nil {
				h.fill(t, image)
			}
			c := hostileContent(t, image)
			peak := watchHeap(t)
			opened := 0
			for i := range guesttest.Rounds(t, 25) {
				undo := c.mutate(rand.New(rand.NewPCG(5, uint64(i))), i)
				v := commit(t, s, h.kind, day.Add(time.Duration(i)*time.Hour), c)
				undo()
				if walkHostile(t, i, filepath.Join(m.Dir(), h.kind, v.ID, "files")) > 6 {
					opened++
				}
			}
			if grown := peak(); grown > 256<<20 {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
			if opened == 0 && h.fill != nil {
				t.Error("no mutant shows a file")
			}
			t.Logf("%d show files", opened)
		})
	}
}

// fillNTFS makes a few files without a mount.
func fillNTFS(t *testing.T, image string) {
	for i := range 12 {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(strings.Repeat("x", i*i*100)), 0o644); err != nil {
			t.Fatal(err)
		}
		guesttest.Run(t, "ntfscp", "-q", "-f", image, path, fmt.Sprintf("a name that is not short %d", i))
	}
}

// fillFAT does the same with mtools.
func fillFAT(t *testing.T, image string) {
	for i := range 12 {
		path := filepath.Join(t.TempDir(), fmt.Sprintf("a name that is not short %d", i))
		if err := os.WriteFile(path, []byte(strings.Repeat("x", i*i*100)), 0o644); err != nil {
			t.Fatal(err)
		}
		guesttest.Run(t, "mcopy", "-i", image, path, "::")
	}
}

// fillMounted makes a few files of every kind, and a system around them.
func fillMounted(t *testing.T, image string) {
	guesttest.Mounted(t, image, func(dir string) {
		must := func(err error) {
			if err != nil {
				t.Helper()
				t.Fatal(err)
			}
		}
		for _, d := range []string{"etc", "many", "deep/er/and/er", "home"} {
			must(os.MkdirAll(filepath.Join(dir, d), 0o755))
		}
		must(os.WriteFile(dir+"/etc/fstab", []byte("/dev/vda / auto\n/dev/vda /home auto\n/deep/er /deep none bind\n"), 0o644))
		for i := range 120 {
			must(os.WriteFile(fmt.Sprintf("%s/many/a name that is not short %d", dir, i), []byte(strings.Repeat("x", i*7)), 0o644))
		}
		must(os.Symlink("../etc/fstab", dir+"/many/link"))
		must(os.Symlink(strings.Repeat("long/", 60), dir+"/many/long"))
		must(unix.Setxattr(dir+"/etc/fstab", "user.note", []byte("of a file"), 0))
		sparse, err := os.Create(dir + "/home/sparse")
		must(err)
		for i := range int64(20) {
			_, err := sparse.WriteAt([]byte("piece"), i*100_000)
			must(err)
		}
		must(sparse.Close())
	})
}

// hostileContent is an image without its zeros. It is mapped, so that the heap
// tells of the mount alone.
func hostileContent(t *testing.T, image string) *content {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	c := &content{name: "vda", bytes: b}
	zero := make([]byte, 4096)
	for off := 0; off < len(b); off += len(zero) {
		if string(b[off:off+len(zero)]) == string(zero) {
			continue
		}
		at := int64(off)
		if last := len(c.runs) - 1; last >= 0 && c.runs[last][1] == at {
			c.runs[last][1] = at + int64(len(zero))
		} else {
			c.runs = append(c.runs, [2]int64{at, at + int64(len(zero))})
		}
	}
	return c
}

// mutate changes a few bytes that are not zero, which is where structures are,
// or in which they end. The first mutant is the volume as it was.
func (c *content) mutate(rnd *rand.Rand, number int) (undo func()) {
	c.ids, c.off = nil, nil
	old := map[int64]byte{}
	for n := min(number, 1+rnd.IntN(40)); n > 0; {
		r := c.runs[rnd.IntN(len(c.runs))]
		block := c.bytes[r[0]:r[1]]
		at := rnd.IntN(len(block))
		for step := 0; step < 4096 && block[at] == 0; step++ {
			at = (at + 1) % len(block)
		}
		at = max(0, min(len(block)-1, at-rnd.IntN(3)))
		where := r[0] + int64(at)
		if _, ok := old[where]; !ok {
			old[where] = c.bytes[where]
		}
		c.bytes[where] = []byte{0, 0xff, 0x80, byte(rnd.Uint32()), block[at] + 1, block[at] - 1}[rnd.IntN(6)]
		n--
	}
	return func() {
		for at, b := range old {
			c.bytes[at] = b
		}
	}
}

// walkHostile walks a version's files and counts what it meets. Kernel and mount
// may refuse anything, but they must answer.
func walkHostile(t *testing.T, number int, top string) (met int) {
	t.Helper()
	done := make(chan int, 1)
	go func() {
		n := 0
		filepath.WalkDir(top, func(path string, d iofs.DirEntry, err error) error { //nolint:errcheck // any error will do
			if n++; n > hostileSteps {
				return iofs.SkipAll
			}
			if err == nil {
				touchHostile(path, d)
			}
			return nil
		})
		done <- n
	}()
	select {
	case met = <-done:
	case <-time.After(2 * time.Minute):
		stacks := make([]byte, 256<<10)
		t.Fatalf("mutant %d: no answer\n%s", number, stacks[:runtime.Stack(stacks, true)])
	}
	return met
}

// touchHostile does with a file what programs do.
func touchHostile(path string, d iofs.DirEntry) {
	buf := make([]byte, 64<<10)
	unix.Llistxattr(path, buf)             //nolint:errcheck // any answer will do
	unix.Lgetxattr(path, "user.note", buf) //nolint:errcheck
	os.Readlink(path)                      //nolint:errcheck
	info, err := d.Info()
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	io.CopyN(io.Discard, f, 256<<10)            //nolint:errcheck
	f.ReadAt(buf, info.Size()-1)                //nolint:errcheck
	unix.Seek(int(f.Fd()), 1, unix.SEEK_HOLE)   //nolint:errcheck
	unix.Seek(int(f.Fd()), 1, unix.SEEK_DATA)   //nolint:errcheck
	unix.Seek(int(f.Fd()), 1e6, unix.SEEK_DATA) //nolint:errcheck
}

// watchHeap samples the heap until its result is called, which tells by how much
// it grew at most.
func watchHeap(t *testing.T) func() uint64 {
	runtime.GC()
	heap := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	first, most := heap(), uint64(0)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			most = max(most, heap())
			select {
			case <-quit:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	stopped := false
	stop := func() uint64 {
		if !stopped {
			stopped = true
			close(quit)
			<-done
		}
		return most - min(most, first)
	}
	t.Cleanup(func() { stop() })
	return stop
}
