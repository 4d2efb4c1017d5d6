package restore

import (
	"path/filepath"
	"sync/atomic"
	"testing"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// orderedStore reads in the order of its packs, as the handle of an owner does.
type orderedStore struct {
	*countingStore
	aheads atomic.Int64
}

func (s *orderedStore) InOrder() chunkstore.Getter { return s.countingStore.Store.InOrder() }

func (s *orderedStore) Ahead(ids []pack.ID, most int64) {
	s.aheads.Add(1)
	s.countingStore.Store.Ahead(ids, most)
}

var _ inOrder = (*orderedStore)(nil)

func TestRawFileInOrder(t *testing.T) {
	counting := newStore(t)
	for seed := range uint64(3) {
		b := diskBytes(seed, 3*windowBytes+12345)
		s := &orderedStore{countingStore: counting}
		out := filepath.Join(t.TempDir(), "out.raw")
		if _, err := Run(t.Context(), s, Options{Disk: counting.put(t, b), Out: out}); err != nil {
			t.Fatal(err)
		}
		sameFile(t, out, b)
		if s.aheads.Load() == 0 {
			t.Error("nothing was read ahead")
		}
	}
}
