package heal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// spot is where the index has a chunk, as it lies there.
type spot struct {
	pack        uint64
	offset, len uint32
}

func spotOf(v []byte) spot {
	return spot{binary.LittleEndian.Uint64(v), binary.LittleEndian.Uint32(v[8:]), binary.LittleEndian.Uint32(v[12:])}
}

func (s spot) bytes() []byte {
	b := binary.LittleEndian.AppendUint64(nil, s.pack)
	b = binary.LittleEndian.AppendUint32(b, s.offset)
	return binary.LittleEndian.AppendUint32(b, s.len)
}

// places are all chunks that the index of a store has.
type places map[pack.ID]spot

// changeIndex lets fn see where all chunks are and change that, while nobody has the
// store open.
func changeIndex(t *testing.T, fsys vfs.FS, fn func(all places, set func(k, v []byte))) {
	t.Helper()
	db, err := pebble.Open("/store/index", &pebble.Options{FS: fsys, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{'c'}, UpperBound: []byte{'d'}})
	if err != nil {
		t.Fatal(err)
	}
	all := places{}
	for ok := it.First(); ok; ok = it.Next() {
		all[pack.ID(it.Key()[1:])] = spotOf(it.Value())
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	fn(all, func(k, v []byte) {
		if v == nil {
			err = db.Delete(k, pebble.Sync)
		} else {
			err = db.Set(k, v, pebble.Sync)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

func chunkAt(id pack.ID) []byte { return append([]byte{'c'}, id[:]...) }

// chunksOf returns the chunks of a version's first disk by their kind, in order.
func chunksOf(t *testing.T, s *chunkstore.Store, vm, id string) map[pack.Kind][]pack.ID {
	t.Helper()
	v, err := catalog.Get(context.Background(), s, vm, id)
	if err != nil {
		t.Fatal(err)
	}
	r, err := disk.Open(nil, disk.NewMaps(s, 0), v.Disks[0].Map)
	if err != nil {
		t.Fatal(err)
	}
	all := map[pack.Kind][]pack.ID{}
	if err := r.Parts(context.Background(), func(p disk.Part) (bool, error) {
		all[p.Kind] = append(all[p.Kind], p.ID)
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// wrongPlaces are the ways in which an index entry may lead to a wrong place. to
// returns where it leads then.
var wrongPlaces = map[string]func(id pack.ID, all places) spot{
	"another record":        func(id pack.ID, all places) spot { return all[neighbour(id, all, true)] },
	"a record's middle":     func(id pack.ID, all places) spot { s := all[id]; s.offset += 8; return s },
	"behind the pack's end": func(id pack.ID, all places) spot { s := all[id]; s.offset = 1 << 30; return s },
	"too short":             func(id pack.ID, all places) spot { s := all[id]; s.len--; return s },
	"too long":              func(id pack.ID, all places) spot { s := all[id]; s.len++; return s },
	"another pack":          func(id pack.ID, all places) spot { return all[neighbour(id, all, false)] },
	"its place elsewhere": func(id pack.ID, all places) spot {
		s := all[id]
		s.pack = all[neighbour(id, all, false)].pack
		return s
	},
	"a pack that is none": func(id pack.ID, all places) spot { s := all[id]; s.pack ^= 1; return s },
	"nothing":             func(pack.ID, places) spot { return spot{} },
}

// neighbour returns a chunk that lies in the same pack, or in another one.
func neighbour(id pack.ID, all places, same bool) (other pack.ID) {
	for _, other = range slices.SortedFunc(maps.Keys(all), func(a, b pack.ID) int { return bytes.Compare(a[:], b[:]) }) {
		if other != id && (all[other].pack == all[id].pack) == same {
			return other
		}
	}
	panic("there is none")
}

// provedWorld returns a world's store of which every pack was proved and every version
// is valid, and the chunks of its one version of VM «other».
func provedWorld(t *testing.T) (*world, vfs.FS, content, map[pack.Kind][]pack.ID) {
	t.Helper()
	w, mem := newWorld(t), vfs.NewMem()
	w.put(t, mem)
	s := openWorld(t, mem)
	mustScrub(t, s, Options{Deep: true}, "before")
	if got := w.states(t, s); got[chunkstore.Valid] != len(w.versions) {
		t.Fatalf("before: %v", got)
	}
	c := w.versions[len(w.versions)-1]
	parts := chunksOf(t, s, c.vm, c.id)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return w, mem, c, parts
}

// capturedBefore returns a version as if it had been captured an hour before: proofs
// are known by the second.
func capturedBefore(t *testing.T, s *chunkstore.Store, c content) *catalog.Version {
	t.Helper()
	v, err := catalog.Get(context.Background(), s, c.vm, c.id)
	if err != nil {
		t.Fatal(err)
	}
	v.Captured = v.Captured.Add(-time.Hour)
	return v
}

func mustVerify(t *testing.T, s *chunkstore.Store, c content, opts Options) *VerifyReport {
	t.Helper()
	r, err := Verify(context.Background(), s, capturedBefore(t, s, c), opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestVerifyHoldsPlaces: in a store of which all packs were proved, an index entry that
// leads elsewhere is found by who verifies the version, by the validation in the
// background, and by scrubs that pass over what was proved; what they name is what
// can't be read, and a repair mends it.
func TestVerifyHoldsPlaces(t *testing.T) {
	finders := map[string]func(t *testing.T, s *chunkstore.Store, c content) chunkstore.Validation{
		"verify": func(t *testing.T, s *chunkstore.Store, c content) chunkstore.Validation {
			r := mustVerify(t, s, c, Options{})
			if r.Packs > 1 { // that to which the entry led: its proof ends with the damage
				t.Errorf("%d packs were proved again", r.Packs)
			}
			return stateOf(t, s, c)
		},
		"validation": func(t *testing.T, s *chunkstore.Store, c content) chunkstore.Validation {
			sc := &scrub{store: s, began: time.Now(), gone: map[uint64]bool{}, pace: newPace(0), report: new(Report), opts: Options{Deep: true, Repair: true}}
			sc.opts.fill()
			if err := newValidation(sc).version(context.Background(), capturedBefore(t, s, c)); err != nil {
				t.Fatal(err)
			}
			return stateOf(t, s, c)
		},
		"scrub": func(t *testing.T, s *chunkstore.Store, c content) chunkstore.Validation {
			mustScrub(t, s, Options{}, "whole")
			return stateOf(t, s, c)
		},
		"scrub of what is old": func(t *testing.T, s *chunkstore.Store, c content) chunkstore.Validation {
			r := mustScrub(t, s, Options{OlderThan: time.Hour}, "older")
			if r.Packs > 0 {
				t.Errorf("%d packs were proved again", r.Packs)
			}
			return stateOf(t, s, c)
		},
		"scrub of the VM": func(t *testing.T, s *chunkstore.Store, c content) chunkstore.Validation {
			mustScrub(t, s, Options{VM: c.vm}, "VM")
			return stateOf(t, s, c)
		},
		"scrub of what is old of the VM": func(t *testing.T, s *chunkstore.Store, c content) chunkstore.Validation {
			mustScrub(t, s, Options{VM: c.vm, OlderThan: time.Hour}, "VM")
			return stateOf(t, s, c)
		},
	}
	w, mem, c, parts := provedWorld(t)
	before := &world{files: map[string][]byte{}}
	before.load(t, mem, "/store")
	try := func(kind pack.Kind, how, by string) {
		t.Helper()
		t.Run(fmt.Sprintf("%v to %s, %s", kind, how, by), func(t *testing.T) {
			id := parts[kind][len(parts[kind])/2]
			mem := vfs.NewMem()
			before.put(t, mem)
			changeIndex(t, mem, func(all places, set func(k, v []byte)) {
				to := wrongPlaces[how](id, all)
				if to == all[id] {
					t.Fatal("it leads where it led")
				}
				if to == (spot{}) {
					set(chunkAt(id), nil)
				} else {
					set(chunkAt(id), to.bytes())
				}
			})
			s := openWorld(t, mem)
			defer s.Close()
			want := chunkstore.Hurt
			if how == "too long" { // a record says its own length, so it is read all the same
				want = chunkstore.Valid
			}
			if st := finders[by](t, s, c); st != want {
				t.Errorf("the version is %v", st)
			}
			if how != "another pack" && (by != "verify" || how != "nothing" && how != "too short") { // what follows is the same
				return
			}
			hurt, err := Hurt(context.Background(), s)
			if err != nil {
				t.Fatal(err)
			}
			w.named(t, w.read(t, s, how), hurt, how)
			if kind == pack.KindData {
				mustScrub(t, s, Options{Repair: true}, how)
				w.whole(t, s, how)
			}
		})
	}
	for how := range wrongPlaces {
		try(pack.KindData, how, "verify")
	}
	for by := range finders {
		if by != "verify" {
			try(pack.KindData, "another pack", by)
			try(pack.KindData, "nothing", by)
		}
	}
	for _, by := range []string{"verify", "validation", "scrub of the VM"} {
		try(pack.KindRegionMap, "a pack that is none", by)
		try(pack.KindDiskMap, "another record", by)
	}
}

func stateOf(t *testing.T, s *chunkstore.Store, c content) chunkstore.Validation {
	t.Helper()
	st, err := State(s, c.vm, c.id)
	if err != nil {
		t.Fatal(err)
	}
	return st.State
}

// TestVerifyMissesPacks: entries that lead into a pack that is in the trash, in
// quarantine or nowhere are damage, though the pack was proved.
func TestVerifyMissesPacks(t *testing.T) {
	_, mem, c, parts := provedWorld(t)
	before := &world{files: map[string][]byte{}}
	before.load(t, mem, "/store")
	id := parts[pack.KindData][0]
	for _, to := range []string{"trash", "quarantine", ""} {
		t.Run("to "+to, func(t *testing.T) {
			mem := vfs.NewMem()
			before.put(t, mem)
			var n uint64
			changeIndex(t, mem, func(all places, _ func(k, v []byte)) { n = all[id].pack })
			name := fmt.Sprintf("%016x.pack", n)
			from := ""
			for p := range before.files {
				if strings.HasSuffix(p, name) {
					from = p
				}
			}
			s := openWorld(t, mem) // open, so that Open does not see it
			defer s.Close()
			if to == "" {
				if err := mem.Remove(from); err != nil {
					t.Fatal(err)
				}
			} else if err := errors.Join(mem.MkdirAll(path.Join("/store", to), 0o755), mem.Rename(from, path.Join("/store", to, name))); err != nil {
				t.Fatal(err)
			}
			if r := mustVerify(t, s, c, Options{}); r.State != chunkstore.Hurt.String() {
				t.Errorf("the version is %s", r.State)
			}
			if ok, err := s.Damaged(id); !ok || err != nil {
				t.Errorf("the chunk is not damaged: %v", err)
			}
		})
	}
}

// TestVerifyOfSecondRecords: a chunk of which two packs have a record is whole where
// the index leads to either, and not where it leads beside one of them.
func TestVerifyOfSecondRecords(t *testing.T) {
	w, mem, c, parts := provedWorld(t)
	id := parts[pack.KindData][0]
	var was, twin spot
	changeIndex(t, mem, func(all places, set func(k, v []byte)) {
		was = all[id]
		set(chunkAt(id), nil) // then a capture stores it once more
	})
	s := openWorld(t, mem)
	again := w.clone()
	again.capture(t, s, "twin", 200, c.b)
	mustScrub(t, s, Options{Deep: true, Repair: true}, "both")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	changeIndex(t, mem, func(all places, _ func(k, v []byte)) { twin = all[id] })
	if was == twin {
		t.Fatal("there is one record only")
	}
	for _, try := range []struct {
		name string
		at   spot
		want chunkstore.Validation
	}{
		{"the first", was, chunkstore.Valid},
		{"the second", twin, chunkstore.Valid},
		{"beside the second", spot{twin.pack, twin.offset + 8, was.len}, chunkstore.Hurt},
	} {
		changeIndex(t, mem, func(_ places, set func(k, v []byte)) { set(chunkAt(id), try.at.bytes()) })
		s := openWorld(t, mem)
		r := mustVerify(t, s, c, Options{})
		if r.State != try.want.String() {
			t.Errorf("%s: the version is %s", try.name, r.State)
		}
		if try.want == chunkstore.Hurt {
			mustScrub(t, s, Options{Repair: true}, try.name)
			again.whole(t, s, try.name)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestVerifyGoesOnBehindMaps: a map that can't be read once, and then comes back, keeps
// no pack of the version from being proved before it is called valid, and none of a VM
// that is scrubbed; while it can't be read nothing is called valid.
func TestVerifyGoesOnBehindMaps(t *testing.T) {
	for _, kind := range []pack.Kind{pack.KindDiskMap, pack.KindRegionMap} {
		for _, by := range []string{"verify", "scrub --vm"} {
			t.Run(fmt.Sprintf("%v, %s", kind, by), func(t *testing.T) {
				w, mem := newWorld(t), vfs.NewMem()
				w.put(t, mem)
				var s *chunkstore.Store
				var bad atomic.Pointer[string] // the index's own reads come at any time
				fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
					if path := bad.Load(); path == nil || op.Path != *path || op.Kind != errorfs.OpFileReadAt {
						return nil
					}
					if found, _ := s.DamageChanges(); found > 0 { // once it was told
						return nil
					}
					return syscall.EIO
				}))
				s = openWorld(t, fsys)
				defer s.Close()
				c := w.versions[len(w.versions)-1]
				n, ok, err := s.PackOf(chunksOf(t, s, c.vm, c.id)[kind][0])
				if err != nil || !ok {
					t.Fatal(ok, err)
				}
				for p := range w.files {
					if strings.HasSuffix(p, fmt.Sprintf("%016x.pack", n)) {
						bad.Store(&p)
					}
				}
				if by == "verify" {
					if r := mustVerify(t, s, c, Options{}); r.State != chunkstore.Valid.String() {
						t.Errorf("it is %s: %+v", r.State, r.Hurt.Chunks)
					}
				} else {
					mustScrub(t, s, Options{VM: c.vm}, by)
				}
				if found, now := s.DamageChanges(); found == 0 || now > 0 {
					t.Fatalf("damage was found %d times, and %d is left", found, now)
				}
				used, err := packsOf(context.Background(), s, c.vm)
				if err != nil {
					t.Fatal(err)
				}
				all := proofs(t, s)
				for n := range used {
					if all[n].Result != chunkstore.PackWhole {
						t.Errorf("pack %016x is %v", n, all[n].Result)
					}
				}
			})
		}
	}
}

// TestScrubOfVMTellsCopies: what the first round of a scrub of a VM brings back is in
// the report of the last.
func TestScrubOfVMTellsCopies(t *testing.T) {
	_, mem, c, parts := provedWorld(t)
	id := parts[pack.KindData][0]
	changeIndex(t, mem, func(all places, set func(k, v []byte)) {
		set(chunkAt(id), all[neighbour(id, all, false)].bytes())
	})
	s := openWorld(t, mem)
	defer s.Close()
	r := mustScrub(t, s, Options{VM: c.vm, Repair: true}, "VM")
	if hurt, err := s.Damaged(id); r.Copies != 1 || hurt || err != nil {
		t.Errorf("%d copies, want 1; damaged %v, %v; %s", r.Copies, hurt, err, describe(r))
	}
}
