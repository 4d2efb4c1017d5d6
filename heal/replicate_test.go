package heal

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/pack"
)

// formatsIn returns the store formats that the records of a store's packs ask for.
func formatsIn(t testing.TB, fsys vfs.FS) map[int]int {
	t.Helper()
	n := map[int]int{}
	for _, path := range packPaths(t, fsys) {
		b := readFile(t, fsys, path)
		if _, _, err := pack.Scan(bytes.NewReader(b), int64(len(b)), func(_ pack.Entry, rec []byte) error {
			r, err := pack.CheckStored(rec)
			n[r.Format()]++
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// TestHealAcrossFormats: two stores of one key and other formats, of which each lacks what
// the other has, mend each other, and each holds what it can hold; then the newer one takes
// a version of the older one as it is stored.
func TestHealAcrossFormats(t *testing.T) {
	for format := 1; format < chunkstore.FormatVersion; format++ {
		a, b := vfs.NewMem(), vfs.NewMem()
		if _, err := chunkstore.Create("/store", chunkstore.CreateOptions{FS: a, Format: format}); err != nil {
			t.Fatal(err)
		}
		src := openWorld(t, a)
		newReplica(t, b, src)
		dst := openWorld(t, b)
		noise := make([]byte, 2<<20)
		rand.NewChaCha8([32]byte{5}).Read(noise)
		var w *world
		for _, s := range []*chunkstore.Store{src, dst} {
			w = &world{}
			w.capture(t, s, "vm", 1, bytes.Repeat([]byte("all of one line, "), 70000))
			w.capture(t, s, "vm", 2, noise)
		}
		closeBoth(t, src, dst)
		lostA := loseChunks(t, a, func(i int) bool { return i%2 == 0 })
		lostB := loseChunks(t, b, func(i int) bool { return i%2 == 1 })
		if lostA == 0 || lostB == 0 {
			t.Fatal("nothing was hurt")
		}
		src, dst = openTwins(t, a, b)
		for i, s := range []*chunkstore.Store{src, dst} {
			if rep := mustScrub(t, s, Options{Repair: true}, "together"); rep.Left.Exists() {
				t.Fatalf("format %d, store %d: %s", format, i, describe(rep))
			}
		}
		src.SetDonors(nil)
		dst.SetDonors(nil)
		w.whole(t, src, "the older one")
		w.whole(t, dst, "the newer one")
		noise = bytes.Clone(noise)
		rand.NewChaCha8([32]byte{6}).Read(noise[:1<<20])
		w.capture(t, src, "vm", 3, noise)
		mustReplicate(t, src, dst, ReplicateOptions{}, "to a newer format")
		w.whole(t, dst, "the newer one with one more")
		closeBoth(t, src, dst)
		for f, n := range formatsIn(t, a) {
			if f > format {
				t.Errorf("a store of format %d holds %d records of format %d", format, n, f)
			}
		}
		if n := formatsIn(t, b); n[chunkstore.FormatVersion] == 0 || n[1]+n[2] == 0 {
			t.Errorf("the newer store holds %v", n)
		}
	}
}

// newReplica makes an empty store on a filesystem with the key of another.
func newReplica(t testing.TB, fsys vfs.FS, of *chunkstore.Store) {
	t.Helper()
	cfg := of.Config()
	if _, err := chunkstore.Create("/store", chunkstore.CreateOptions{FS: fsys, Key: &cfg.Key}); err != nil {
		t.Fatal(err)
	}
}

// pair opens the world's store and a replica of it, each on a disk of its own.
func pair(t testing.TB, w *world) (src, dst *chunkstore.Store) {
	t.Helper()
	a, b := vfs.NewMem(), vfs.NewMem()
	w.put(t, a)
	src = openWorld(t, a)
	newReplica(t, b, src)
	dst = openWorld(t, b)
	t.Cleanup(func() {
		if err := errors.Join(src.Close(), dst.Close()); err != nil {
			t.Error(err)
		}
	})
	return src, dst
}

func mustReplicate(t testing.TB, src *chunkstore.Store, dst Replica, opts ReplicateOptions, where string) *ReplicateReport {
	t.Helper()
	r, err := Replicate(context.Background(), src, dst, opts)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	return r
}

// TestReplicate copies a store, then nothing, then one version more.
func TestReplicate(t *testing.T) {
	w := newWorld(t)
	src, dst := pair(t, w)
	dry := mustReplicate(t, src, dst, ReplicateOptions{DryRun: true}, "dry run")
	if st, err := dst.Stats(context.Background()); err != nil || st.Chunks != 0 || dry.Copied != len(w.versions) {
		t.Fatalf("a dry run left %d chunks, %v; %+v", st.Chunks, err, dry)
	}
	first := mustReplicate(t, src, dst, ReplicateOptions{}, "first")
	if first.Copied != len(w.versions) || first.Chunks == 0 || first.Verified != first.Chunks {
		t.Fatalf("first: %+v", first)
	}
	w.whole(t, dst, "replica")
	a, b := statsOf(t, src), statsOf(t, dst)
	if b.StoredBytes != a.StoredBytes || b.Chunks != a.Chunks {
		t.Fatalf("the replica has %d chunks in %d bytes, the source %d in %d", b.Chunks, b.StoredBytes, a.Chunks, a.StoredBytes)
	}
	second := mustReplicate(t, src, dst, ReplicateOptions{}, "second")
	if second.Copied != 0 || second.Chunks != 0 || second.There != len(w.versions) {
		t.Fatalf("second: %+v", second)
	}
	last := w.versions[2].b
	next := bytes.Clone(last)
	copy(next[2<<20:], "one more thing")
	w.capture(t, src, "vm", 30, next)
	third := mustReplicate(t, src, dst, ReplicateOptions{VMs: []string{"vm"}}, "third")
	// One chunk of data, its region map, the node above: the root is no chunk that travels.
	if third.Copied != 1 || third.Chunks != 3 {
		t.Fatalf("third: %+v", third)
	}
	w.whole(t, dst, "replica with one more")
	if _, err := Replicate(context.Background(), src, dst, ReplicateOptions{VMs: []string{"nobody"}}); !errors.Is(err, catalog.ErrNoVM) {
		t.Fatalf("a VM that is not there: %v", err)
	}
}

func statsOf(t testing.TB, s *chunkstore.Store) chunkstore.Stats {
	t.Helper()
	st, err := s.Stats(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestReplicateRefuses: a store with another key, and the store itself.
func TestReplicateRefuses(t *testing.T) {
	w := newWorld(t)
	src, _ := pair(t, w)
	other := vfs.NewMem()
	if _, err := chunkstore.Create("/store", chunkstore.CreateOptions{FS: other}); err != nil {
		t.Fatal(err)
	}
	s := openWorld(t, other)
	defer s.Close()
	if _, err := Replicate(context.Background(), src, s, ReplicateOptions{}); !errors.Is(err, ErrOtherKey) {
		t.Fatalf("to a store with another key: %v", err)
	}
	key := src.Config().Key
	for format := 1; format < chunkstore.FormatVersion; format++ {
		older := vfs.NewMem()
		if _, err := chunkstore.Create("/store", chunkstore.CreateOptions{FS: older, Key: &key, Format: format}); err != nil {
			t.Fatal(err)
		}
		o := openWorld(t, older)
		defer o.Close()
		if _, err := Replicate(context.Background(), src, o, ReplicateOptions{}); !errors.Is(err, ErrOlderFormat) {
			t.Fatalf("to a store of format %d: %v", format, err)
		}
	}
	if _, err := Replicate(context.Background(), src, src, ReplicateOptions{}); err == nil {
		t.Fatal("a store was replicated to itself")
	}
}

// TestMapAloneProvesNothing: a replica that has all maps and none of the data,
// as a copy leaves it that was stopped, is filled.
func TestMapAloneProvesNothing(t *testing.T) {
	w := newWorld(t)
	src, dst := pair(t, w)
	ctx := context.Background()
	ses, err := dst.Begin(ctx, "maps only")
	if err != nil {
		t.Fatal(err)
	}
	maps := 0
	walk := newWalk(src)
	err = walk.versions(ctx, "", func(v version, err error) error {
		if err != nil {
			return err
		}
		return allMaps(ctx, walk, v, func(id pack.ID) error {
			b, err := src.ProvedRecord(ctx, id)
			if err != nil {
				return err
			}
			rec, err := pack.CheckStored(b)
			if err != nil {
				return err
			}
			maps++
			_, err = ses.Put(ctx, []pack.Record{rec})
			return err
		})
	})
	if err = errors.Join(err, ses.Close(), dst.Sync(ctx)); err != nil || maps == 0 {
		t.Fatal(maps, err)
	}
	mustReplicate(t, src, dst, ReplicateOptions{}, "onto maps")
	w.whole(t, dst, "replica that had the maps")
}

// TestReplicateMendsTheReplica: what the replica knows to have lost travels
// again, also for versions that it has.
func TestReplicateMendsTheReplica(t *testing.T) {
	w := newWorld(t)
	a, b := vfs.NewMem(), vfs.NewMem()
	w.put(t, a)
	src := openWorld(t, a)
	defer src.Close()
	newReplica(t, b, src)
	dst := openWorld(t, b)
	mustReplicate(t, src, dst, ReplicateOptions{}, "first")
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
	removePacks(t, b, 2)
	dst = openWorld(t, b)
	defer dst.Close()
	if rep := mustScrub(t, dst, Options{}, "damaged replica"); !rep.Left.Exists() {
		t.Fatal("the lost packs were not found")
	}
	rep := mustReplicate(t, src, dst, ReplicateOptions{}, "again")
	if rep.Chunks == 0 || rep.Copied != 0 {
		t.Fatalf("again: %+v", rep)
	}
	mustScrub(t, dst, Options{Repair: true}, "mended replica")
	w.whole(t, dst, "mended replica")
	if rep := mustReplicate(t, src, dst, ReplicateOptions{}, "at last"); rep.Chunks != 0 || rep.There != len(w.versions) {
		t.Fatalf("at last: %+v", rep)
	}
}

// TestReplicateDamagedSource: a version with damage is named and not copied;
// the others are.
func TestReplicateDamagedSource(t *testing.T) {
	w := newWorld(t)
	a, b := vfs.NewMem(), vfs.NewMem()
	w.put(t, a)
	s := openWorld(t, a)
	newReplica(t, b, s)
	hurtData(t, s, a, "other")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	src, dst := openWorld(t, a), openWorld(t, b)
	defer src.Close()
	defer dst.Close()
	rep := mustReplicate(t, src, dst, ReplicateOptions{}, "damaged source")
	if rep.Damaged == 0 || rep.Copied+rep.Damaged != len(w.versions) || rep.Copied == 0 {
		t.Fatalf("damaged source: %+v", rep)
	}
	for _, v := range rep.Versions {
		_, err := catalog.Get(context.Background(), dst, v.VM, v.Version)
		if there := err == nil; there != (v.State == VersionCopied) {
			t.Fatalf("%s@%s is %s, and there: %v", v.VM, v.Version, v.State, there)
		}
		if v.State == VersionDamaged && !strings.Contains(v.Text, "chunk ") {
			t.Fatalf("the damage is called %q", v.Text)
		}
	}
}

// TestForgottenVersionsStay: what is forgotten here does not travel, and what the
// replica was told to forget does not come back to it.
func TestForgottenVersionsStay(t *testing.T) {
	w := newWorld(t)
	src, dst := pair(t, w)
	ctx := context.Background()
	first, second := w.versions[0], w.versions[1]
	if _, err := catalog.Forget(ctx, src, first.vm, first.id); err != nil {
		t.Fatal(err)
	}
	if rep := mustReplicate(t, src, dst, ReplicateOptions{}, "one forgotten here"); rep.Copied != len(w.versions)-1 {
		t.Fatalf("one forgotten here: %+v", rep)
	}
	if _, err := dst.Root(ctx, catalog.RootName(first.vm, first.id)); !errors.Is(err, chunkstore.ErrNotFound) {
		t.Fatalf("a forgotten version travelled: %v", err)
	}
	if _, err := catalog.Forget(ctx, dst, second.vm, second.id); err != nil {
		t.Fatal(err)
	}
	rep := mustReplicate(t, src, dst, ReplicateOptions{}, "one forgotten there")
	if rep.Copied != 0 || rep.Failed != 0 || len(rep.Versions) != 1 || rep.Versions[0].State != VersionForgotten {
		t.Fatalf("one forgotten there: %+v", rep)
	}
}

// lyingReplica gives other bytes than it has stored.
type lyingReplica struct {
	*chunkstore.Store
	stored, own bool // which of its answers are wrong
	asked       int  // of OwnRecords
}

func (r *lyingReplica) StoredRecords(ctx context.Context, ids []chunkstore.ID) ([][]byte, error) {
	recs, err := r.Store.StoredRecords(ctx, ids)
	return spoiled(recs, r.stored), err
}

func (r *lyingReplica) OwnRecords(ctx context.Context, ids []chunkstore.ID) ([][]byte, error) {
	r.asked += len(ids)
	recs, err := r.Store.OwnRecords(ctx, ids)
	return spoiled(recs, r.own), err
}

// spoiled turns a bit of the first record.
func spoiled(recs [][]byte, lie bool) [][]byte {
	if lie && len(recs) > 0 {
		recs[0] = bytes.Clone(recs[0])
		recs[0][len(recs[0])-1] ^= 1
	}
	return recs
}

// TestReadBackProves: bytes that are not those that were put are believed only
// where they prove to be the chunk.
func TestReadBackProves(t *testing.T) {
	w := newWorld(t)
	for _, lie := range []lyingReplica{{}, {stored: true}, {own: true}, {stored: true, own: true}} {
		src, dst := pair(t, w)
		lie.Store = dst
		r, err := Replicate(context.Background(), src, &lie, ReplicateOptions{})
		if bad := lie.stored && lie.own; (err != nil) != bad || lie.asked > 0 != lie.stored {
			t.Errorf("stored lies %v, own %v: %v, %d asked for again", lie.stored, lie.own, err, lie.asked)
		} else if !bad && (r.Verified != r.Chunks || r.Copied != len(w.versions)) {
			t.Errorf("stored lies %v: %+v", lie.stored, r)
		}
	}
}
