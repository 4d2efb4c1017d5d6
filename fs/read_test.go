package fs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/pack"
	"holdfast/fs/image"
)

// openRaw opens with plain system calls; see answers for why.
func openRaw(t testing.TB, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// aligned returns n bytes as O_DIRECT likes them.
func aligned(n int) []byte {
	b := make([]byte, n+4096)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & 4095
	return b[skip : skip+n]
}

// check compares one read with the oracle.
func check(fd int, c *content, off int64, p []byte) error {
	want := c.bytes[min(off, int64(len(c.bytes))):min(off+int64(len(p)), int64(len(c.bytes)))]
	n := 0
	for n < len(want) {
		m, err := unix.Pread(fd, p[n:], off+int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil || m == 0 {
			return fmt.Errorf("read %d at %d: %d bytes, %v", len(p), off, m, err)
		}
		n += m
	}
	if !bytes.Equal(p[:n], want) {
		return fmt.Errorf("read %d at %d: wrong bytes", len(p), off)
	}
	return nil
}

func TestReadsEqualOracle(t *testing.T) {
	for _, opts := range []Options{{}, {NoPush: true, Cache: 4 << 20, ReadAheadKiB: 128}} {
		s := newStore(t)
		c := newContent("vda", 24<<20+777, 5)
		v := commit(t, s, "web", day, c)
		m := mountTest(t, s, opts)
		var all sync.WaitGroup
		for reader := range 6 {
			all.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(reader), 1))
				flags := []int{0, unix.O_DIRECT}[reader%2]
				fd, err := unix.Open(rawPath(m, v, "vda"), unix.O_RDONLY|flags, 0)
				if err != nil {
					t.Error(err)
					return
				}
				defer unix.Close(fd)
				off := int64(0)
				for i := range 150 {
					n := []int{1, 511, 4096, 4097, 65536, 1 << 20, 3 << 20}[rnd.IntN(7)]
					if reader%3 != 0 || i%10 == 0 { // two of three jump about, one goes on
						off = rnd.Int64N(int64(len(c.bytes)))
					}
					if err := check(fd, c, off, aligned(n)); err != nil {
						t.Errorf("reader %d: %v", reader, err)
						return
					}
					off += int64(n)
				}
			})
		}
		all.Wait()
		whole := make([]byte, len(c.bytes))
		if err := check(openRaw(t, rawPath(m, v, "vda"), 0), c, 0, whole); err != nil {
			t.Error(err)
		}
		t.Logf("%+v", m.Stats())
	}
}

func TestReadAtEdges(t *testing.T) {
	s := newStore(t)
	for _, size := range []int64{1, 511, 512, 4095, 4096, 4097, 65535, 65536, 65537} {
		c := newContent(fmt.Sprint(size), size, uint64(size))
		v := commit(t, s, fmt.Sprint("vm", size), day, c)
		m := mountTest(t, s, Options{})
		for _, flags := range []int{0, unix.O_DIRECT} {
			fd := openRaw(t, rawPath(m, v, c.name), flags)
			for _, off := range []int64{0, 1, size - 1, size, size + 1, size + 1<<30} {
				p := aligned(8192)
				n, err := unix.Pread(fd, p, off)
				want := max(0, min(int64(len(p)), size-off))
				if err != nil || int64(n) != want || !bytes.Equal(p[:n], c.bytes[min(off, size):min(off, size)+want]) {
					t.Errorf("size %d, offset %d, flags %x: %d bytes, %v, want %d", size, off, flags, n, err, want)
				}
			}
			unix.Close(fd)
		}
	}
}

// keptTries is how often a test looks whether the kernel has kept what it was given: one that
// reclaims what is cold for some seconds (DAMON) has not always, on a busy machine.
const keptTries = 5

// What is in the page cache is never asked for again, also by another open.
func TestSecondReadSendsNothing(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 8<<20, 5)
	v := commit(t, s, "web", day, c)
	var sent, looked int64
	for range keptTries {
		if sent, looked = secondReadSends(t, s, v, c); sent == 0 && looked == 0 {
			return
		}
	}
	t.Errorf("the second read sent %d READs and %d look-ups", sent, looked)
}

// secondReadSends returns how many READs and look-ups the second read of a disk, of all
// through a new mount, sends.
func secondReadSends(t *testing.T, s *testStore, v *catalog.Version, c *content) (reads, lookups int64) {
	t.Helper()
	m := mountTest(t, s, Options{})
	dir, err := unix.Open(VersionPath(m.Dir(), v), unix.O_PATH, 0) // from here all is immutable: a VM's name is asked for each second
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	read := func() {
		fd, err := unix.Openat(dir, FileName("vda", ".raw"), unix.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := check(fd, c, 0, make([]byte, len(c.bytes))); err != nil {
			t.Fatal(err)
		}
	}
	read()
	before := m.Stats()
	if before.Reads == 0 {
		t.Fatal("the first read sent no READ")
	}
	read()
	after := m.Stats()
	return after.Reads - before.Reads, after.Lookups - before.Lookups
}

// The second small read in a grain fills the page cache around it.
func TestLocalReadsArePushed(t *testing.T) {
	s := newStore(t)
	c := &content{name: "vda", bytes: make([]byte, 1<<20)}
	c.add(rand.NewChaCha8([32]byte{1}), 0, 1<<20)
	v := commit(t, s, "web", day, c)
	m := mountTest(t, s, Options{})
	fd := openRaw(t, rawPath(m, v, "vda"), 0)
	if err := unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM); err != nil {
		t.Fatal(err)
	}
	sent := int64(0)
	for n := range int64(keptTries) {
		at := (3*n + 1) % 16 * grain
		for _, off := range []int64{at, at + 8192} {
			if err := check(fd, c, off, make([]byte, 4096)); err != nil {
				t.Fatal(err)
			}
		}
		waitFor(t, "the push", func() bool { return m.Stats().Pushed == (n+1)*grain })
		before := m.Stats().Reads
		for off := at; off < at+grain; off += 4096 {
			if err := check(fd, c, off, make([]byte, 4096)); err != nil {
				t.Fatal(err)
			}
		}
		if sent = m.Stats().Reads - before; sent == 0 {
			return
		}
	}
	t.Errorf("%d READs although all was pushed", sent)
}

func TestSequentialReadsArePrefetched(t *testing.T) {
	s := newStore(t)
	c := &content{name: "vda", bytes: make([]byte, 16<<20)}
	c.add(rand.NewChaCha8([32]byte{1}), 0, 16<<20)
	v := commit(t, s, "web", day, c)
	m := mountTest(t, s, Options{})
	fd := openRaw(t, rawPath(m, v, "vda"), unix.O_DIRECT)
	for off := int64(0); off < 16<<20; off += 128 << 10 {
		if err := check(fd, c, off, aligned(128<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if st := m.Stats().Cache; st.PrefetchUsed < 100 || st.PrefetchWasted > 40 {
		t.Errorf("of 256 chunks %d came from prefetches, %d prefetches were for nothing", st.PrefetchUsed, st.PrefetchWasted)
	}
}

// What a stream has had makes room for itself: the kernel keeps it, and others need
// the cache more.
func TestStreamsLeaveTheCache(t *testing.T) {
	const size, room = 24 << 20, 64 << 20
	s := newStore(t)
	c := &content{name: "vda", bytes: make([]byte, size)}
	c.add(rand.NewChaCha8([32]byte{1}), 0, size)
	v := commit(t, s, "web", day, c)
	for _, flags := range []int{0, unix.O_DIRECT} {
		m := mountTest(t, s, Options{Cache: room})
		fd := openRaw(t, rawPath(m, v, "vda"), flags)
		for off := int64(0); off < size; off += 1 << 20 {
			if err := check(fd, c, off, aligned(1<<20)); err != nil {
				t.Fatal(err)
			}
		}
		// A sixteenth of the room, and what came first or out of order.
		waitFor(t, "the last answers", func() bool { return m.Stats().Cache.Bytes <= size/2 })
		unix.Close(fd)
	}
}

func TestMappedAndSent(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 8<<20+100, 9)
	v := commit(t, s, "web", day, c)
	m := mountTest(t, s, Options{})
	want := fmt.Sprintf("%x", sha256.Sum256(c.bytes))
	cmd := exec.Command("/proc/self/exe", rawPath(m, v, "vda"))
	cmd.Env = append(os.Environ(), childEnv+"=hash mapped")
	if out, err := cmd.Output(); err != nil || string(out) != want {
		t.Errorf("mapped: %s, %v, want %s", out, err, want)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in := openRaw(t, rawPath(m, v, "vda"), 0)
	for {
		n, err := unix.Sendfile(int(out.Fd()), in, nil, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	if b, err := os.ReadFile(out.Name()); err != nil || !bytes.Equal(b, c.bytes) {
		t.Errorf("sendfile: %d bytes, %v", len(b), err)
	}
}

// SEEK_HOLE and SEEK_DATA of the raw image are exact; those of the others say
// hole only where zeros are.
func TestSeekEqualsOracle(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 24<<20+777, 11)
	v := commit(t, s, "web", day, c)
	m := mountTest(t, s, Options{})
	fd := openRaw(t, rawPath(m, v, "vda"), 0)
	size := int64(len(c.bytes))
	next := func(off int64, data bool) int64 {
		for _, r := range c.runs {
			switch {
			case off >= r[1]:
			case data:
				return max(off, r[0])
			case off >= r[0]:
				off = r[1]
			}
		}
		return off
	}
	probe := func(off int64) {
		t.Helper()
		got, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if want := next(off, true); off < size && want < size && off < c.runs[len(c.runs)-1][1] {
			if err != nil || got != want {
				t.Errorf("SEEK_DATA %d: %d, %v, want %d", off, got, err, want)
			}
		} else if err != unix.ENXIO {
			t.Errorf("SEEK_DATA %d: %d, %v, want ENXIO", off, got, err)
		}
		got, err = unix.Seek(fd, off, unix.SEEK_HOLE)
		if off >= size {
			if err != unix.ENXIO {
				t.Errorf("SEEK_HOLE %d: %d, %v, want ENXIO", off, got, err)
			}
		} else if want := min(size, next(off, false)); err != nil || got != want {
			t.Errorf("SEEK_HOLE %d: %d, %v, want %d", off, got, err, want)
		}
	}
	for _, r := range c.runs {
		for _, off := range []int64{r[0] - 1, r[0], r[0] + 1, r[1] - 1, r[1], r[1] + 1} {
			if off >= 0 {
				probe(off)
			}
		}
	}
	for _, off := range []int64{0, size - 1, size, size + 1} {
		probe(off)
	}
	for _, f := range image.Formats() {
		path := ImagePath(m.Dir(), v, "vda", f)
		fd := openRaw(t, path, 0)
		all, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for off := int64(0); off < int64(len(all)); {
			hole, err := unix.Seek(fd, off, unix.SEEK_HOLE)
			if err != nil {
				t.Fatalf("%s: SEEK_HOLE %d: %v", f, off, err)
			}
			end, err := unix.Seek(fd, hole, unix.SEEK_DATA)
			if err == unix.ENXIO {
				end = int64(len(all))
			} else if err != nil {
				t.Fatalf("%s: SEEK_DATA %d: %v", f, hole, err)
			}
			if bytes.Count(all[hole:end], []byte{0}) != int(end-hole) {
				t.Errorf("%s: the hole %d to %d holds data", f, hole, end)
			}
			off = max(end, off+1)
		}
	}
	if m.Stats().Seeks == 0 {
		t.Error("no seek reached us")
	}
}

func TestQemuComparesEachFormat(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 20<<20, 13) // whole sectors: the other formats know no less
	v := commit(t, s, "web", day, c)
	m := mountTest(t, s, Options{})
	plain := filepath.Join(t.TempDir(), "plain.raw")
	if err := os.WriteFile(plain, c.bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	qemuName := map[image.Format]string{image.VHD: "vpc"}
	for _, f := range image.Formats() {
		name := string(f)
		if q := qemuName[f]; q != "" {
			name = q
		}
		out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", name, plain, ImagePath(m.Dir(), v, "vda", f)).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", f, err, out)
		}
	}
}

func TestLoopDevice(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 16<<20, 15)
	v := commit(t, s, "web", day, c)
	m := mountTest(t, s, Options{})
	for _, arg := range []string{"--direct-io=off", "--direct-io=on"} {
		out, err := exec.Command("losetup", "-rf", arg, "--show", rawPath(m, v, "vda")).CombinedOutput()
		if err != nil {
			t.Fatalf("losetup: %v\n%s", err, out)
		}
		dev := strings.TrimSpace(string(out))
		got, err := exec.Command("cat", dev).Output()
		if err != nil || !bytes.Equal(got, c.bytes) {
			t.Errorf("%s: %d bytes, %v", arg, len(got), err)
		}
		// Who holds the mount is told.
		var busy *BusyError
		if err := m.Unmount(t.Context(), -1); !errors.As(err, &busy) || busy.Detached || !strings.Contains(err.Error(), "loop device "+dev) {
			t.Errorf("unmount with %s over it: %v", dev, err)
		}
		if out, err := exec.Command("losetup", "-d", dev).CombinedOutput(); err != nil {
			t.Fatalf("losetup -d: %v\n%s", err, out)
		}
		waitFor(t, "the loop device to end", func() bool { return len(holders(m.dir, m.dev)) == 0 })
	}
}

// A damaged chunk is an error where it lies, and nowhere else.
func TestDamageIsEIO(t *testing.T) {
	for _, kind := range []pack.DamageKind{pack.Corrupt, pack.Missing, pack.Unreadable} {
		s := newStore(t)
		c := newContent("vda", 12<<20, 17)
		v := commit(t, s, "web", day, c)
		log := &logged{}
		m := mountTest(t, s, Options{Log: log.logger()})
		bad := len(c.ids) / 2
		s.damage(c.ids[bad], kind)
		fd := openRaw(t, rawPath(m, v, "vda"), 0)
		p := make([]byte, 512)
		if n, err := unix.Pread(fd, p, c.off[bad]); err != unix.EIO {
			t.Errorf("%v: %d bytes, %v, want EIO", kind, n, err)
		}
		for i, off := range c.off {
			if i < bad-1 || i > bad+1 { // what shares a page with it fails with it
				if err := check(fd, c, off, make([]byte, 1)); err != nil {
					t.Errorf("%v: chunk %d: %v", kind, i, err)
				}
			}
		}
		for _, want := range []string{"vm=web", "version=" + v.ID, "disk=vda", "format=raw", "offset=", "chunk=" + c.ids[bad].String(), "damage=" + kind.String()} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%v: the log lacks %q:\n%s", kind, want, log)
			}
		}
		s.mu.Lock()
		clear(s.bad)
		s.mu.Unlock()
		if err := check(fd, c, c.off[bad], p[:1]); err != nil {
			t.Errorf("%v: after it was healed: %v", kind, err)
		}
	}
}

// A region map that is damaged is an error too, and never zeros.
func TestDamagedMapIsEIO(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 12<<20, 19)
	v := commit(t, s, "web", day, c)
	s.damage(v.Disks[0].Map.Root, pack.Corrupt)
	m := mountTest(t, s, Options{})
	for _, f := range image.Formats() {
		fd := openRaw(t, ImagePath(m.Dir(), v, "vda", f), 0)
		all := make([]byte, 4<<20)
		_, err := io.ReadFull(fdReader(fd), all)
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v, want EIO", f, err)
		}
	}
	if _, err := unix.Seek(openRaw(t, rawPath(m, v, "vda"), 0), 0, unix.SEEK_DATA); err != unix.EIO {
		t.Errorf("SEEK_DATA: %v, want EIO", err)
	}
}

type fdReader int

func (f fdReader) Read(p []byte) (int, error) {
	n, err := unix.Read(int(f), p)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err
}
