package chunkstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// hurtPacks rewrites every finished pack of a store in memory.
func hurtPacks(t *testing.T, fsys vfs.FS, hurt func([]byte) []byte) {
	t.Helper()
	hurtStores.Store(fsys, true)
	subs, err := fsys.List("/store/packs")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, sub := range subs {
		names, _ := fsys.List("/store/packs/" + sub)
		for _, name := range names {
			path := "/store/packs/" + sub + "/" + name
			f, err := fsys.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(f)
			f.Close()
			if err != nil {
				t.Fatal(err)
			}
			if f, err = fsys.Create(path, "test"); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(hurt(b)); err != nil {
				t.Fatal(err)
			}
			f.Close()
			n++
		}
	}
	if n == 0 {
		t.Fatal("there are no packs to hurt")
	}
}

// storeToHurt makes a store with a version of incompressible chunks and reopens
// it, so that nothing is read from memory.
func storeToHurt(t *testing.T, opts CreateOptions) (vfs.FS, [][]byte) {
	t.Helper()
	fsys := vfs.NewMem()
	opts.FS = fsys
	if _, err := Create("/store", opts); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, fsys, 0)
	ses := begin(t, s)
	var want [][]byte
	for i := range 40 {
		plain := chunkOf(uint64(i+1), 60000)
		want = append(want, plain)
		mustPut(t, s, ses, pack.KindData, plain)
	}
	if err := ses.Commit(context.Background(), "v", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fsys, want
}

func TestReadsHealFromParity(t *testing.T) {
	fsys, want := storeToHurt(t, CreateOptions{})
	hurtPacks(t, fsys, func(b []byte) []byte {
		from := len(b) / 3
		clear(b[from : from+len(b)/40])
		return b
	})
	s := openStore(t, fsys, 0)
	for _, w := range want {
		mustGet(t, s, s.ID(w), w)
		rec, err := s.ReadRecord(context.Background(), s.ID(w), nil)
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := s.Codec().Decode(nil, rec, s.ID(w)); err != nil || !bytes.Equal(plain, w) {
			t.Fatalf("record: %v", err)
		}
	}
}

// TestHealedReadsAndProofs: a read that parity heals ends the proof of a pack that was
// found whole before, but not what a proof found of that damage: who asks what is hurt
// is told by that alone.
func TestHealedReadsAndProofs(t *testing.T) {
	fsys, want := storeToHurt(t, CreateOptions{})
	hurt := func(b []byte) []byte {
		clear(b[len(b)/3:][:len(b)/40])
		return b
	}
	prove := func(s *Store, result PackResult) {
		t.Helper()
		err := s.KnownPacks(t.Context(), func(k KnownPack) error {
			_, err := s.ProvePack(t.Context(), k.Number, ProveOptions{})
			if p, perr := s.Proof(k.Number); perr != nil || p.Result != result && !k.Meta {
				t.Errorf("a proof of pack %016x: %v, %v", k.Number, p.Result, perr)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func(s *Store, result PackResult) {
		t.Helper()
		for _, w := range want {
			mustGet(t, s, s.ID(w), w)
		}
		err := s.KnownPacks(t.Context(), func(k KnownPack) error {
			if k.Proof.Result != result && !k.Meta { // the root's is zeros where it is hurt
				t.Errorf("behind reads the proof of pack %016x says %v", k.Number, k.Proof.Result)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s := openStore(t, fsys, 0)
	prove(s, PackWhole)
	read(s, PackWhole)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	hurtPacks(t, fsys, hurt)
	s = openStore(t, fsys, 0)
	read(s, 0)
	prove(s, PackHealable)
	read(s, PackHealable)
}

// TestLostChunksAndProofs: what a proof told of a pack is told on when a read finds a
// chunk lost behind it, and when its index entries are still wrong; and the pack is due.
func TestLostChunksAndProofs(t *testing.T) {
	fsys, want := storeToHurt(t, CreateOptions{})
	zeros := func(share int) {
		hurtPacks(t, fsys, func(b []byte) []byte {
			clear(b[len(b)/3:][:len(b)/share])
			return b
		})
	}
	known := func(s *Store) (data KnownPack, hurt map[uint64]PackResult) {
		t.Helper()
		hurt = map[uint64]PackResult{}
		err := s.KnownPacks(t.Context(), func(k KnownPack) error {
			if !k.Meta {
				data = k
			}
			return nil
		})
		if err == nil {
			err = s.HurtPacks(t.Context(), func(k KnownPack) { hurt[k.Number] = k.Proof.Result })
		}
		if err != nil {
			t.Fatal(err)
		}
		return data, hurt
	}
	prove := func(s *Store) (KnownPack, map[uint64]PackResult) {
		t.Helper()
		k, _ := known(s)
		if _, err := s.ProvePack(t.Context(), k.Number, ProveOptions{Deep: true}); err != nil {
			t.Fatal(err)
		}
		return known(s)
	}
	reopen := func(s *Store) *Store {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return openStore(t, fsys, 0)
	}

	zeros(40)
	s := openStore(t, fsys, 0)
	k, hurt := prove(s)
	if hurt[k.Number] != PackHealable || k.Proof.Due() || !k.Proof.Deep {
		t.Fatalf("within parity: %+v, hurt %v", k.Proof, hurt)
	}
	entry, closer, err := s.index.Get(chunkKey(s.ID(want[0])))
	if err != nil {
		t.Fatal(err)
	}
	entry = append([]byte(nil), entry...)
	closer.Close()
	if err := s.index.Delete(chunkKey(s.ID(want[0])), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if k, hurt = prove(s); hurt[k.Number] != PackHealable || !k.Proof.Due() || k.Proof.Deep {
		t.Errorf("within parity, with an entry that is lost: %+v, hurt %v", k.Proof, hurt)
	}
	if err := s.index.Set(chunkKey(s.ID(want[0])), entry, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if k, hurt = prove(s); hurt[k.Number] != PackHealable || k.Proof.Due() {
		t.Errorf("within parity, proved again: %+v, hurt %v", k.Proof, hurt)
	}

	s = reopen(s)
	zeros(4)
	s = reopen(s)
	lost := 0
	for _, w := range want {
		if _, err := s.Get(t.Context(), s.ID(w), nil); err != nil {
			lost++
		}
	}
	after, hurt := known(s)
	if lost == 0 || hurt[k.Number] != PackDamaged || !after.Proof.Due() || !after.Proof.When.Equal(k.Proof.When) {
		t.Errorf("%d chunks lost: %+v, hurt %v", lost, after.Proof, hurt)
	}
	if k, hurt = prove(s); hurt[k.Number] != PackDamaged || k.Proof.Due() {
		t.Errorf("beyond parity, proved again: %+v, hurt %v", k.Proof, hurt)
	}
}

// TestDamageIsNamedAndNeverServed hurts packs beyond what parity brings back, or
// without parity: each chunk is either right or damage of the right kind.
func TestDamageIsNamedAndNeverServed(t *testing.T) {
	for _, c := range []struct {
		name string
		opts CreateOptions
		hurt func([]byte) []byte
		kind pack.DamageKind
	}{
		{"a flipped bit in every 1000 bytes", CreateOptions{}, func(b []byte) []byte {
			for i := pack.HeaderLen; i < len(b); i += 1000 {
				b[i] ^= 4
			}
			return b
		}, pack.Corrupt},
		{"zeroed, no parity", CreateOptions{NoParity: true}, func(b []byte) []byte { clear(b[len(b)/2 : len(b)*3/4]); return b }, pack.Corrupt},
		{"cut off, no parity", CreateOptions{NoParity: true}, func(b []byte) []byte { return b[:len(b)/2] }, pack.Missing},
		{"cut off", CreateOptions{}, func(b []byte) []byte { return b[:len(b)/2] }, pack.Missing},
	} {
		fsys, want := storeToHurt(t, c.opts)
		hurtPacks(t, fsys, c.hurt)
		s := openStore(t, fsys, 0)
		damaged := 0
		for _, w := range want {
			got, err := s.Get(context.Background(), s.ID(w), nil)
			if err == nil {
				if !bytes.Equal(got, w) {
					t.Fatalf("%s: wrong bytes were served", c.name)
				}
				continue
			}
			damaged++
			var d *pack.Damage
			if !errors.As(err, &d) || d.Kind != c.kind && d.Kind != pack.Corrupt || d.ID != s.ID(w) {
				t.Fatalf("%s: %v", c.name, err)
			}
			if _, err := s.ReadRecord(context.Background(), s.ID(w), nil); !errors.As(err, &d) {
				t.Fatalf("%s: record: %v", c.name, err)
			}
		}
		if damaged == 0 {
			t.Errorf("%s: nothing was damaged", c.name)
		}
	}
}

func TestDeletedPackIsMissing(t *testing.T) {
	fsys, want := storeToHurt(t, CreateOptions{})
	hurtStores.Store(fsys, true)
	subs, _ := fsys.List("/store/packs")
	for _, sub := range subs {
		if len(sub) == 2 {
			if err := fsys.RemoveAll("/store/packs/" + sub); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := openStore(t, fsys, 0)
	if n := len(s.Adopted().Missing); n != 2 {
		t.Errorf("%d packs missing, want 2", n)
	}
	var d *pack.Damage
	if _, err := s.Get(context.Background(), s.ID(want[0]), nil); !errors.As(err, &d) || d.Kind != pack.Missing {
		t.Fatalf("chunk of a deleted pack: %v", err)
	}
}
