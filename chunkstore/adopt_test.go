package chunkstore

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/chunkstore/pack"
)

// TestRebuildHealsHeadersAndRoots: what parity brings back, or a scan finds,
// must not be lost because the index is made anew.
func TestRebuildHealsHeadersAndRoots(t *testing.T) {
	header := func(b []byte) []byte { b[3] ^= 1; return b }
	roots := func(b []byte) []byte {
		_, entries, err := pack.ReadFooter(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Kind == pack.KindRoot {
				b[int(e.Offset)+pack.RecordHeaderLen] ^= 1
			}
		}
		return b
	}
	for name, c := range map[string]struct {
		opts CreateOptions
		hurt func([]byte) []byte
	}{
		"header":                {CreateOptions{}, header},
		"header without parity": {CreateOptions{NoParity: true}, header},
		"root":                  {CreateOptions{}, roots},
	} {
		t.Run(name, func(t *testing.T) {
			fsys, want := storeToHurt(t, c.opts)
			hurtPacks(t, fsys, c.hurt)
			dropIndex(t, fsys)
			s := openStore(t, fsys, 0)
			if _, err := s.Root(context.Background(), "v"); err != nil {
				t.Fatalf("the version is lost: %v; %+v", err, s.Adopted())
			}
			for _, w := range want {
				mustGet(t, s, s.ID(w), w)
			}
		})
	}
}

// TestUnreadableRootIsTriedAgain: a read error while the index is made anew is
// no proof of damage, and must not cost a version for good.
func TestUnreadableRootIsTriedAgain(t *testing.T) {
	fsys, _ := storeToHurt(t, CreateOptions{NoParity: true})
	rootOff := int64(-1)
	hurtPacks(t, fsys, func(b []byte) []byte {
		_, entries, err := pack.ReadFooter(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if e := entries[len(entries)-1]; e.Kind == pack.KindRoot {
			rootOff = int64(e.Offset)
		}
		return b
	})
	dropIndex(t, fsys)
	bad := errorfs.Wrap(fsys, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && op.Offset == rootOff && strings.HasPrefix(op.Path, "/store/packs/") {
			return syscall.EIO
		}
		return nil
	}))
	s, err := Open("/store", Options{FS: bad})
	if err != nil {
		t.Fatal(err)
	}
	if a := s.Adopted(); len(a.Broken) != 1 || a.Unknown != 1 {
		t.Fatalf("adopted %+v", a)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fsys, 0)
	if _, err := s.Root(context.Background(), "v"); err != nil {
		t.Fatalf("when it can be read again: %v", err)
	}
}

// TestForeignFileIsNotAdopted: without a header only a pack's own records count.
func TestForeignFileIsNotAdopted(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	hurtStores.Store(fsys, true)
	writeFile(t, fsys, "/store/packs/ab", "ab00000000000000.pack", bytes.Repeat([]byte("text "), 1000))
	s = openStore(t, fsys, 0)
	if a := s.Adopted(); len(a.Broken) != 1 || a.Unknown != 0 {
		t.Fatalf("adopted %+v", a)
	}
}

func writeFile(t *testing.T, fsys vfs.FS, dir, name string, b []byte) {
	t.Helper()
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.Create(fsys.PathJoin(dir, name), "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestPackWithBothNames: where a rename is not atomic, a crash leaves a pack
// under both names. The one in place counts, and its root is not struck out.
func TestPackWithBothNames(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 0)
	ses := begin(t, s)
	id := mustPut(t, s, ses, pack.KindRegionMap, chunkOf(1, 5000))
	if err := ses.Commit(context.Background(), "v", []byte("body")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err := s.media.List(func(name string) error {
		return fsys.Link("/store/packs/"+name[:2]+"/"+name, "/store/packs/unfinished/"+name)
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time without what the first one knew
		s, err := Open("/store", Options{FS: fsys})
		if err != nil {
			t.Fatal(err)
		}
		mustGet(t, s, id, chunkOf(1, 5000))
		if b, err := s.Root(context.Background(), "v"); err != nil || string(b) != "body" {
			t.Fatalf("root: %q, %v", b, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		dropIndex(t, fsys)
	}
}

// TestScanEndsAtTheLargestPack: an offset behind 4 GiB would not fit an entry.
func TestScanEndsAtTheLargestPack(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 0)
	rec := record(s, pack.KindData, chunkOf(1, 100))
	var found []pack.Entry
	_, _, err := pack.Scan(&farRecord{rec.Bytes, 1<<32 + pack.HeaderLen}, 1<<32+8192, func(e pack.Entry, _ []byte) error {
		found = append(found, e)
		return nil
	})
	if err != nil || len(found) != 0 {
		t.Fatalf("records behind 4 GiB are told at %+v (%v)", found, err)
	}
}

// TestWholeLeftoverIsProved: a crash can bring a pack's footer to the disk and
// not its records. Such a pack must not take the place of good records.
func TestWholeLeftoverIsProved(t *testing.T) {
	for _, noParity := range []bool{true, false} {
		fsys := vfs.NewMem()
		if _, err := Create("/store", CreateOptions{FS: fsys, FrameSize: pack.MaxChunk, NoParity: noParity}); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, fsys, 0)
		ses := begin(t, s)
		plain := chunkOf(1, 60000)
		mustPut(t, s, ses, pack.KindData, plain)
		if err := ses.Commit(context.Background(), "v", nil); err != nil {
			t.Fatal(err)
		}
		p, err := s.newPack(pack.ClassData) // what a failed try left, with the same chunk
		if err != nil {
			t.Fatal(err)
		}
		other := chunkOf(2, 60000)
		for _, b := range [][]byte{plain, other} {
			if _, err := p.Append(record(s, pack.KindData, b)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(p.Seal(), p.up.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
		f, err := fsys.OpenReadWrite("/store/packs/unfinished/"+packName(p.Header().Pack), "test")
		if err != nil {
			t.Fatal(err)
		}
		first, last := p.Entries()[0], p.Entries()[1]
		if _, err := f.WriteAt(make([]byte, first.RecordLen()/2), int64(first.Offset)+pack.RecordHeaderLen); err != nil {
			t.Fatal(err)
		}
		if !noParity { // nor what would heal it
			parity := int64(last.Offset) + int64(last.RecordLen()) + 1024 // behind footer, sums and trailer
			if _, err := f.WriteAt(make([]byte, p.FileSize()-parity-pack.TrailerLen), parity); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
		s = openStore(t, fsys, 0)
		mustGet(t, s, s.ID(plain), plain)
		mustGet(t, s, s.ID(other), other)
		if ok, err := s.has(s.ID(other)); err != nil || !ok {
			t.Fatalf("the good record of the leftover is not used: %v", err)
		}
	}
}

// TestLeftoverThatCanNotBeFinished: a full or failing disk under a leftover, on
// which nothing committed relies, does not keep the store shut.
func TestLeftoverThatCanNotBeFinished(t *testing.T) {
	for name, fault := range map[string]errorfs.OpKind{"full disk": errorfs.OpFileWriteAt, "unreadable": errorfs.OpFileReadAt} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			s := newStore(t, mem, 0)
			ses := begin(t, s)
			id := mustPut(t, s, ses, pack.KindRegionMap, chunkOf(1, 5000))
			if err := ses.Commit(context.Background(), "v", nil); err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				mustPut(t, s, ses, pack.KindData, chunkOf(uint64(i+2), 65536))
			}
			crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
			var faults atomic.Int64
			bad := errorfs.Wrap(crashed, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == fault && strings.HasPrefix(op.Path, "/store/packs/unfinished/") {
					faults.Add(1)
					return syscall.EIO
				}
				return nil
			}))
			for _, fsys := range []vfs.FS{bad, crashed} {
				s, err := Open("/store", Options{FS: fsys})
				if err != nil {
					t.Fatal(err)
				}
				mustGet(t, s, id, chunkOf(1, 5000))
				if _, err := s.Root(context.Background(), "v"); err != nil {
					t.Fatal(err)
				}
				if want := map[bool]int{true: 1}[fsys == crashed]; s.Adopted().Finished != want {
					t.Fatalf("finished %d leftovers, want %d", s.Adopted().Finished, want)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if faults.Load() == 0 {
				t.Fatal("no fault was met")
			}
		})
	}
}

// farRecord is zeros but for b at off.
type farRecord struct {
	b   []byte
	off int64
}

func (f *farRecord) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if d := f.off - off; d >= 0 && d < int64(len(p)) {
		copy(p[d:], f.b)
	}
	return len(p), nil
}
