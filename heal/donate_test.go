package heal

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// storeDonor is a store as another one's donor.
type storeDonor struct {
	*chunkstore.Store
	asked atomic.Int64
}

func (d *storeDonor) Name() string { return "/replica" }

func (d *storeDonor) OwnRecords(ctx context.Context, ids []chunkstore.ID) ([][]byte, error) {
	d.asked.Add(int64(len(ids)))
	return d.Store.OwnRecords(ctx, ids)
}

// twins makes two stores with the same versions.
func twins(t testing.TB, w *world) (a, b *vfs.MemFS) {
	t.Helper()
	a, b = vfs.NewMem(), vfs.NewMem()
	w.put(t, a)
	replicaOf(t, w).put(t, b)
	return a, b
}

// replicaOf returns a full replica of the world that all tests begin with.
func replicaOf(t testing.TB, w *world) *world {
	t.Helper()
	made.Lock()
	defer made.Unlock()
	if made.replica == nil {
		a, b := vfs.NewMem(), vfs.NewMem()
		w.put(t, a)
		src := openWorld(t, a)
		newReplica(t, b, src)
		dst := openWorld(t, b)
		mustReplicate(t, src, dst, ReplicateOptions{}, "twins")
		if err := errors.Join(src.Close(), dst.Close()); err != nil {
			t.Fatal(err)
		}
		r := &world{files: map[string][]byte{}}
		r.load(t, b, "/store")
		made.replica = r
	}
	return made.replica.clone()
}

func openTwins(t testing.TB, a, b vfs.FS) (src, dst *chunkstore.Store) {
	t.Helper()
	src, dst = openWorld(t, a), openWorld(t, b)
	src.SetDonors([]chunkstore.Donor{&storeDonor{Store: dst}})
	dst.SetDonors([]chunkstore.Donor{&storeDonor{Store: src}})
	return src, dst
}

func closeBoth(t testing.TB, a, b *chunkstore.Store) {
	t.Helper()
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Error(err)
	}
}

// TestHealFromReplica: packs gone and spoilt beyond parity come back whole.
func TestHealFromReplica(t *testing.T) {
	w := newWorld(t)
	a, b := twins(t, w)
	removePacks(t, a, 2)
	for i, path := range packPaths(t, a) {
		if i%2 == 0 {
			spoil(t, a, path)
		}
	}
	src, dst := openTwins(t, a, b)
	defer closeBoth(t, src, dst)
	if failed := w.read(t, src, "damaged"); len(failed) > 0 {
		t.Fatalf("can't be read with a replica: %v", failed)
	}
	plan := mustScrub(t, src, Options{Repair: true, DryRun: true}, "plan")
	if plan.Donated == 0 || !plan.Left.Exists() {
		t.Fatalf("plan: donors %+v; %s", plan.Donors, describe(plan))
	}
	rep := mustScrub(t, src, Options{Repair: true}, "repair")
	if rep.Left.Exists() || rep.Donated < plan.Donated || len(rep.RepairErrors) > 0 {
		t.Fatalf("repair: donors %+v, planned %d; %s", rep.Donors, plan.Donated, describe(rep))
	}
	src.SetDonors(nil)
	w.whole(t, src, "mended, without the replica")
	healed := 0
	_, err := src.HealLog(func(e chunkstore.Event) error {
		if e.Event == chunkstore.EventHealed && e.Donor == "replica /replica" && len(e.Chunk) == 64 && e.New != "" {
			healed++
		}
		return nil
	})
	if err != nil || healed != rep.Donated {
		t.Fatalf("the log has %d heals from the replica, want %d; %v", healed, rep.Donated, err)
	}
}

// TestTwoDamagedStores: each holds what the other lacks.
func TestTwoDamagedStores(t *testing.T) {
	w := newWorld(t)
	a, b := twins(t, w)
	lostA := loseChunks(t, a, func(i int) bool { return i%2 == 0 })
	lostB := loseChunks(t, b, func(i int) bool { return i%2 == 1 })
	if lostA == 0 || lostB == 0 {
		t.Fatal("nothing was hurt")
	}
	src, dst := openWorld(t, a), openWorld(t, b)
	defer closeBoth(t, src, dst)
	for _, s := range []*chunkstore.Store{src, dst} {
		if rep := mustScrub(t, s, Options{Repair: true}, "alone"); !rep.Left.Exists() {
			t.Fatal("alone, a store with lost chunks was mended")
		}
	}
	src.SetDonors([]chunkstore.Donor{&storeDonor{Store: dst}})
	dst.SetDonors([]chunkstore.Donor{&storeDonor{Store: src}})
	for i, s := range []*chunkstore.Store{src, dst} {
		if rep := mustScrub(t, s, Options{Repair: true}, "together"); rep.Left.Exists() {
			t.Fatalf("store %d: %s", i, describe(rep))
		}
	}
	src.SetDonors(nil)
	dst.SetDonors(nil)
	w.whole(t, src, "first")
	w.whole(t, dst, "second")
}

// loseChunks spoils the records of those chunks whose place in the order of all
// ids fits, and says how many.
func loseChunks(t testing.TB, fsys vfs.FS, which func(int) bool) (n int) {
	t.Helper()
	var all []string
	at := map[string][2]any{}
	files := map[string][]byte{}
	for _, path := range packPaths(t, fsys) {
		b := readFile(t, fsys, path)
		files[path] = b
		_, entries, err := pack.ReadFooter(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Kind == pack.KindRoot {
				continue
			}
			all = append(all, e.ID.String())
			at[e.ID.String()] = [2]any{path, e}
		}
	}
	slices.Sort(all)
	for i, id := range all {
		if !which(i) {
			continue
		}
		path, e := at[id][0].(string), at[id][1].(pack.Entry)
		clear(files[path][int(e.Offset) : int(e.Offset)+e.RecordLen()])
		n++
	}
	for path, b := range files {
		writeFile(t, fsys, path, b)
	}
	return n
}

// hostileDonor gives what is asked for, but not it.
type hostileDonor struct {
	*chunkstore.Store
	how string
}

func (d *hostileDonor) Name() string { return "hostile " + d.how }

func (d *hostileDonor) OwnRecords(ctx context.Context, ids []chunkstore.ID) ([][]byte, error) {
	recs, err := d.Store.OwnRecords(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i := range recs {
		if recs[i] == nil {
			continue
		}
		switch d.how {
		case "wrong bytes with right sums":
			recs[i] = d.Codec().Encode(nil, pack.KindData, ids[i], bytes.Repeat([]byte{byte(i)}, 4096)).Bytes
		case "swapped records":
			recs[i] = recs[len(recs)-1-i]
			if len(recs) == 1 {
				recs[i] = d.Codec().Encode(nil, pack.KindData, d.ID([]byte("x")), []byte("x")).Bytes
			}
		case "a version's record":
			plain, derr := d.Codec().Decode(nil, recs[i], ids[i])
			if derr != nil {
				return nil, derr
			}
			recs[i] = d.Codec().Encode(nil, pack.KindRoot, ids[i], plain).Bytes
		case "too much":
			recs[i] = append(recs[i], 0)
		case "too little":
			recs[i] = recs[i][:len(recs[i])-1]
		case "nothing":
			recs[i] = []byte{}
		case "few answers":
			return recs[:len(recs)-1], nil
		case "errors":
			return nil, errors.New("input/output error")
		}
	}
	return recs, nil
}

// TestHostileDonor: nothing that a donor makes up is served or stored, and a
// store whose donor is bad fails no harder than one without.
func TestHostileDonor(t *testing.T) {
	w := newWorld(t)
	a, b := twins(t, w)
	removePacks(t, a, 1)
	var before []span // what can't be read without a donor
	for _, how := range []string{"wrong bytes with right sums", "a version's record", "too much", "too little", "nothing", "few answers", "errors", "swapped records"} {
		src, dst := openWorld(t, a), openWorld(t, b)
		if before == nil {
			before = w.read(t, src, "alone")
		}
		src.SetDonors([]chunkstore.Donor{&hostileDonor{dst, how}})
		if failed := w.read(t, src, how); len(failed) != len(before) || len(failed) == 0 {
			t.Fatalf("%s: %d reads failed, %d without the donor", how, len(failed), len(before))
		}
		rep := mustScrub(t, src, Options{Repair: true}, how)
		if how == "swapped records" { // where a batch has an odd length, the one in the middle is right
			if !rep.Left.Exists() && rep.Donated == 0 {
				t.Fatalf("%s: %s", how, describe(rep))
			}
		} else if rep.Donated != 0 || !rep.Left.Exists() {
			t.Fatalf("%s: %d chunks were taken; %s", how, rep.Donated, describe(rep))
		}
		src.SetDonors(nil)
		w.named(t, w.read(t, src, how), &rep.Left, how)
		closeBoth(t, src, dst)
	}
}

// stuckDonor never answers and does not look at its context.
type stuckDonor struct {
	until chan struct{}
	asked atomic.Int64
}

func (*stuckDonor) Name() string { return "stuck" }
func (d *stuckDonor) OwnRecords(context.Context, []chunkstore.ID) ([][]byte, error) {
	d.asked.Add(1)
	<-d.until
	return nil, errors.New("too late")
}

// TestStuckDonor: a read waits for a donor that is stuck once, for a bounded
// time, then asks the next, and leaves the stuck one alone for a while.
func TestStuckDonor(t *testing.T) {
	w := newWorld(t)
	a, b := twins(t, w)
	removePacks(t, a, 1)
	dst := openWorld(t, b)
	src, err := chunkstore.Open("/store", chunkstore.Options{FS: a, PackSize: testPack, DonorWait: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer closeBoth(t, src, dst)
	stuck := &stuckDonor{until: make(chan struct{})}
	defer close(stuck.until)
	src.SetDonors([]chunkstore.Donor{stuck, &storeDonor{Store: dst}})
	began := time.Now()
	if failed := w.read(t, src, "stuck"); len(failed) > 0 {
		t.Fatalf("can't be read: %v", failed)
	}
	// It rests for 30 s after each time.
	if n, most := stuck.asked.Load(), 1+int64(time.Since(began)/(30*time.Second)); n < 1 || n > most {
		t.Fatalf("the stuck donor was asked %d times in %v", n, time.Since(began))
	}
}

// TestHealFromLiveSource: lost data comes back from the image that was captured,
// where it still holds it, and nowhere else.
func TestHealFromLiveSource(t *testing.T) {
	w := newWorld(t)
	a := vfs.NewMem()
	w.put(t, a)
	s := openWorld(t, a)
	hurtData(t, s, a, "vm")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openWorld(t, a)
	defer s.Close()
	dir := t.TempDir()
	live := filepath.Join(dir, "live.raw")
	if err := os.WriteFile(live, w.versions[0].b, 0o600); err != nil {
		t.Fatal(err)
	}
	before := mustScrub(t, s, Options{}, "before")
	wrong := mustScrub(t, s, Options{Repair: true, From: []LiveSource{{Disk: "b", Path: live}, {Path: filepath.Join(dir, "none")}}}, "another disk")
	if wrong.Donated != 0 || len(wrong.Donors) != 2 || !strings.Contains(wrong.Donors[1].Error, "none") {
		t.Fatalf("another disk: %+v", wrong.Donors)
	}
	plan := mustScrub(t, s, Options{Repair: true, DryRun: true, From: []LiveSource{{Disk: "a", Path: live}}}, "plan")
	rep := mustScrub(t, s, Options{Repair: true, From: []LiveSource{{Disk: "a", Path: live}}}, "live")
	if rep.Donated == 0 || rep.Donated != plan.Donated || len(rep.Left.Chunks) >= len(before.Left.Chunks) {
		t.Fatalf("live: planned %d, %+v; %d chunks before, %s", plan.Donated, rep.Donors, len(before.Left.Chunks), describe(rep))
	}
	w.named(t, w.read(t, s, "live"), &rep.Left, "live")
	for i, c := range w.versions {
		if err := os.WriteFile(live, c.b, 0o600); err != nil {
			t.Fatal(err)
		}
		rep = mustScrub(t, s, Options{Repair: true, From: []LiveSource{{Path: live}}}, "live, again")
		if i == len(w.versions)-1 && rep.Left.Exists() {
			t.Fatalf("with all sources: %s", describe(rep))
		}
	}
	w.whole(t, s, "healed from sources")
}
