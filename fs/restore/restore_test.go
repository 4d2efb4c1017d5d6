package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// countingStore counts chunks fetched, and can hurt one.
type countingStore struct {
	*chunkstore.Store
	gets atomic.Int64
	hurt pack.ID
}

// InOrder hides the store's: every chunk is to be counted.
func (s *countingStore) InOrder() {}

func (s *countingStore) Get(ctx context.Context, id pack.ID, buf []byte) ([]byte, error) {
	s.gets.Add(1)
	if id == s.hurt {
		return nil, &pack.Damage{Kind: pack.Corrupt, ID: id, Err: errors.New("hurt by the test")}
	}
	return s.Store.Get(ctx, id, buf)
}

func newStore(t *testing.T) *countingStore {
	t.Helper()
	fsys := vfs.NewMem()
	if _, err := chunkstore.Create("/store", chunkstore.CreateOptions{FS: fsys}); err != nil {
		t.Fatal(err)
	}
	s, err := chunkstore.Open("/store", chunkstore.Options{FS: fsys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { storetest.Check(t, s); s.Close() })
	return &countingStore{Store: s}
}

// put stores b as a disk whose chunks have odd lengths and places, so that
// windows and chunks do not line up; runs of zeros become holes.
func (s *countingStore) put(t *testing.T, b []byte) catalog.Disk {
	t.Helper()
	ctx := context.Background()
	ses, err := s.Begin(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer ses.Close()
	store := func(ctx context.Context, kind pack.Kind, plain []byte) (pack.ID, error) {
		id := s.ID(plain)
		_, err := ses.Put(ctx, []pack.Record{s.Codec().Encode(nil, kind, id, plain)})
		return id, err
	}
	builder, err := disk.NewBuilder(int64(len(b)), store)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(uint64(len(b)), 3))
	for n := 0; n*disk.RegionSize < len(b); n++ {
		region := b[n*disk.RegionSize : min(len(b), (n+1)*disk.RegionSize)]
		var m disk.RegionMap
		for off := 0; off < len(region); {
			k := min(len(region)-off, 4096*(1+r.IntN(16)))
			if r.IntN(3) == 0 {
				k = min(len(region)-off, 1+r.IntN(pack.MaxChunk))
			}
			if c := region[off : off+k]; !bytes.Equal(c, make([]byte, k)) {
				id, err := store(ctx, pack.KindData, c)
				if err != nil {
					t.Fatal(err)
				}
				m = append(m, disk.Extent{Off: off, Len: k, ID: id})
			}
			off += k
		}
		if len(m) > 0 {
			if err := builder.Add(ctx, int64(n), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	dm, err := builder.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return catalog.Disk{Name: "vda", UUID: catalog.UUID{1, 2, 3}, Map: dm}
}

// diskBytes makes runs of data and zeros.
func diskBytes(seed uint64, size int) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(seed, 4))
	noise := rand.NewChaCha8([32]byte{byte(seed)})
	for off := 0; off < size; {
		n := min(size-off, 1+r.IntN([]int{3000, 200_000, 3 << 20}[r.IntN(3)]))
		if r.IntN(2) == 0 {
			noise.Read(b[off : off+n])
			for i := off; i < off+n; i += 2 {
				b[i] = 'y'
			}
		}
		off += n
	}
	b[0] |= 1
	return b
}

var when = time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)

func mustRun(t *testing.T, s *countingStore, o Options) Result {
	t.Helper()
	o.Time = when
	res, err := Run(context.Background(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	if res.Written+res.Same+res.Holes+res.Trusted != res.Size || (res.Trusted != 0 && o.Changed == nil) {
		t.Errorf("written %d, same %d, holes %d and trusted %d are not %d", res.Written, res.Same, res.Holes, res.Trusted, res.Size)
	}
	return res
}

func sameFile(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s (%d bytes) is not what was stored (%d bytes)", path, len(got), len(want))
	}
}

func TestRawFile(t *testing.T) {
	for _, size := range []int{1, 511, 4096, windowBytes - 1, windowBytes, windowBytes + 1, 3*windowBytes + 12345} {
		s, dir := newStore(t), t.TempDir()
		b := diskBytes(uint64(size), size)
		out := filepath.Join(dir, "out.raw")
		res := mustRun(t, s, Options{Disk: s.put(t, b), Out: out})
		sameFile(t, out, b)
		if res.Size != int64(size) {
			t.Errorf("size %d, want %d", res.Size, size)
		}
		noLeftovers(t, dir, "out.raw")
	}
}

func noLeftovers(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if fmt.Sprint(names) != fmt.Sprint(want) {
		t.Errorf("directory has %q, want %q", names, want)
	}
}

func TestEveryFormatIsJudgedByQemu(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	b := diskBytes(77, 9<<20+512*3)
	d := s.put(t, b)
	raw := filepath.Join(dir, "want")
	if err := os.WriteFile(raw, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range image.Formats() {
		out := filepath.Join(dir, "out"+f.Ext())
		mustRun(t, s, Options{Disk: d, Format: f, Out: out})
		driver := string(f)
		if f == image.VHD {
			driver = "vpc"
		}
		if msg, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", driver, raw, out).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", f, err, msg)
		}
		// The stream and the file are the same bytes, and so is a second file.
		var stream bytes.Buffer
		if _, err := Stream(context.Background(), s, Options{Disk: d, Format: f, Time: when}, &stream); err != nil {
			t.Fatal(err)
		}
		sameFile(t, out, stream.Bytes())
		if _, err := Run(context.Background(), s, Options{Disk: d, Format: f, Time: when, Out: out}); !errors.Is(err, ErrExists) {
			t.Errorf("%s over an existing file: %v", f, err)
		}
		sameFile(t, out, stream.Bytes())
	}
}

func TestOverwriteWritesOnlyWhatDiffers(t *testing.T) {
	s := newStore(t)
	b := diskBytes(5, 40<<20)
	d := s.put(t, b)
	r := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		name string
		make func() []byte
		most int64 // bytes written
	}{
		{"the same", func() []byte { return b }, 0},
		{"few changes", func() []byte {
			o := bytes.Clone(b)
			for range 20 {
				o[r.IntN(len(o))] ^= 0xff
			}
			return o
		}, 20 * compareBlock},
		{"longer", func() []byte { return append(bytes.Clone(b), "tail"...) }, 0},
		{"shorter", func() []byte { return b[:10<<20] }, int64(len(b)) - 10<<20},
		{"all ones", func() []byte { return bytes.Repeat([]byte{1}, len(b)) }, int64(len(b))},
		{"empty", func() []byte { return nil }, int64(len(b))},
	} {
		out := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(out, c.make(), 0o600); err != nil {
			t.Fatal(err)
		}
		before := s.gets.Load()
		res := mustRun(t, s, Options{Disk: d, Out: out, Overwrite: true})
		sameFile(t, out, b)
		if res.Written > c.most {
			t.Errorf("%s: %d bytes written, want at most %d", c.name, res.Written, c.most)
		}
		if c.name == "the same" {
			// Region maps and the disk map's two nodes are all that is fetched.
			if n := s.gets.Load() - before; n > 40/4+2 {
				t.Errorf("%d chunks fetched for a disk that was right", n)
			}
		}
	}
}

func TestOverwriteOtherFormats(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	d := s.put(t, diskBytes(6, 11<<20))
	for _, f := range image.Formats() {
		fresh, over := filepath.Join(dir, "fresh"+f.Ext()), filepath.Join(dir, "over"+f.Ext())
		mustRun(t, s, Options{Disk: d, Format: f, Out: fresh})
		want, err := os.ReadFile(fresh)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(over, bytes.Repeat([]byte{7}, 5<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		mustRun(t, s, Options{Disk: d, Format: f, Out: over, Overwrite: true})
		sameFile(t, over, want)
	}
}

func TestBlockDevice(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	b := diskBytes(9, 12<<20)
	d := s.put(t, b)
	backing := filepath.Join(dir, "backing")
	old := bytes.Repeat([]byte{0xee}, 13<<20)
	if err := os.WriteFile(backing, old, 0o600); err != nil {
		t.Fatal(err)
	}
	dev := loopDevice(t, backing)
	if _, err := Run(context.Background(), s, Options{Disk: d, Out: dev}); !errors.Is(err, ErrExists) {
		t.Fatalf("onto a device without --overwrite: %v", err)
	}
	mustRun(t, s, Options{Disk: d, Out: dev, Overwrite: true})
	sameFile(t, dev, append(bytes.Clone(b), old[len(b):]...))
	big := s.put(t, diskBytes(1, 14<<20))
	if _, err := Run(context.Background(), s, Options{Disk: big, Out: dev, Overwrite: true}); err == nil || !strings.Contains(err.Error(), "the image has 14680064") {
		t.Fatalf("onto a device that is too small: %v", err)
	}
}

func TestDamageEndsTheRestoreAndLeavesNothing(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	d := s.put(t, diskBytes(10, 20<<20))
	r, err := disk.Open(nil, disk.NewMaps(s, 0), d.Map)
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.RegionMap(context.Background(), 3)
	if err != nil || len(m) == 0 {
		t.Fatalf("region 3: %d extents, %v", len(m), err)
	}
	s.hurt = m[len(m)/2].ID
	var damage *pack.Damage
	if _, err := Run(context.Background(), s, Options{Disk: d, Out: filepath.Join(dir, "out")}); !errors.As(err, &damage) || damage.ID != s.hurt {
		t.Fatalf("restore of a damaged disk: %v", err)
	}
	noLeftovers(t, dir)
}

func TestStoppedRestoreLeavesNothing(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	d := s.put(t, diskBytes(11, 30<<20))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, s, Options{Disk: d, Out: filepath.Join(dir, "out")}); !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped restore: %v", err)
	}
	noLeftovers(t, dir)
}

func TestRestoredFileIsSparse(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	b := make([]byte, 64<<20)
	copy(b[10<<20:], "data")
	out := filepath.Join(dir, "out")
	res := mustRun(t, s, Options{Disk: s.put(t, b), Out: out})
	if res.Written > 64<<10 {
		t.Errorf("%d bytes written for four", res.Written)
	}
	sameFile(t, out, b)
	msg, err := exec.Command("du", "-k", out).Output()
	if err != nil {
		t.Fatal(err)
	}
	var kib int
	if _, err := fmt.Sscan(string(msg), &kib); err != nil || kib > 256 {
		t.Errorf("the file takes %s", msg)
	}
}
