package heal

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// hurtStore is a store of which some chunks don't come back.
type hurtStore struct {
	store *chunkstore.Store
	hurt  map[pack.ID]error

	mu    sync.Mutex // guards asked
	asked map[pack.ID]int
}

func (s *hurtStore) Get(ctx context.Context, id pack.ID, buf []byte) ([]byte, error) {
	if err := s.hurt[id]; err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked[id]++
		return nil, err
	}
	return s.store.Get(ctx, id, buf)
}

// memSource is a live disk in memory.
type memSource struct{ memDisk }

func (s memSource) Extent(off int64) (int64, bool, error) { return s.Size() - off, true, nil }

// TestCompareGoesOn: what does not come back ends no comparison. Every byte of
// the version is either compared or named as lost, and what differs elsewhere is
// found, before, between and behind.
func TestCompareGoesOn(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	w.put(t, mem)
	s := openWorld(t, mem)
	defer s.Close()
	c := w.versions[3] // 9 MiB with holes, in three regions
	v, err := catalog.Get(context.Background(), s, c.vm, c.id)
	if err != nil {
		t.Fatal(err)
	}
	parts := partsOf(t, s, v.Disks[0].Map)
	data := parts[pack.KindData]
	corrupt := &pack.Damage{Kind: pack.Corrupt, ID: pack.ID{1}, Err: errors.New("test")}
	unread := &pack.Damage{Kind: pack.Unreadable, ID: pack.ID{2}, Err: errors.New("test")}
	for name, hurt := range map[string]map[disk.Part]error{
		"nothing":      {},
		"first":        {data[0]: corrupt},
		"last":         {data[len(data)-1]: chunkstore.ErrNotFound},
		"neighbours":   {data[2]: corrupt, data[3]: unread},
		"far apart":    {data[0]: corrupt, data[len(data)/2]: unread, data[len(data)-1]: corrupt},
		"a region map": {parts[pack.KindRegionMap][1]: corrupt, data[1]: corrupt},
		"the disk map": {parts[pack.KindDiskMap][0]: corrupt},
		"all":          everyOne(data, corrupt),
	} {
		t.Run(name, func(t *testing.T) {
			get := &hurtStore{store: s, hurt: map[pack.ID]error{}, asked: map[pack.ID]int{}}
			lost := make([]bool, len(c.b))
			for p, err := range hurt {
				get.hurt[p.ID] = err
				for _, q := range append(data, p) { // a chunk may be used twice
					if q.ID == p.ID {
						mark(lost, q.Off, q.Len)
					}
				}
			}
			live := bytes.Clone(c.b)
			for _, off := range []int{0, 70_000, 1<<20 - 1, 3 << 20, 5<<20 + 4096, 5<<20 + 200_000, len(live) - 1} {
				live[off] ^= 1
			}
			var got Comparison
			if err := Compare(context.Background(), get, &v.Disks[0], memSource{newMemDisk(live)}, nil, &got); err != nil {
				t.Fatal(err)
			}
			checkCompared(t, &got, c.b, live, lost)
			for id, n := range get.asked {
				if n > 2 { // two may have asked at once
					t.Errorf("chunk %v, which is damaged, was asked for %d times", id, n)
				}
			}
		})
	}
}

func everyOne(parts []disk.Part, err error) map[disk.Part]error {
	all := map[disk.Part]error{}
	for _, p := range parts {
		all[p] = err
	}
	return all
}

func mark(bytes []bool, off, n int64) {
	for i := range bytes[off : off+n] {
		bytes[off+int64(i)] = true
	}
}

// checkCompared holds a comparison against its definition, byte by byte: of a map
// that is lost, all of its region may be called lost.
func checkCompared(t *testing.T, got *Comparison, stored, live []byte, lost []bool) {
	t.Helper()
	told, differ := make([]bool, len(stored)), make([]bool, len(stored))
	for _, l := range got.Lost {
		mark(told, l.Offset, l.Length)
		if l.Kind == "" || l.What == "" || l.Disk != "a" {
			t.Errorf("lost %+v", l)
		}
	}
	for _, d := range got.Differ {
		mark(differ, d.Offset, d.Length)
	}
	if !slices.Equal(told, lost) {
		t.Errorf("lost %+v", got.Lost)
	}
	var count int64
	for from := 0; from < len(stored); from += compareUnit {
		to := min(from+compareUnit, len(stored))
		for i := from; i < to; i++ {
			if lost[i] {
				count++
				if differ[i] {
					t.Fatalf("byte %d is called different and is lost", i)
				}
			} else if stored[i] != live[i] && !differ[i] {
				t.Fatalf("byte %d differs and is not told", i)
			}
		}
		if bytes.Equal(stored[from:to], live[from:to]) && slices.Contains(differ[from:to], true) {
			t.Fatalf("the unit at %d is called different", from)
		}
	}
	if got.LostBytes != count || got.Compared+got.LostBytes != int64(len(stored)) || got.Unlisted != 0 {
		t.Errorf("%d compared and %d lost of %d, of which %d are; %d not listed", got.Compared, got.LostBytes, len(stored), count, got.Unlisted)
	}
}

func partsOf(t *testing.T, s *chunkstore.Store, m disk.Map) map[pack.Kind][]disk.Part {
	t.Helper()
	r, err := disk.Open(nil, disk.NewMaps(s, 0), m)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[pack.Kind][]disk.Part{}
	err = r.Parts(context.Background(), func(p disk.Part) (bool, error) {
		parts[p.Kind] = append(parts[p.Kind], p)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return parts
}
