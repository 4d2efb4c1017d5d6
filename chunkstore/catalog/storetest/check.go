// Package storetest is what tests that make a store end with.
package storetest

import (
	"context"
	"testing"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
)

// Check proves every invariant of a store that nobody closed yet, the maps of
// all versions included. It belongs into t.Cleanup, before the store's Close. A
// test that has hurt its store does not call it.
func Check(t testing.TB, s *chunkstore.Store) {
	t.Helper()
	r, err := chunkstore.Check(context.Background(), s, chunkstore.CheckOptions{Walk: catalog.Walk(s), Name: catalog.RootText})
	if err != nil {
		t.Errorf("check of the store: %v", err)
		return
	}
	for _, p := range r.Problems {
		t.Errorf("check of the store: %v", p)
	}
}
