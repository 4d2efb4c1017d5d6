package chunkstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"

	"holdfast/chunkstore/pack"
)

// miswrite changes a payload byte of every data record but one of five, and sets the
// records' own sums right: what a fault of memory before the sum leaves. Only decoding finds it.
func miswrite(t *testing.T, fsys vfs.FS, footer bool) (n int) {
	t.Helper()
	hurtPacks(t, fsys, func(b []byte) []byte {
		var at []int
		if _, _, err := pack.Scan(bytes.NewReader(b), int64(len(b)), func(e pack.Entry, _ []byte) error {
			if e.Kind == pack.KindData && len(at)%5 != 4 {
				at = append(at, int(e.Offset))
			} else if e.Kind == pack.KindData {
				at = append(at, -1)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, off := range at {
			if off < 0 {
				continue
			}
			end := off + pack.RecordHeaderLen + int(binary.LittleEndian.Uint32(b[off+12:]))
			b[end-1] ^= 1
			sum := sumOfRecord(b[off:end])
			copy(b[off+48:], sum[:])
			n++
		}
		if len(at) > 0 && !footer {
			b = b[:len(b)-10]
		}
		return b
	})
	return n
}

// sumOfRecord is the sum of a record's stored bytes, as its magic says that it is made.
func sumOfRecord(rec []byte) (sum [16]byte) {
	head, payload := rec[:48], rec[pack.RecordHeaderLen:]
	if rec[3] == '1' {
		return pack.Sum(head, payload)
	}
	full := xxh3.Hash128(slices.Concat(head, payload))
	binary.LittleEndian.PutUint64(sum[:], full.Lo)
	binary.LittleEndian.PutUint64(sum[8:], full.Hi)
	return sum
}

// TestUndecodable: records that are whole as they are stored and don't decode are found by a
// deep proof, also where the footer is lost, and no quick one behind it takes that back.
func TestUndecodable(t *testing.T) {
	for _, footer := range []bool{true, false} {
		fsys, want := storeToHurt(t, CreateOptions{NoParity: true})
		bad := miswrite(t, fsys, footer)
		if bad < 20 || bad == len(want) {
			t.Fatalf("%d of %d chunks were hurt", bad, len(want))
		}
		s := openStore(t, fsys, 0)
		data := func() (k KnownPack) {
			t.Helper()
			if err := s.KnownPacks(t.Context(), func(p KnownPack) error {
				if !p.Meta {
					k = p
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return k
		}
		for i, opts := range []ProveOptions{{Deep: true}, {}, {LeadsApart: true}, {Deep: true, Workers: 2}, {Workers: 2, Fix: true}} {
			r, err := s.ProvePack(t.Context(), data().Number, opts)
			if err != nil {
				t.Fatal(err)
			}
			if p := data().Proof; r.Result != PackDamaged || p.Result != PackDamaged || len(r.Bad) != bad {
				t.Errorf("footer %v, proof %d: %v with %d bad, remembered %v; want %d", footer, i, r.Result, len(r.Bad), p.Result, bad)
			}
			n := 0
			if err := s.Damage(t.Context(), func(DamagedChunk) error { n++; return nil }); err != nil || n != bad {
				t.Errorf("footer %v, behind proof %d: %d chunks are listed, want %d (%v)", footer, i, n, bad, err)
			}
		}
	}
}

// TestPruneForgetsNoUndecodable: a prune moves no chunk that is known not to decode, as what
// it moves is known to be whole behind it. The pack stays for a scrub.
func TestPruneForgetsNoUndecodable(t *testing.T) {
	fsys, want := storeToHurt(t, CreateOptions{NoParity: true})
	miswrite(t, fsys, true)
	s := openStore(t, fsys, 0)
	listed := func() (n int) {
		t.Helper()
		if err := s.Damage(t.Context(), func(DamagedChunk) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, w := range want {
		_, _ = s.Get(t.Context(), s.ID(w), nil) // lists it
	}
	was := listed()
	half := func(_ context.Context, _ string, _ []byte, visit Visit) error {
		for _, w := range want[:len(want)/2] {
			if _, err := visit(s.ID(w), pack.KindData); err != nil {
				return err
			}
		}
		return nil
	}
	if _, err := s.Prune(t.Context(), PruneOptions{Walk: half}); err != nil {
		t.Fatal(err)
	}
	if n := listed(); was == 0 || n < 10 {
		t.Fatalf("%d chunks are listed behind a prune, %d before", n, was)
	}
	for i, w := range want[:len(want)/2] {
		_, lost := s.Get(t.Context(), s.ID(w), nil)
		if hurt, err := s.Damaged(s.ID(w)); err != nil || hurt != (lost != nil) {
			t.Errorf("chunk %d: listed %v, read: %v (%v)", i, hurt, lost, err)
		}
	}
}
