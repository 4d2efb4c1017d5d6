package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
	"holdfast/fs/guest/fat/fattest"
	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/readers"
)

const (
	hostileSteps  = 5_000    // of one walk: a hostile tree may have no end
	hostileRounds = 3        // versions of each kind; tests/hostile_test.go runs more
	hostileDisks  = 17       // mutants of one version
	hostileChunk  = 16 << 10 // so that a mutant changes little of the store
)

// hostileKinds are volumes to mutate, without the checksums that would end a
// reader's way at its first look where mkfs can leave them out.
var hostileKinds = []struct {
	kind string
	size int64
	mkfs []string
	fill func(t *testing.T, image string)
}{
	{"ext4", 8 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "^metadata_csum,inline_data"}, fillMounted},
	{"xfs", 300 << 20, []string{"mkfs.xfs", "-q"}, fillMounted},
	{"btrfs", 128 << 20, []string{"mkfs.btrfs", "-q"}, fillMounted},
	{"ntfs", 8 << 20, []string{"mkntfs", "-q", "-F"}, fillNTFS},
	{"fat16", 16 << 20, []string{"mkfs.vfat", "-F", "16"}, fillFAT},
	{"exfat", 16 << 20, []string{"mkfs.exfat", "-c", "512"}, fillExFAT},
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
			h.fill(t, image)
			c := hostileContent(t, s, image)
			peak := watchHeap(t)
			opened, slowest := 0, time.Duration(0)
			rounds := guesttest.Rounds(t, hostileRounds)
			for from := range rounds {
				v := c.commit(t, h.kind, from)
				files := filepath.Join(m.Dir(), h.kind, v.ID, "files")
				for i := range v.Disks {
					began := time.Now()
					if walkHostile(t, from*hostileDisks+i, filepath.Join(files, v.Disks[i].Name)) > 6 {
						opened++
					}
					slowest = max(slowest, time.Since(began))
				}
				walkHostile(t, from, filepath.Join(files, "root"))
				if _, err := os.ReadFile(filepath.Join(files, "volumes.json")); err != nil {
					t.Errorf("version %d: %v", from, err)
				}
			}
			if grown := peak(); grown > 256<<20 {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
			if opened == 0 {
				t.Error("no mutant shows a file")
			}
			t.Logf("%d mutants, %d show files, the slowest took %v", rounds*hostileDisks, opened, slowest.Round(time.Millisecond))
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

// fillExFAT does the same through exfat-fuse, and makes a directory.
func fillExFAT(t *testing.T, image string) {
	fattest.Mounted(t, image, func(dir string) {
		for i := range 12 {
			path := fmt.Sprintf("%s/a name that is not short %d", dir, i)
			if i%3 == 0 {
				path = filepath.Join(dir, "many", filepath.Base(path))
			}
			err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(strings.Repeat("x", i*i*100)), 0o644))
			if err != nil {
				t.Fatal(err)
			}
		}
	})
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
		for i := range 20 {
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

// hostile is a volume of which mutants are made. It is mapped, so that the heap
// tells of the mount alone.
type hostile struct {
	store *testStore
	bytes []byte
	runs  [][2]int64 // that are not zeros
	maps  map[int64]disk.RegionMap
}

func hostileContent(t *testing.T, s *testStore, image string) *hostile {
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
	b, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	h := &hostile{store: s, bytes: b}
	zero := make([]byte, 4096)
	for off := 0; off < len(b); off += len(zero) {
		if string(b[off:off+len(zero)]) == string(zero) {
			continue
		}
		at := int64(off)
		if last := len(h.runs) - 1; last >= 0 && h.runs[last][1] == at {
			h.runs[last][1] = at + int64(len(zero))
		} else {
			h.runs = append(h.runs, [2]int64{at, at + int64(len(zero))})
		}
	}
	return h
}

// commit makes a version whose disks are the mutants of a number; the first of
// the first version is the volume as it was.
func (h *hostile) commit(t *testing.T, vm string, number int) *catalog.Version {
	t.Helper()
	ses, err := h.store.Begin(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer ses.Close()
	put := func(ctx context.Context, kind pack.Kind, plain []byte) (pack.ID, error) {
		rec := h.store.Codec().Encode(nil, kind, h.store.ID(plain), plain)
		_, err := ses.Put(ctx, []pack.Record{rec})
		return rec.ID, err
	}
	if h.maps == nil {
		h.maps = h.chunks(t, put)
	}
	at := day.Add(time.Duration(number) * time.Hour)
	v := &catalog.Version{VM: vm, UUID: uuid(vm + at.String()), Time: at, Captured: at, Cut: "grid"}
	for i := range hostileDisks {
		seed := number*hostileDisks + i
		name := fmt.Sprintf("vd%c", 'a'+i)
		m := h.mutant(t, put, rand.New(rand.NewPCG(5, uint64(seed))), seed)
		v.Disks = append(v.Disks, catalog.Disk{Name: name, UUID: uuid(vm + at.String() + name), Source: "test", Format: "raw", Map: m})
	}
	if err := catalog.Commit(t.Context(), ses, v); err != nil {
		t.Fatal(err)
	}
	return v
}

// chunks stores the volume's data and returns the maps of its regions.
func (h *hostile) chunks(t *testing.T, put disk.PutFunc) map[int64]disk.RegionMap {
	t.Helper()
	maps := map[int64]disk.RegionMap{}
	for _, r := range h.runs {
		for off := r[0]; off < r[1]; {
			end := min(r[1], (off/hostileChunk+1)*hostileChunk)
			id, err := put(t.Context(), pack.KindData, h.bytes[off:end])
			if err != nil {
				t.Fatal(err)
			}
			n := off / disk.RegionSize
			maps[n] = append(maps[n], disk.Extent{Off: int(off % disk.RegionSize), Len: int(end - off), ID: id})
			off = end
		}
	}
	return maps
}

// mutant stores a mutant's chunks and its map.
func (h *hostile) mutant(t *testing.T, put disk.PutFunc, rnd *rand.Rand, number int) disk.Map {
	t.Helper()
	patches := h.mutate(rnd, number)
	b, err := disk.NewBuilder(int64(len(h.bytes)), put)
	if err != nil {
		t.Fatal(err)
	}
	for n := int64(0); n*disk.RegionSize < int64(len(h.bytes)); n++ {
		m := slices.Clone(h.maps[n])
		for i, e := range m {
			from := n*disk.RegionSize + int64(e.Off)
			var changed []byte
			for at, value := range patches {
				if at >= from && at < from+int64(e.Len) {
					if changed == nil {
						changed = bytes.Clone(h.bytes[from : from+int64(e.Len)])
					}
					changed[at-from] = value
				}
			}
			if changed == nil {
				continue
			}
			if m[i].ID, err = put(t.Context(), pack.KindData, changed); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Add(t.Context(), n, m); err != nil {
			t.Fatal(err)
		}
	}
	m, err := b.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// mutate changes a few bytes that are not zero, which is where structures are,
// or in which they end. The first mutant is the volume as it was.
func (h *hostile) mutate(rnd *rand.Rand, number int) map[int64]byte {
	patches := map[int64]byte{}
	for n := min(number, 1+rnd.IntN(40)); n > 0; n-- {
		r := h.runs[rnd.IntN(len(h.runs))]
		block := h.bytes[r[0]:r[1]]
		at := rnd.IntN(len(block))
		for step := 0; step < 4096 && block[at] == 0; step++ {
			at = (at + 1) % len(block)
		}
		at = max(0, min(len(block)-1, at-rnd.IntN(3)))
		patches[r[0]+int64(at)] = []byte{0, 0xff, 0x80, byte(rnd.Uint32()), block[at] + 1, block[at] - 1}[rnd.IntN(6)]
	}
	return patches
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
