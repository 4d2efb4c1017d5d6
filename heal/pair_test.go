package heal

import (
	"context"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// allMaps calls fn for each map of a version.
func allMaps(ctx context.Context, w *walk, v version, fn func(pack.ID) error) error {
	for i := range v.Disks {
		r, err := disk.Open(nil, w.maps, v.Disks[i].Map)
		if err != nil {
			return err
		}
		if err := r.Nodes(ctx, func(_ pack.Kind, id pack.ID) error { return fn(id) }); err != nil {
			return err
		}
	}
	return nil
}

// packPaths returns the packs of the store on a filesystem, the largest first.
func packPaths(t testing.TB, fsys vfs.FS) (paths []string) {
	t.Helper()
	w := &world{files: map[string][]byte{}}
	w.load(t, fsys, "/store/packs")
	for path := range w.files {
		if strings.HasSuffix(path, ".pack") {
			paths = append(paths, path)
		}
	}
	sort.Slice(paths, func(i, j int) bool {
		a, b := len(w.files[paths[i]]), len(w.files[paths[j]])
		return a > b || a == b && paths[i] < paths[j]
	})
	return paths
}

// removePacks deletes the n largest packs.
func removePacks(t testing.TB, fsys vfs.FS, n int) {
	t.Helper()
	for _, path := range packPaths(t, fsys)[:n] {
		if err := fsys.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// spoil hurts every 4 KiB of the middle of a file: more than parity brings back.
func spoil(t testing.TB, fsys vfs.FS, path string) {
	t.Helper()
	b := readFile(t, fsys, path)
	for i := len(b) / 8; i < len(b)*7/8; i += 4 << 10 {
		b[i] ^= 0x40
	}
	writeFile(t, fsys, path, b)
}

// hurtData spoils the pack of the first chunk of data of a VM's first version.
func hurtData(t testing.TB, s *chunkstore.Store, fsys vfs.FS, vm string) {
	t.Helper()
	ctx := context.Background()
	ids, err := catalog.IDs(ctx, s, vm)
	if err != nil {
		t.Fatal(err)
	}
	v, err := catalog.Get(ctx, s, vm, ids[0])
	if err != nil {
		t.Fatal(err)
	}
	r, err := disk.Open(nil, disk.NewMaps(s, 0), v.Disks[0].Map)
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.RegionMap(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, ok, err := s.PackOf(m[0].ID)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	for _, path := range packPaths(t, fsys) {
		if strings.Contains(path, packText(n)) {
			spoil(t, fsys, path)
			return
		}
	}
	t.Fatalf("no file of pack %016x", n)
}
