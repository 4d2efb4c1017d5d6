package main

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
)

// TestScaleInSmall makes the store that bench-scale measures, in small, and
// measures it: the index that is written past package chunkstore must be one that
// it reads, with each chunk in use and each version listed.
func TestScaleInSmall(t *testing.T) {
	ctx := context.Background()
	const chunks, versions = 20000, 200
	dir := filepath.Join(t.TempDir(), "store")
	sh := shapeOf(chunks, versions)
	if err := makeStore(ctx, dir, sh); err != nil {
		t.Fatal(err)
	}
	proveScale(t, dir, chunks, versions)
	r := newReport(sh.chunks(), versions)
	if err := errors.Join(measureStore(ctx, dir, r), measureLookups(ctx, dir, r)); err != nil {
		t.Fatal(err)
	}
}

func proveScale(t *testing.T, dir string, chunks, versions int) {
	t.Helper()
	ctx := context.Background()
	s, err := chunkstore.Open(dir, chunkstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	vms, err := catalog.VMs(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, vm := range vms {
		if err := catalog.Versions(ctx, s, vm, func(_ *catalog.Version, err error) {
			if n++; err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if n != versions {
		t.Errorf("%d versions are listed, want %d", n, versions)
	}
	st, err := s.Stats(ctx)
	if err != nil || st.Chunks < int64(chunks)*9/10 {
		t.Errorf("%d chunks, want about %d, %v", st.Chunks, chunks, err)
	}
	r, err := s.Prune(ctx, chunkstore.PruneOptions{DryRun: true, Doomed: catalog.Doomed, Walk: catalog.Walk(s)})
	if err != nil {
		t.Fatal(err)
	}
	if r.DeadChunks != 0 || r.Walked != int64(versions) || r.Maps == 0 {
		t.Errorf("a store in which all is used: %+v", r)
	}
}
