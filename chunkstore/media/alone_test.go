package media

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"holdfast/chunkstore/media/odirect"
)

// TestReadAlone reads ranges of files on the disk and in memory, from the page cache
// and past it, at every edge of a sector and of the file.
func TestReadAlone(t *testing.T) {
	for name, d := range map[string]*Dir{"disk": dirOn(t, vfs.Default, t.TempDir()), "memory": dirOn(t, vfs.NewMem(), "/packs")} {
		for _, size := range []int{1, directAlign - 1, directAlign, directAlign + 1, 70_001} {
			want := make([]byte, size)
			rand.NewChaCha8([32]byte{byte(size)}).Read(want)
			f := stored(t, d, size, want)
			for _, cached := range []bool{true, false} {
				for _, off := range []int{0, 1, sector - 1, sector, directAlign - sector, directAlign - 1, directAlign, directAlign + 1, size - sector, size - 1, size, size + 1, size + 3*directAlign} {
					if off < 0 {
						continue
					}
					for _, n := range []int{0, 1, sector, sector + 1, directAlign - 1, directAlign, directAlign + 1, 26_000} {
						if !cached && name == "disk" {
							dropPages(t, f)
						}
						got, err := f.(AloneReader).ReadAlone(AloneBuffer(n), int64(off), n)
						from := min(off, size)
						if err != nil || !bytes.Equal(got, want[from:min(from+n, size)]) {
							t.Fatalf("%s, %d bytes, cached %v: [%d, %d): %d bytes, %v", name, size, cached, off, off+n, len(got), err)
						}
					}
				}
			}
			if _, err := f.(AloneReader).ReadAlone(make([]byte, 10), 0, 11); err == nil {
				t.Error("a buffer that is too short was taken")
			}
			if _, err := f.(AloneReader).ReadAlone(AloneBuffer(10), -1, 10); err == nil {
				t.Error("an offset below zero was taken")
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestReadAlonePassesThePageCache: what is read alone leaves nothing there, where
// the filesystem allows that, and what is there is seen.
func TestReadAlonePassesThePageCache(t *testing.T) {
	want := make([]byte, 100_000)
	f := stored(t, dirOn(t, vfs.Default, t.TempDir()), 7, want).(*file)
	defer f.Close()
	if f.direct.open(f.File) < 0 {
		t.Log("no O_DIRECT here: it is read as everything else")
		return
	}
	pages := func() int64 {
		n, err := odirect.Cached(f.Fd(), 0, f.size)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if _, err := f.ReadAt(make([]byte, len(want)), 0); err != nil {
		t.Fatal(err)
	}
	full := pages()
	dropPages(t, f)
	if full == 0 || pages() != 0 {
		t.Log("this filesystem lies in memory, or keeps its pages elsewhere (tmpfs, overlayfs)")
		return
	}
	if _, err := f.ReadAlone(AloneBuffer(20_000), 30_000, 20_000); err != nil {
		t.Fatal(err)
	}
	if n := pages(); n != 0 {
		t.Errorf("%d pages in the cache", n)
	}
	if f.isCached(28_672, 53_248) {
		t.Error("what is not in the cache is said to be there")
	}
	if _, err := f.ReadAt(make([]byte, len(want)), 0); err != nil {
		t.Fatal(err)
	}
	if !f.isCached(28_672, 53_248) || !f.isCached(98_304, 102_400) {
		t.Error("what is in the cache is said not to be there")
	}
}

// TestAround: whole units, no more than must be.
func TestAround(t *testing.T) {
	for align := int64(sector); align <= directAlign; align *= 2 {
		for off := range 3 * align {
			for _, n := range []int64{0, 1, align - 1, align, align + 1, 3*align - 1} {
				from, end := around(off, int(n), align)
				if from%align != 0 || end%align != 0 || from > off || off-from >= align || end < off+n || end-(off+n) >= align {
					t.Fatalf("[%d, %d) in units of %d: [%d, %d)", off, off+n, align, from, end)
				}
			}
		}
	}
}

// TestAlignOf: whatever a filesystem says is taken only where it is an alignment.
func TestAlignOf(t *testing.T) {
	f := stored(t, dirOn(t, vfs.Default, t.TempDir()), 3, make([]byte, 100)).(*file)
	defer f.Close()
	n, want := alignOf(int(f.Fd())), int64(directAlign)
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st); err != nil {
		t.Fatal(err)
	}
	if st.Mask&unix.STATX_DIOALIGN != 0 && st.Dio_offset_align > 0 && st.Dio_offset_align <= directAlign {
		want = max(sector, int64(st.Dio_offset_align))
	}
	if n != want {
		t.Errorf("a file is read in units of %d, its file system asks for %d", n, want)
	}
	if n := alignOf(-1); n != directAlign {
		t.Errorf("no file: %d", n)
	}
}

func dirOn(t *testing.T, fsys vfs.FS, root string) *Dir {
	t.Helper()
	d, err := NewDir(fsys, root)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// stored makes a finished file of a number and opens it.
func stored(t *testing.T, d *Dir, no int, content []byte) File {
	t.Helper()
	name := string(rune('a'+no%26)) + "0" + string(rune('a'+no/26%26)) + ".pack"
	up, err := d.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	if _, err := up.Write(bytes.Clone(content)); err != nil { // a writer may spoil it
		t.Fatal(err)
	}
	if err := up.Commit(); err != nil {
		t.Fatal(err)
	}
	f, err := d.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// dropPages drops a file's pages, which are clean, from the page cache.
func dropPages(t *testing.T, f File) {
	t.Helper()
	if err := unix.Fadvise(int(f.(*file).Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
}
