package heal

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// TestWrongPlacesOfOneVM: index entries that lead to no record, in the right pack or
// in another, are found by whoever proves one VM's packs, or one version's, without a
// look at all entries.
func TestWrongPlacesOfOneVM(t *testing.T) {
	w := newWorld(t)
	for name, hurt := range map[string]func(v []byte, other uint64){
		"another place":     func(v []byte, _ uint64) { v[8] ^= 1 },
		"another length":    func(v []byte, _ uint64) { v[12] ^= 1 },
		"another pack":      func(v []byte, other uint64) { binary.LittleEndian.PutUint64(v, other) },
		"a pack that is no": func(v []byte, _ uint64) { v[0] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			w.put(t, mem)
			before := openWorld(t, mem)
			ids, all := dataOf(t, before, "other"), proofs(t, before)
			if err := before.Close(); err != nil {
				t.Fatal(err)
			}
			for n := 0; n == 0; { // it takes some of all entries
				hurtIndex(t, mem, rand.New(rand.NewPCG(5, rand.Uint64())), "c", func(b *pebble.Batch, k, v []byte) error {
					if !ids[pack.ID(k[1:])] {
						return nil
					}
					n++
					v = append([]byte(nil), v...)
					for other := range all {
						if other != binary.LittleEndian.Uint64(v) {
							hurt(v, other)
							break
						}
					}
					return b.Set(k, v, nil)
				})
			}
			s := openWorld(t, mem)
			defer s.Close()
			if rep := mustScrub(t, s, Options{VM: "other"}, name); rep.Clean() {
				t.Errorf("a scrub of the VM found nothing: %s", describe(rep))
			}
			mustScrub(t, s, Options{Repair: true}, name)
			w.whole(t, s, name)
		})
	}
}

// dataOf returns the chunks of data that a VM's versions use.
func dataOf(t *testing.T, s *chunkstore.Store, vm string) map[pack.ID]bool {
	t.Helper()
	ids := map[pack.ID]bool{}
	w := newWalk(s)
	err := w.versions(context.Background(), vm, func(v version, err error) error {
		if err != nil {
			return err
		}
		for i := range v.Disks {
			r, err := disk.Open(nil, w.maps, v.Disks[i].Map)
			if err != nil {
				return err
			}
			if err := r.Parts(context.Background(), func(p disk.Part) (bool, error) {
				if p.Kind == pack.KindData {
					ids[p.ID] = true
				}
				return true, nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(ids) == 0 {
		t.Fatalf("%d chunks, %v", len(ids), err)
	}
	return ids
}

// TestVerifySetsPlacesRight: a version is not called valid while the index leads to
// its chunks where they are not; where the pack has them it is set right.
func TestVerifySetsPlacesRight(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	w.put(t, mem)
	s := openWorld(t, mem)
	ids := dataOf(t, s, "other")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for n := 0; n == 0; {
		hurtIndex(t, mem, rand.New(rand.NewPCG(6, rand.Uint64())), "c", func(b *pebble.Batch, k, v []byte) error {
			if !ids[pack.ID(k[1:])] {
				return nil
			}
			n++
			v = append([]byte(nil), v...)
			v[9] ^= 0x10
			return b.Set(k, v, nil)
		})
	}
	s = openWorld(t, mem)
	defer s.Close()
	for _, c := range w.versions {
		if c.vm != "other" {
			continue
		}
		v, err := catalog.Get(context.Background(), s, c.vm, c.id)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Verify(context.Background(), s, v, Options{})
		if err != nil || r.State != chunkstore.Valid.String() {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	for id := range ids {
		if _, err := s.Get(context.Background(), id, nil); err != nil {
			t.Errorf("chunk %v of a valid version: %v", id, err)
		}
	}
	if found, now := s.DamageChanges(); found+now > 0 {
		t.Errorf("%d damaged chunks were met", found)
	}
}
