package fs

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"holdfast/chunkstore"
)

// bulk collects roots without the cost of committing each.
type bulk struct {
	names  []string
	bodies [][]byte
}

func (b *bulk) Commit(_ context.Context, name string, body []byte) error {
	b.names, b.bodies = append(b.names, name), append(b.bodies, body)
	return nil
}

// manyRoots is a store whose roots are a bulk's.
type manyRoots struct {
	*testStore
	*bulk
	looked atomic.Int64 // roots looked at
}

func (m *manyRoots) Root(_ context.Context, name string) ([]byte, error) {
	if i, ok := slices.BinarySearch(m.names, name); ok {
		return m.bodies[i], nil
	}
	return m.testStore.Root(context.Background(), name)
}

func (m *manyRoots) Roots(_ context.Context, prefix, from string, fn func(string, []byte) bool) error {
	i, _ := slices.BinarySearch(m.names, max(prefix, from))
	for ; i < len(m.names) && strings.HasPrefix(m.names[i], prefix); i++ {
		m.looked.Add(1)
		if !fn(m.names[i], m.bodies[i]) {
			break
		}
	}
	return nil
}

// Memo is none: the store's is of other roots.
func (m *manyRoots) Memo() *chunkstore.Memo { return nil }

var _ chunkstore.API = (*manyRoots)(nil)
