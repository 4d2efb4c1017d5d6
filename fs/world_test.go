package fs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/catalog/storetest"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
	"holdfast/fs/image"
)

// testStore is a store that counts what is asked of it and can be told that
// chunks are damaged.
type testStore struct {
	*chunkstore.Store
	gets  atomic.Int64 // chunks of every kind
	lists atomic.Int64 // root bodies seen
	warms atomic.Int64
	mu    sync.Mutex
	bad   map[pack.ID]error
	hold  chan struct{} // not nil: Get waits for its end
}

func (s *testStore) Get(ctx context.Context, id pack.ID, buf []byte) ([]byte, error) {
	s.gets.Add(1)
	s.mu.Lock()
	err, hold := s.bad[id], s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, id, buf)
}

// GetPart leaves to Get what the test has to say.
func (s *testStore) GetPart(ctx context.Context, id pack.ID, buf []byte, p pack.Part) ([]byte, bool, error) {
	s.mu.Lock()
	err, hold := s.bad[id], s.hold
	s.mu.Unlock()
	if err != nil || hold != nil {
		return nil, false, errors.New("ask Get")
	}
	s.gets.Add(1)
	return s.Store.GetPart(ctx, id, buf, p)
}

func (s *testStore) Roots(ctx context.Context, prefix, from string, fn func(string, []byte) bool) error {
	return s.Store.Roots(ctx, prefix, from, func(name string, body []byte) bool {
		s.lists.Add(1)
		return fn(name, body)
	})
}

func (s *testStore) damage(id pack.ID, kind pack.DamageKind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad[id] = &pack.Damage{Kind: kind, ID: id, Err: fmt.Errorf("made so by the test")}
}

// Warm counts.
func (s *testStore) Warm() {
	s.warms.Add(1)
	s.Store.Warm()
}

func newStore(t testing.TB) *testStore {
	t.Helper()
	mem := vfs.NewMem()
	if _, err := chunkstore.Create("/store", chunkstore.CreateOptions{FS: mem}); err != nil {
		t.Fatal(err)
	}
	s, err := chunkstore.Open("/store", chunkstore.Options{FS: mem})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { storetest.Check(t, s); s.Close() })
	return &testStore{Store: s, bad: map[pack.ID]error{}}
}

// content is a disk and what it must read as: the oracle.
type content struct {
	name  string
	bytes []byte
	runs  [][2]int64 // of data, in order, apart
	ids   []pack.ID  // of its data chunks, in order
	off   []int64    // where they lie
}

// newContent makes a disk of size bytes up, about half of it holes, cut at odd
// places.
func newContent(name string, size int64, seed uint64) *content {
	c := &content{name: name, bytes: make([]byte, size)}
	rnd := rand.New(rand.NewPCG(seed, 7))
	fill := rand.NewChaCha8([32]byte{byte(seed)})
	for off := int64(0); off < size; {
		gap := []int64{0, 512, 4096, 65536, 1 << 20, rnd.Int64N(3 << 20)}[rnd.IntN(6)]
		length := []int64{1, 512, 4096, 65536, 200_000, rnd.Int64N(3<<20) + 1}[rnd.IntN(6)]
		off += gap
		if off >= size {
			break
		}
		c.add(fill, off, min(off+length, size))
		off += length
	}
	return c
}

// add makes [from, to) data.
func (c *content) add(fill *rand.ChaCha8, from, to int64) {
	fill.Read(c.bytes[from:to])
	for i := from; i < to; i += 3 { // compressible
		c.bytes[i] = 0x55
	}
	if last := len(c.runs) - 1; last >= 0 && c.runs[last][1] == from {
		c.runs[last][1] = to
	} else {
		c.runs = append(c.runs, [2]int64{from, to})
	}
}

// put stores the disk's chunks and maps.
func (c *content) put(t testing.TB, s *testStore, ses chunkstore.Session) disk.Map {
	t.Helper()
	store := func(ctx context.Context, kind pack.Kind, plain []byte) (pack.ID, error) {
		rec := s.Codec().Encode(nil, kind, s.ID(plain), plain)
		_, err := ses.Put(ctx, []pack.Record{rec})
		return rec.ID, err
	}
	b, err := disk.NewBuilder(int64(len(c.bytes)), store)
	if err != nil {
		t.Fatal(err)
	}
	regions := map[int64]disk.RegionMap{}
	for _, r := range c.runs {
		for off := r[0]; off < r[1]; {
			end := min(r[1], (off/pack.MaxChunk+1)*pack.MaxChunk)
			id, err := store(context.Background(), pack.KindData, c.bytes[off:end])
			if err != nil {
				t.Fatal(err)
			}
			n := off / disk.RegionSize
			regions[n] = append(regions[n], disk.Extent{Off: int(off % disk.RegionSize), Len: int(end - off), ID: id})
			c.ids, c.off = append(c.ids, id), append(c.off, off)
			off = end
		}
	}
	for n := int64(0); n*disk.RegionSize < int64(len(c.bytes)); n++ {
		if err := b.Add(context.Background(), n, regions[n]); err != nil {
			t.Fatal(err)
		}
	}
	m, err := b.Finish(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// commit makes a version of the disks.
func commit(t testing.TB, s *testStore, vm string, at time.Time, disks ...*content) *catalog.Version {
	t.Helper()
	ses, err := s.Begin(context.Background(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer ses.Close()
	v := &catalog.Version{VM: vm, UUID: uuid(vm + at.String()), Time: at, Captured: at, Cut: "grid"}
	for _, c := range disks {
		v.Disks = append(v.Disks, catalog.Disk{Name: c.name, UUID: uuid(vm + at.String() + c.name), Source: "test", Format: "raw", Map: c.put(t, s, ses)})
	}
	if err := catalog.Commit(context.Background(), ses, v); err != nil {
		t.Fatal(err)
	}
	return v
}

func uuid(from string) (u catalog.UUID) {
	id := identify(from)
	for i := range 8 {
		u[i], u[8+i] = byte(id.Ino>>(8*i)), byte(id.Gen>>(8*i))
	}
	return u
}

var day = time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)

// mountTest mounts s on a new directory and checks at the end of the test that
// nothing is left of it.
func mountTest(t testing.TB, s chunkstore.API, opts Options) *Mounted {
	t.Helper()
	return startTest(t, func(dir string) (*Mounted, error) { return Mount(s, dir, opts) })
}

// startTest is mountTest for a mount that start makes.
func startTest(t testing.TB, start func(dir string) (*Mounted, error)) *Mounted {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts: run it as root")
	}
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	before, fds := runtime.NumGoroutine(), len(openFiles(t))
	m, err := start(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmountTest(t, m, before, fds) })
	return m
}

func unmountTest(t testing.TB, m *Mounted, goroutines, files int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := m.Unmount(ctx, 30*time.Second); err != nil { // who was killed may hold it for a moment more
		t.Errorf("unmount: %v", err)
	}
	if top, ok, _ := topMount(m.dir); ok {
		t.Errorf("%s is still mounted: %v", m.dir, top)
	}
	if fds := openFiles(t); len(fds) > files {
		t.Errorf("%d files open, %d before the mount: %q", len(fds), files, fds)
	}
	for range 6000 { // what ends, ends a moment after
		if runtime.NumGoroutine() <= goroutines {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		buf := make([]byte, 64<<10)
		t.Errorf("%d goroutines, %d before the mount:\n%s", n, goroutines, buf[:runtime.Stack(buf, true)])
	}
	if n := m.Stats().Panics; n > 0 {
		t.Errorf("%d handlers panicked", n)
	}
}

func openFiles(t testing.TB) (paths []string) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if p, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// rawPath is where the raw image of a disk lies.
func rawPath(m *Mounted, v *catalog.Version, disk string) string {
	return ImagePath(m.Dir(), v, disk, image.Raw)
}
