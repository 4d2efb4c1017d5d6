package fs

import (
	"context"
	"testing"
	"time"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
)

// rehearsal is a tree of a store whose VM has two versions that share no map, and which
// nobody has mounted.
func rehearsal(t *testing.T) (tr *tree, s *testStore, old, newest *catalog.Version) {
	t.Helper()
	s = newStore(t)
	old = commit(t, s, "web", day, newContent("vda", 12*disk.RegionSize, 5))
	newest = commit(t, s, "web", day.Add(time.Hour), newContent("vda", 12*disk.RegionSize, 6))
	tr, err := newTree(s, Options{NoPush: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.close)
	return tr, s, old, newest
}

// mapsMissing loads the maps of a version's disk and returns how many were not there.
func mapsMissing(t *testing.T, tr *tree, s *testStore, v *catalog.Version) int64 {
	t.Helper()
	d, err := disk.Open(tr.chunks, tr.maps, v.Disks[0].Map)
	if err != nil {
		t.Fatal(err)
	}
	before := s.gets.Load()
	d.LoadMaps(t.Context())
	return s.gets.Load() - before
}

// TestRehearse: the maps of the newest version are there afterwards, those of another are
// not, some of the disk was read, and nothing counts as read by somebody.
func TestRehearse(t *testing.T) {
	tr, s, old, newest := rehearsal(t)
	tr.rehearse(t.Context())
	if n := tr.chunks.Stats().Misses; n == 0 || n > 2*rehearseReads {
		t.Errorf("%d chunks or parts were loaded for %d reads", n, rehearseReads)
	}
	if n := mapsMissing(t, tr, s, newest); n != 0 {
		t.Errorf("%d maps of the newest version were not there", n)
	}
	if n := mapsMissing(t, tr, s, old); n < 10 {
		t.Errorf("only %d maps of the version before were not there", n)
	}
	if n := tr.count.readers(); n != 0 {
		t.Errorf("it counts as %d requests of readers", n)
	}
}

// TestRehearseIsBounded: maps are loaded of no more data than there is room for, while a
// little of the disk is read; and no more than so many VMs are looked at.
func TestRehearseIsBounded(t *testing.T) {
	tr, s, _, v := rehearsal(t)
	d := &v.Disks[0]
	if n := tr.rehearseDisk(t.Context(), v, d, d.Map.DataBytes-1); n != 0 {
		t.Errorf("it used %d of less room than it needs", n)
	}
	if n := mapsMissing(t, tr, s, v); n == 0 {
		t.Error("all maps are there")
	}
	if n := tr.rehearseDisk(t.Context(), v, d, d.Map.DataBytes); n != d.Map.DataBytes {
		t.Errorf("it used %d of the room, of %d", n, d.Map.DataBytes)
	}

	var last *catalog.Version
	for i := range rehearseVMs {
		last = commit(t, s, "web"+string(rune('0'+i)), day, newContent("vda", 12*disk.RegionSize, uint64(10+i)))
	}
	tr.rehearse(t.Context())
	if n := mapsMissing(t, tr, s, last); n == 0 {
		t.Errorf("VM %d by name was looked at", rehearseVMs+1)
	}
}

// TestRehearseGivesWay: to who reads, and to the end of the mount.
func TestRehearseGivesWay(t *testing.T) {
	tr, s, _, _ := rehearsal(t)
	over, stop := context.WithCancel(t.Context())
	stop()
	before := s.gets.Load()
	tr.rehearse(over)
	tr.count.reads.Add(1)
	tr.rehearse(t.Context())
	if n := s.gets.Load() - before; n != 0 {
		t.Errorf("%d chunks were asked for", n)
	}
}

// TestRehearseEndsWithItsMount: also while the store does not answer.
func TestRehearseEndsWithItsMount(t *testing.T) {
	_, s, _, _ := rehearsal(t)
	hold := make(chan struct{})
	s.mu.Lock()
	s.hold = hold
	s.mu.Unlock()
	before := s.gets.Load()
	m := mountTest(t, s, Options{NoPush: true, Rehearse: true})
	waitFor(t, "the first map to be asked for", func() bool { return s.gets.Load() > before })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := m.Unmount(ctx, time.Minute); err != nil {
		t.Error(err)
	}
	m.Wait()
	m.tree.ahead.begin(func(context.Context) { t.Error("something begins after the end") })
	close(hold)
}
