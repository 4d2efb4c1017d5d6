package chunkstore

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// TestPartsOfUnevenRecords reads every part of chunks whose frames are stored in
// very different lengths, on a real disk: where the beginning of a record is too
// short for a part, the rest is read too. The pass over the index that so many reads
// begin is under way when the store is closed, or over.
func TestPartsOfUnevenRecords(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := Create(dir, CreateOptions{FS: vfs.Default, FrameSize: testFrame}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		s.readsParts() // too late for a pass
	}()
	ses := begin(t, s)
	ids := map[ID][]byte{}
	for i := range 40 {
		plain := chunkOf(uint64(i), []int{pack.MaxChunk, 40_000, testFrame + 1}[i%3])
		if i%2 == 1 {
			for from, to := 0, len(plain)-1; from < to; from, to = from+1, to-1 {
				plain[from], plain[to] = plain[to], plain[from] // what does not compress comes last
			}
		}
		ids[mustPut(t, s, ses, pack.KindData, plain)] = plain
	}
	if err := ses.Commit(context.Background(), "v", nil); err != nil {
		t.Fatal(err)
	}
	short := 0
	for id, plain := range ids {
		for from := 0; from < len(plain); from += testFrame {
			p := pack.Part{Chunk: len(plain), From: from, To: min(len(plain), from+testFrame)}
			got, whole, err := s.GetPart(context.Background(), id, nil, p)
			if err != nil || whole || !bytes.Equal(got, plain[p.From:p.To]) {
				t.Fatalf("part %+v: whole %v: %v", p, whole, err)
			}
			at, _, _ := s.lookup(id)
			rec, err := s.ReadRecord(context.Background(), id, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.codec.DecodePart(nil, rec[:s.codec.PrefixOf(int(at.payloadLen), p)], id, p); err != nil {
				short++
			}
		}
		if got, whole, err := s.GetPart(context.Background(), id, nil, pack.Part{Chunk: len(plain), To: len(plain)}); err != nil || !whole || !bytes.Equal(got, plain) {
			t.Fatalf("all of it: whole %v: %v", whole, err)
		}
	}
	if short == 0 {
		t.Error("no part needed more than the beginning: this tests nothing")
	}
	if n := s.warmth.asked.Load(); n != warmAfter {
		t.Errorf("%d parts counted", n)
	}
}
