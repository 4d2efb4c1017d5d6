package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestMove: the bound of a restore writes every extent, to its end, and reads packs of any length.
func TestMove(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int64{"empty.pack": 0, "odd.pack": regionSize + 4097, "whole.pack": regionSize} {
		if err := os.MkdirAll(filepath.Join(dir, "packs", "ab"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "packs", "ab", name), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	packs, err := packsOf(dir)
	if err != nil || len(packs) != 3 {
		t.Fatalf("%v, %v", packs, err)
	}
	out, size := filepath.Join(dir, "out"), int64(4*regionSize)
	extents := [][2]int64{{0, regionSize + 8192}, {3 * regionSize, regionSize}}
	s, err := move(context.Background(), packs, out, extents, size)
	if err != nil || s.Bytes != totalOf(extents) {
		t.Fatalf("%d bytes, %v", s.Bytes, err)
	}
	got, err := os.ReadFile(out)
	if err != nil || int64(len(got)) != size {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for at := int64(0); at < size; at += 4096 {
		inside := false
		for _, e := range extents {
			inside = inside || at >= e[0] && at < e[0]+e[1]
		}
		if (got[at] != 0 || got[at+1] != 0 || got[at+2] != 0) != inside {
			t.Fatalf("byte %d: written is not %v", at, inside)
		}
	}
}
