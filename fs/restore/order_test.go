package restore

import (
	"path/filepath"
	"sync/atomic"
	"testing"

	"holdfast/chunkstore"
)

// orderedStore reads in the order of its packs, as the handle of an owner does.
type orderedStore struct {
	*countingStore
	aheads atomic.Int64
}

func (s *orderedStore) InOrder(mem []byte) chunkstore.Rows {
	return countingRows{s.countingStore.Store.InOrder(mem), &s.aheads}
}

type countingRows struct {
	chunkstore.Rows
	aheads *atomic.Int64
}

func (r countingRows) Ahead(want []chunkstore.Want) {
	r.aheads.Add(1)
	r.Rows.Ahead(want)
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
