package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"holdfast/capture/source"
	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog/storetest"
	"holdfast/chunkstore/owner"
)

// TestParallelClonesStoreTheirCommonPartOnce: five first captures of clones run
// side by side, in one process and through the owner's socket. What one has put
// the others have at once, though none of them is committed.
func TestParallelClonesStoreTheirCommonPartOnce(t *testing.T) {
	const clones, size, own = 5, 8 << 20, 256 << 10
	common := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(common)
	for _, way := range []string{"one process", "socket"} {
		t.Run(way, func(t *testing.T) {
			stores, local := cloneStores(t, way, clones)
			var wg sync.WaitGroup
			begin := make(chan struct{})
			errs := make([]error, clones)
			for i := range clones {
				b := bytes.Clone(common)
				rand.NewChaCha8([32]byte{2, byte(i)}).Read(b[i*own*2 : i*own*2+own])
				o := options(fmt.Sprint("clone", i), i, &memDisk{b: b, extents: []source.Extent{{Length: size, Data: true}}})
				wg.Go(func() {
					<-begin
					_, errs[i] = Run(context.Background(), stores[i], o)
				})
			}
			close(begin)
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			st, err := local().Stats(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			// Data once, and below 64 KiB of maps and manifests.
			want := int64(size + clones*own)
			if st.PlainBytes > want+64<<10 {
				t.Fatalf("%d plain bytes are stored, want about %d", st.PlainBytes, want)
			}
			if st.Roots != clones {
				t.Fatalf("%d versions", st.Roots)
			}
			storetest.Check(t, local())
		})
	}
}

// cloneStores returns n ways to one new store, and the store itself.
func cloneStores(t *testing.T, way string, n int) ([]Store, func() *chunkstore.Store) {
	t.Helper()
	var all []Store
	if way == "one process" {
		s := newFixture(t).store
		for range n {
			all = append(all, s)
		}
		return all, func() *chunkstore.Store { return s }
	}
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := chunkstore.Create(dir, chunkstore.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var first *owner.Handle
	for range n + 1 {
		h, err := owner.Open(t.Context(), dir, owner.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		if first == nil {
			first = h
			continue
		}
		if _, self := h.Owner(); self {
			t.Fatal("a client owns the store")
		}
		all = append(all, h)
	}
	return all, first.Local
}
