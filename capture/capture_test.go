package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/capture/source"
	"holdfast/chunkstore"
	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/catalog/storetest"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// memDisk is a source in memory whose extents are given.
type memDisk struct {
	b       []byte
	extents []source.Extent
	lax     bool  // holes may be read: the guest's metadata may lie in them
	failAt  int64 // reads that reach it fail; 0: none do
	read    atomic.Int64
}

var errBroken = errors.New("broken source")

func (d *memDisk) ReadAt(p []byte, off int64) (int, error) {
	if d.failAt > 0 && off+int64(len(p)) > d.failAt {
		return 0, errBroken
	}
	pos := int64(0)
	for _, e := range d.extents {
		if !d.lax && !e.Data && off < pos+e.Length && off+int64(len(p)) > pos {
			return 0, errors.New("a hole was read")
		}
		pos += e.Length
	}
	d.read.Add(int64(len(p)))
	return bytes.NewReader(d.b).ReadAt(p, off)
}

func (d *memDisk) Size() int64 { return int64(len(d.b)) }

func (d *memDisk) Extent(off int64) (source.Extent, error) {
	pos := int64(0)
	for _, e := range d.extents {
		if off < pos+e.Length {
			return source.Extent{Length: pos + e.Length - off, Data: e.Data}, nil
		}
		pos += e.Length
	}
	return source.Extent{}, io.EOF
}

func (d *memDisk) Close() error { return nil }

// newDisk makes a disk of size bytes of runs: data, zeros that the source calls
// data, and holes. Its bytes are fixed by seed.
func newDisk(seed uint64, size int) *memDisk {
	d := &memDisk{b: make([]byte, size)}
	r := rand.New(rand.NewPCG(seed, 1))
	noise := rand.NewChaCha8([32]byte{byte(seed)})
	for off := 0; off < size; {
		n := min(size-off, 1+r.IntN([]int{700, 9000, 300_000, 6 << 20}[r.IntN(4)]))
		kind := r.IntN(4)
		if kind < 2 {
			noise.Read(d.b[off : off+n])
			for i := off; i < off+n; i += 3 {
				d.b[i] = 'x'
			}
		}
		d.extents = append(d.extents, source.Extent{Length: int64(n), Data: kind < 3})
		off += n
	}
	return d
}

func (d *memDisk) opened() *source.Opened { return &source.Opened{Disk: d, Format: "raw"} }

type fixture struct {
	*testing.T
	store *chunkstore.Store
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	fsys := vfs.NewMem()
	if _, err := chunkstore.Create("/store", chunkstore.CreateOptions{FS: fsys}); err != nil {
		t.Fatal(err)
	}
	s, err := chunkstore.Open("/store", chunkstore.Options{FS: fsys, PackSize: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		storetest.Check(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &fixture{t, s}
}

func (f *fixture) capture(vm string, at int, disks ...*memDisk) *catalog.Version {
	f.Helper()
	v, err := Run(context.Background(), f.store, options(vm, at, disks...))
	if err != nil {
		f.Fatal(err)
	}
	return v
}

func options(vm string, at int, disks ...*memDisk) Options {
	o := Options{VM: vm, At: time.Date(2026, 1, 1, 0, 0, at, 0, time.UTC)}
	for i, d := range disks {
		o.Disks = append(o.Disks, Input{Name: string(rune('a' + i)), Path: "mem", Source: d.opened()})
	}
	return o
}

// check reads every disk of a version back and compares it with want.
func (f *fixture) check(v *catalog.Version, want ...*memDisk) {
	f.Helper()
	v, err := catalog.Get(context.Background(), f.store, v.VM, v.ID) // as another process sees it
	if err != nil {
		f.Fatal(err)
	}
	chunks, err := cache.New(f.store, cache.Options{})
	if err != nil {
		f.Fatal(err)
	}
	defer chunks.Close()
	for i, d := range want {
		r, err := disk.Open(chunks, disk.NewMaps(f.store, 0), v.Disks[i].Map)
		if err != nil {
			f.Fatal(err)
		}
		got := make([]byte, len(d.b))
		if err := r.ReadAtContext(context.Background(), got, 0); err != nil {
			f.Fatal(err)
		}
		if !bytes.Equal(got, d.b) {
			f.Fatalf("version %s, disk %d: other bytes", v.ID, i)
		}
	}
}

func TestCaptureReadsBack(t *testing.T) {
	for _, size := range []int{1, 511, 512, 4096, 65535, 65536, 65537, 4<<20 - 1, 4 << 20, 4<<20 + 1, 13<<20 + 77} {
		f := newFixture(t)
		d := newDisk(uint64(size), size)
		f.check(f.capture("vm", 1, d), d)
	}
}

func TestSecondCaptureStoresNothing(t *testing.T) {
	f := newFixture(t)
	d := newDisk(5, 30<<20)
	first := f.capture("vm", 1, d)
	if first.Counts.NewBytes == 0 || first.Counts.StoredBytes == 0 || first.Counts.HoleBytes == 0 || first.Counts.ZeroBytes == 0 {
		t.Fatalf("first capture: %+v", first.Counts)
	}
	if c := first.Counts; c.ReadBytes+c.HoleBytes != c.LogicalBytes {
		t.Errorf("read %d and holes %d of %d bytes", c.ReadBytes, c.HoleBytes, c.LogicalBytes)
	}
	before, _ := f.store.Stats(context.Background())
	second := f.capture("vm", 2, d)
	after, _ := f.store.Stats(context.Background())
	if second.Counts.NewChunks != 0 || second.Counts.NewBytes != 0 || second.Counts.StoredBytes != 0 {
		t.Errorf("second capture: %+v", second.Counts)
	}
	if after.Chunks != before.Chunks+1 {
		t.Errorf("%d chunks before, %d after: want one more, the version", before.Chunks, after.Chunks)
	}
	if first.Disks[0].Map != second.Disks[0].Map {
		t.Errorf("the same disk has map %+v, then %+v", first.Disks[0].Map, second.Disks[0].Map)
	}
	f.check(first, d)
	f.check(second, d)
}

func TestUnchangedChunksAreNotLookedUp(t *testing.T) {
	f := newFixture(t)
	d := newDisk(6, 40<<20)
	f.capture("vm", 1, d)
	d.b[20<<20] ^= 1 // whatever it was, one cell of one region differs
	d.extents = []source.Extent{{Length: int64(len(d.b)), Data: true}}
	var looked atomic.Int64
	s := &hookedStore{Store: f.store, has: func(ses chunkstore.Session, ctx context.Context, ids []pack.ID, have []bool) error {
		looked.Add(int64(len(ids)))
		return ses.Has(ctx, ids, have)
	}}
	v, err := Run(context.Background(), s, options("vm", 2, d))
	if err != nil {
		t.Fatal(err)
	}
	// The one chunk, its region map, and the nodes of the disk map.
	if n := looked.Load(); n > 4 {
		t.Errorf("%d look-ups for one changed byte", n)
	}
	f.check(v, d)
}

func TestChangedDiskKeepsOldVersion(t *testing.T) {
	f := newFixture(t)
	var versions []*catalog.Version
	var disks []*memDisk
	d := newDisk(8, 20<<20)
	r := rand.New(rand.NewPCG(8, 8))
	for i := range 6 {
		c := &memDisk{b: bytes.Clone(d.b), extents: []source.Extent{{Length: int64(len(d.b)), Data: true}}}
		for range 40 {
			off := r.IntN(len(c.b) - 5000)
			switch r.IntN(3) {
			case 0:
				clear(c.b[off : off+5000])
			case 1:
				copy(c.b[off:off+5000], c.b[r.IntN(len(c.b)-5000):])
			default:
				c.b[off] ^= 0x55
			}
		}
		versions, disks = append(versions, f.capture("vm", i, c)), append(disks, c)
		d = c
	}
	// A disk that grew and shrank.
	for i, size := range []int{25 << 20, 3 << 20} {
		c := newDisk(9, size)
		versions, disks = append(versions, f.capture("vm", 10+i, c)), append(disks, c)
	}
	for i := range versions {
		f.check(versions[i], disks[i])
	}
}

func TestSeveralDisksAreOneVersion(t *testing.T) {
	f := newFixture(t)
	a, b := newDisk(1, 5<<20), newDisk(2, 300)
	v := f.capture("vm", 1, a, b)
	if len(v.Disks) != 2 || v.Counts.LogicalBytes != 5<<20+300 {
		t.Fatalf("%+v", v)
	}
	f.check(v, a, b)
	ids, err := catalog.IDs(context.Background(), f.store, "vm")
	if err != nil || len(ids) != 1 {
		t.Fatalf("%q, %v", ids, err)
	}
}

func TestFailedCaptureLeavesNoVersionAndIsUsedAgain(t *testing.T) {
	f := newFixture(t)
	d := newDisk(3, 64<<20)
	d.extents = []source.Extent{{Length: int64(len(d.b)), Data: true}}
	d.failAt = 60 << 20
	if _, err := Run(context.Background(), f.store, options("vm", 1, d)); !errors.Is(err, errBroken) {
		t.Fatalf("capture of a broken source: %v", err)
	}
	if _, err := catalog.Latest(context.Background(), f.store, "vm"); !errors.Is(err, catalog.ErrNoVM) {
		t.Fatalf("after a failed capture: %v", err)
	}
	d.failAt = 0
	v := f.capture("vm", 1, d)
	whole := newFixture(t)
	w := whole.capture("vm", 1, d)
	if v.Counts.NewBytes > w.Counts.NewBytes/2 {
		t.Errorf("the second try stored %d bytes anew, a first one %d", v.Counts.NewBytes, w.Counts.NewBytes)
	}
	f.check(v, d)
}

// stopper stops a capture when a part of it is read.
type stopper struct {
	*memDisk
	progress *Progress
	stop     func()
}

func (d *stopper) ReadAt(p []byte, off int64) (int, error) {
	if d.progress.Read.Load() > 0 {
		d.stop()
	}
	return d.memDisk.ReadAt(p, off)
}

func TestStoppedCaptureLeavesNoVersion(t *testing.T) {
	f := newFixture(t)
	d := newDisk(4, 80<<20)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o := options("vm", 1, d)
	o.Progress = new(Progress)
	o.Disks[0].Source.Disk = &stopper{memDisk: d, progress: o.Progress, stop: cancel}
	if _, err := Run(ctx, f.store, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped capture: %v", err)
	}
	if _, err := catalog.Latest(context.Background(), f.store, "vm"); !errors.Is(err, catalog.ErrNoVM) {
		t.Fatalf("after a stopped capture: %v", err)
	}
	f.check(f.capture("vm", 1, d), d)
}

func TestBadOptionsAreRefused(t *testing.T) {
	f := newFixture(t)
	d := newDisk(1, 100)
	for _, o := range []Options{
		{},
		{VM: "vm"},
		{VM: "", Disks: options("x", 0, d).Disks},
		{VM: "vm", Disks: append(options("x", 0, d).Disks, options("x", 0, d).Disks...)},
		{VM: "vm", Disks: []Input{{Name: "a", Source: (&memDisk{}).opened()}}},
		{VM: string(make([]byte, 256)), Disks: options("x", 0, d).Disks},
	} {
		if v, err := Run(context.Background(), f.store, o); err == nil {
			t.Errorf("taken: %+v", v)
		}
	}
}

// TestWorkersDoNotChangeTheResult: the same disk gives the same chunks and maps
// with any number of workers.
func TestWorkersDoNotChangeTheResult(t *testing.T) {
	var first disk.Map
	f := newFixture(t)
	for i, n := range []int{1, 2, 7, 24} {
		o := options("vm", i, newDisk(12, 50<<20))
		o.Workers = n
		o.VM = string(rune('a' + i)) // no previous version
		v, err := Run(context.Background(), f.store, o)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = v.Disks[0].Map
		} else if v.Disks[0].Map != first {
			t.Errorf("%d workers: map %+v, want %+v", n, v.Disks[0].Map, first)
		}
	}
}

func TestGridCutsCoverTheRegion(t *testing.T) {
	for _, length := range []int{1, 65535, 65536, 65537, disk.RegionSize - 1, disk.RegionSize} {
		cuts := Grid{}.Cut(nil, 0, length)
		from := 0
		for _, c := range cuts {
			if c <= from || c-from > pack.MaxChunk {
				t.Fatalf("length %d: cut %d after %d", length, c, from)
			}
			from = c
		}
		if from != length {
			t.Fatalf("length %d: the last cut is %d", length, from)
		}
	}
}

func TestTrimZeros(t *testing.T) {
	b := make([]byte, 65536)
	b[10000], b[20001] = 1, 1
	for _, c := range []struct{ from, to, a, b int }{
		{0, 65536, 8192, 20480}, {0, 5000, 5000, 5000}, {9000, 11000, 9000, 11000},
		{10001, 20001, 20001, 20001}, {20001, 20002, 20001, 20002}, {100, 100, 100, 100}, {9999, 10001, 9999, 10001},
	} {
		x, y := trimZeros(b, c.from, c.to)
		if x < y && (x != c.a || y != c.b) || x >= y && c.a < c.b {
			t.Errorf("trim [%d, %d): [%d, %d), want [%d, %d)", c.from, c.to, x, y, c.a, c.b)
		}
	}
}
