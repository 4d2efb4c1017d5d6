package heal

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
	"holdfast/fs/guest"
	"holdfast/fs/guest/readers"
	"holdfast/fs/guest/volume"
)

// unreadable reads every file of a version's volumes and returns the paths of
// those that are damaged, and how many there are in all.
func unreadable(t *testing.T, s *chunkstore.Store, v *catalog.Version) (bad map[string]bool, all int) {
	t.Helper()
	ctx := context.Background()
	chunks, err := cache.New(s, cache.Options{Bytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer chunks.Close()
	rd, err := disk.Open(chunks, disk.NewMaps(s, 0), v.Disks[0].Map)
	if err != nil {
		t.Fatal(err)
	}
	layout, err := volume.Find(ctx, []volume.Disk{{Name: v.Disks[0].Name, Volume: rd}})
	if err != nil {
		t.Fatal(err)
	}
	bad = map[string]bool{}
	for _, vol := range layout.Volumes {
		if !readers.Knows(vol.Type) {
			continue
		}
		fsys, err := readers.Open(ctx, vol)
		if err != nil {
			t.Fatal(err)
		}
		var into func(dir guest.Node, path string)
		into = func(dir guest.Node, path string) {
			var subs []guest.Entry
			if err := fsys.ReadDir(ctx, dir, 0, func(e guest.Entry) bool { subs = append(subs, e); return true }); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			for _, e := range subs {
				switch e.Type {
				case guest.Directory:
					into(e.Node, path+"/"+e.Name)
				case guest.Regular:
					all++
					if _, err := io.Copy(io.Discard, io.NewSectionReader(guestFile{ctx, fsys, e.Node}, 0, 1<<40)); err != nil {
						if !errors.As(err, new(*pack.Damage)) {
							t.Fatalf("%s: %v", path+"/"+e.Name, err)
						}
						bad[path+"/"+e.Name] = true
					}
				}
			}
		}
		into(fsys.Root(), "")
	}
	return bad, all
}

type guestFile struct {
	ctx context.Context
	fs  guest.Filesystem
	n   guest.Node
}

func (f guestFile) ReadAt(p []byte, off int64) (int, error) { return f.fs.ReadAt(f.ctx, f.n, p, off) }

// TestGuestFilesAreNamed: of a version of a real disk of which packs are lost,
// those files are named that can't be read, and every other one reads.
func TestGuestFilesAreNamed(t *testing.T) {
	w := newDiskWorld(t)
	ctx := context.Background()
	judged := 0
	for i, path := range w.packs() {
		if len(w.files[path]) < testPack { // the large ones hold files
			continue
		}
		if judged++; judged > 3 {
			break
		}
		mem := vfs.NewMem()
		w.put(t, mem)
		b := readFile(t, mem, path)
		for k := len(b) / 4; k < len(b)/2; k += 4 << 10 {
			b[k] ^= 0x40
		}
		writeFile(t, mem, path, b)
		s := openWorld(t, mem)
		mustScrub(t, s, Options{}, path)
		hurt, err := Hurt(ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		if err := GuestFiles(ctx, s, hurt); err != nil {
			t.Fatal(err)
		}
		for _, c := range w.versions {
			v, err := catalog.Get(ctx, s, c.vm, c.id)
			if err != nil {
				t.Fatal(err)
			}
			bad, all := unreadable(t, s, v)
			named := map[string]bool{}
			for _, f := range hurt.Files {
				if f.Problem != "" {
					t.Fatalf("pack %d: %+v", i, f)
				}
				if f.Version == c.id {
					named[f.Path] = true
				}
			}
			for f := range bad {
				if !named[f] {
					t.Errorf("pack %d, version %s: %s can't be read and is not named", i, c.id, f)
				}
			}
			for f := range named {
				if !bad[f] {
					t.Errorf("pack %d, version %s: %q is named and reads well", i, c.id, f)
				}
			}
			t.Logf("pack %d, version %s: %d of %d files are hurt", i, c.id, len(bad), all)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if judged == 0 {
		t.Fatal("no pack was hurt")
	}
}
