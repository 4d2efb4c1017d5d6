package heal

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
	"holdfast/heal/background"
)

// TestWrongLengths: a pack that is longer or shorter than it was is named by a
// scrub, quick or deep, and by no word that isn't so; with a replica it is whole
// again.
func TestWrongLengths(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	replicaOf(t, w).put(t, mem)
	donor := openWorld(t, mem)
	defer donor.Close()
	path := w.packs()[len(w.packs())/2]
	number := strings.TrimSuffix(path[strings.LastIndexByte(path, '/')+1:], ".pack")
	size := len(w.files[path])
	for i, n := range []int{size + 1, size + 4096, size - 1, size - pack.TrailerLen, size / 2, pack.HeaderLen, 1, 0} {
		mem := vfs.NewMem()
		w.put(t, mem)
		b := append(append([]byte(nil), w.files[path]...), make([]byte, 4096)...)
		writeFile(t, mem, path, b[:n])
		s := openWorld(t, mem)
		rep := mustScrub(t, s, Options{Deep: i%2 == 1}, path)
		named := false
		for _, f := range rep.Findings {
			named = named || f.Pack == number && f.Kind == FoundPack
			if f.Pack != number || f.Kind == FoundUnreadable {
				t.Errorf("%d bytes of %d: %+v", n, size, f)
			}
		}
		if !named || rep.Clean() {
			t.Errorf("%d bytes of %d are not named: %s", n, size, describe(rep))
		}
		w.named(t, w.read(t, s, path), &rep.Left, path)
		s.SetDonors([]chunkstore.Donor{&storeDonor{Store: donor}})
		mustScrub(t, s, Options{Repair: true}, path)
		s.SetDonors(nil)
		w.whole(t, s, path)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMapsThatDontResolve: a manifest that is none, and maps that are not there,
// that are of another kind or that are no maps, are found, named by version, and
// keep no other version from being valid.
func TestMapsThatDontResolve(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	w.put(t, mem)
	s := openWorld(t, mem)
	defer s.Close()
	ctx := context.Background()
	v, err := catalog.Get(ctx, s, w.versions[0].vm, w.versions[0].id)
	if err != nil {
		t.Fatal(err)
	}
	r, err := disk.Open(nil, disk.NewMaps(s, 0), v.Disks[0].Map)
	if err != nil {
		t.Fatal(err)
	}
	extents, err := r.RegionMap(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	region := pack.ID{}
	if err := r.Nodes(ctx, func(k pack.Kind, id pack.ID) error {
		if k == pack.KindRegionMap {
			region = id
		}
		return nil
	}); err != nil || region.IsZero() {
		t.Fatal(region, err)
	}
	commit := func(vm string, root pack.ID) {
		t.Helper()
		ses, err := s.Begin(ctx, "spoilt")
		if err != nil {
			t.Fatal(err)
		}
		if root.IsZero() {
			err = ses.Commit(ctx, catalog.RootName(vm, v.ID), []byte("no manifest"))
		} else {
			bad := *v
			bad.VM, bad.Disks = vm, append([]catalog.Disk(nil), v.Disks...)
			bad.Disks[0].Map.Root = root
			err = catalog.Commit(ctx, ses, &bad)
		}
		if err = errors.Join(err, ses.Close()); err != nil {
			t.Fatal(err)
		}
	}
	commit("rubbish", pack.ID{})
	commit("absent map", pack.ID{1, 2, 3})
	commit("data for a map", extents[0].ID)
	commit("region for a disk", region)
	rep := mustScrub(t, s, Options{}, "spoilt")
	for _, vm := range []string{"rubbish", "data for a map", "region for a disk"} {
		found := 0
		for _, f := range rep.Findings {
			if f.Kind == FoundVersion && f.VM == vm && f.Version == v.ID {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%s: found %d times; %s", vm, found, describe(rep))
		}
	}
	if len(rep.Left.Chunks) != 1 || rep.Left.Chunks[0].ID != (pack.ID{1, 2, 3}).String() || rep.Left.Chunks[0].Kind != "missing" ||
		len(rep.Left.Chunks[0].Uses) != 1 || rep.Left.Chunks[0].Uses[0].VM != "absent map" {
		t.Errorf("the map that is not there: %+v", rep.Left.Chunks)
	}
	for _, vm := range []string{"absent map", "data for a map", "region for a disk"} {
		if st, err := State(s, vm, v.ID); err != nil || st.State != chunkstore.Hurt {
			t.Errorf("%s is %v, %v", vm, st.State, err)
		}
	}
	if rep.Clean() {
		t.Error("the report is clean")
	}
	if got := w.states(t, s); got[chunkstore.Valid] != len(w.versions) {
		t.Errorf("the others: %v", got)
	}
	if failed := w.read(t, s, "beside spoilt versions"); len(failed) > 0 {
		t.Errorf("the others can't be read: %v", failed)
	}
}

// TestHealedReadsAreStored: what a read got by the help of a replica or of
// parity is stored durably by the background, of a store that was proved before
// it was hurt.
func TestHealedReadsAreStored(t *testing.T) {
	w := newWorld(t)
	a, b := twins(t, w)
	src, dst := openTwins(t, a, b)
	defer func() { closeBoth(t, src, dst) }()
	n := startNightly(src)
	defer func() { n.run.Stop() }()
	until(t, "a full cycle", func() bool { return n.run.Status()[0].LastFull != nil && n.is(background.Waiting)() })
	packs := w.packs()
	spoil(t, a, packs[len(packs)-1]) // beyond parity
	flipped := append([]byte(nil), w.files[packs[len(packs)-2]]...)
	flipped[len(flipped)/3] ^= 1 // within it
	writeFile(t, a, packs[len(packs)-2], flipped)
	if failed := w.read(t, src, "hurt"); len(failed) > 0 {
		t.Fatalf("can't be read with a replica: %v", failed)
	}
	n.run.Wake()
	until(t, "what was read is stored", func() bool {
		_, now := src.DamageChanges()
		whole := now == 0
		if err := src.KnownPacks(context.Background(), func(p chunkstore.KnownPack) error {
			whole = whole && p.Proof.Result == chunkstore.PackWhole
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return whole && n.is(background.Waiting)()
	})
	n.run.Stop()
	src.SetDonors(nil)
	w.whole(t, src, "without the replica")
}
