package heal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/capture"
	"holdfast/capture/source"
	"holdfast/chunkstore"
	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/catalog/storetest"
	"holdfast/chunkstore/disk"
)

const testPack = 768 << 10

// memDisk is a disk in memory without holes.
type memDisk struct{ *bytes.Reader }

func newMemDisk(b []byte) memDisk { return memDisk{bytes.NewReader(b)} }

func (d memDisk) Extent(off int64) (source.Extent, error) {
	return source.Extent{Length: d.Size() - off, Data: true}, nil
}
func (d memDisk) Close() error { return nil }

// content is what one version must read as.
type content struct {
	vm, id string
	b      []byte
}

// world is a store as bytes, and the oracle of its versions.
type world struct {
	files    map[string][]byte
	dirs     []string
	versions []content
	replica  *chunkstore.Store // that has all of it; nil: none
}

// made is the world that all tests begin with, made once: under the race
// detector that takes seconds.
var made struct {
	sync.Mutex
	world, replica *world
}

// newWorld returns a store with three versions of one VM, of which the last two
// share most of what they hold with the first, and one of another. Its files and
// contents are everybody's: who changes them makes copies.
func newWorld(t testing.TB) *world {
	t.Helper()
	made.Lock()
	defer made.Unlock()
	if made.world == nil {
		made.world = makeWorld(t)
	}
	return made.world.clone()
}

func (w *world) clone() *world {
	return &world{files: maps.Clone(w.files), dirs: slices.Clone(w.dirs), versions: slices.Clone(w.versions), replica: w.replica}
}

func makeWorld(t testing.TB) *world {
	t.Helper()
	fsys := vfs.NewMem()
	if _, err := chunkstore.Create("/store", chunkstore.CreateOptions{FS: fsys}); err != nil {
		t.Fatal(err)
	}
	s := openWorld(t, fsys)
	w := &world{}
	b := make([]byte, 3<<20+12345)
	rand.NewChaCha8([32]byte{7}).Read(b)
	clear(b[1<<20 : 1<<20+300<<10]) // a hole
	for i := range 3 {
		b = bytes.Clone(b)
		rand.NewChaCha8([32]byte{8, byte(i)}).Read(b[i*700<<10:][:300<<10])
		w.capture(t, s, "vm", i, b)
	}
	other := make([]byte, 9<<20)
	copy(other[5<<20:], b[:900<<10])
	rand.NewChaCha8([32]byte{9}).Read(other[:200<<10])
	w.capture(t, s, "other", 9, other)
	storetest.Check(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	w.files = map[string][]byte{}
	w.load(t, fsys, "/store")
	return w
}

func (w *world) capture(t testing.TB, s *chunkstore.Store, vm string, at int, b []byte) {
	t.Helper()
	v, err := capture.Run(context.Background(), s, capture.Options{
		VM: vm, Workers: 1, KeepFree: true, KeepSwap: true, At: time.Date(2026, 1, 1, 0, 0, at, 0, time.UTC),
		Disks: []capture.Input{{Name: "a", Path: "mem", Source: &source.Opened{Disk: newMemDisk(b), Format: "raw"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.versions = append(w.versions, content{vm, v.ID, b})
}

func openWorld(t testing.TB, fsys vfs.FS) *chunkstore.Store {
	t.Helper()
	s, err := chunkstore.Open("/store", chunkstore.Options{FS: fsys, PackSize: testPack})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) load(t testing.TB, fsys vfs.FS, dir string) {
	w.dirs = append(w.dirs, dir)
	names, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		path := dir + "/" + n
		st, err := fsys.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.IsDir() {
			w.load(t, fsys, path)
			continue
		}
		w.files[path] = readFile(t, fsys, path)
	}
}

func readFile(t testing.TB, fsys vfs.FS, path string) []byte {
	t.Helper()
	f, err := fsys.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, fsys vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fsys.Create(path, "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Clone(b)); err != nil { // a race build spoils what it is given
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// put writes the world's files to a filesystem.
func (w *world) put(t testing.TB, fsys vfs.FS) {
	t.Helper()
	for _, d := range w.dirs {
		if err := fsys.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, b := range w.files {
		writeFile(t, fsys, path, b)
	}
	for _, d := range append([]string{"/"}, w.dirs...) {
		f, err := fsys.OpenDir(d)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// packs returns the paths of the packs, by size.
func (w *world) packs() (list []string) {
	for path := range w.files {
		if strings.HasSuffix(path, ".pack") {
			list = append(list, path)
		}
	}
	// Names are random: only by size is the order the same in each run.
	sort.Slice(list, func(i, j int) bool { return len(w.files[list[i]]) < len(w.files[list[j]]) })
	return list
}

// span is a range of a version.
type span struct {
	vm, id   string
	from, to int64
}

// byIndex is a store that is read as a restore reads it: each chunk from where the index
// has it. A mount also finds chunks where it remembers that they lie, and so reads what
// is hurt by the index alone.
type byIndex struct{ chunkstore.Getter }

// read reads every version in steps and returns those that failed. Wrong bytes
// end the test. It goes through all versions side by side, as most of what they
// hold is shared, so that what they share is decoded once.
func (w *world) read(t testing.TB, s *chunkstore.Store, where string) (failed []span) {
	t.Helper()
	const step = 16 << 10
	chunks, err := cache.New(byIndex{s}, cache.Options{Bytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer chunks.Close()
	maps := disk.NewMaps(s, 8<<20)
	readers := make([]*disk.Reader, len(w.versions))
	longest := 0
	for i, c := range w.versions {
		v, err := catalog.Get(context.Background(), s, c.vm, c.id)
		if err != nil {
			failed = append(failed, span{c.vm, c.id, 0, int64(len(c.b))})
			continue
		}
		if readers[i], err = disk.Open(chunks, maps, v.Disks[0].Map); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		longest = max(longest, len(c.b))
	}
	buf := make([]byte, step)
	for off := 0; off < longest; off += step {
		for i, c := range w.versions {
			if readers[i] == nil || off >= len(c.b) {
				continue
			}
			p := buf[:min(step, len(c.b)-off)]
			if err := readers[i].ReadAtContext(context.Background(), p, int64(off)); err != nil {
				failed = append(failed, span{c.vm, c.id, int64(off), int64(off + len(p))})
			} else if !bytes.Equal(p, c.b[off:off+len(p)]) {
				t.Fatalf("%s: version %s of %s: wrong bytes were served at %d", where, c.id, c.vm, off)
			}
		}
	}
	return failed
}

// named checks that what is named as hurt is exactly what can't be read.
func (w *world) named(t testing.TB, failed []span, hurt *HurtReport, where string) {
	t.Helper()
	var uses []span
	for _, c := range hurt.Chunks {
		for _, u := range c.Uses {
			if u.Kind == UseManifest { // nothing that is read
				continue
			}
			uses = append(uses, span{u.VM, u.Version, u.Offset, u.Offset + u.Length})
		}
	}
	touch := func(a span, list []span) bool {
		for _, b := range list {
			if a.vm == b.vm && a.id == b.id && a.from < b.to && b.from < a.to {
				return true
			}
		}
		return false
	}
	for _, f := range failed {
		if !touch(f, uses) && !contains(hurt.Manifests, f.vm+"@"+f.id) {
			t.Fatalf("%s: %v can't be read and is not named", where, f)
		}
	}
	for _, u := range uses {
		if !touch(u, failed) {
			t.Fatalf("%s: %v is named and reads well", where, u)
		}
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func mustScrub(t testing.TB, s *chunkstore.Store, opts Options, where string) *Report {
	t.Helper()
	r, err := Scrub(context.Background(), s, opts)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	return r
}

func describe(r *Report) string {
	return fmt.Sprintf("findings %+v, chunks %d (%d healable, %d lost), repairs %+v, errors %v, left %d chunks %+v packs %v",
		r.Findings, len(r.Chunks), r.Healable, r.Lost, r.Repairs, r.RepairErrors, len(r.Left.Chunks), r.Left.Packs, r.Left.Manifests)
}

// packsOf returns the packs that the versions of a VM use.
func packsOf(ctx context.Context, store *chunkstore.Store, vm string) (map[uint64]bool, error) {
	leads := store.NewLeads()
	err := newWalk(store).leadsOf(ctx, vm, leads)
	return leads.Packs(), err
}
