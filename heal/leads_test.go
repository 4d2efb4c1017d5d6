package heal

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/pack"
)

// damageLog counts the log's lines of damage: one is written for each read that is lost.
type damageLog struct{ n *atomic.Int64 }

func (l damageLog) Enabled(context.Context, slog.Level) bool { return true }
func (l damageLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "damage" {
		l.n.Add(1)
	}
	return nil
}
func (l damageLog) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l damageLog) WithGroup(string) slog.Handler      { return l }

// TestLostMapsAreReadOnce: of versions that share lost maps each map is read once to
// find that, and by no later scrub, and all that lies beside them is proved.
func TestLostMapsAreReadOnce(t *testing.T) {
	w, mem := newWorld(t), vfs.NewMem()
	w.put(t, mem)
	s := openWorld(t, mem)
	const versions, regions = 4, 8
	for i := range versions { // that share their maps but for the first region's
		b := make([]byte, regions<<22)
		for off := range regions {
			b[off<<22] = byte(off + 1)
		}
		b[100<<10] = byte(i + 1)
		w.capture(t, s, "big", 300+i, b)
	}
	last := w.versions[len(w.versions)-1]
	parts := chunksOf(t, s, "big", last.id)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lost := parts[pack.KindRegionMap][1:]
	changeIndex(t, mem, func(all places, set func(k, v []byte)) {
		for _, id := range lost {
			a := all[id]
			a.offset += 8
			set(chunkAt(id), a.bytes())
		}
	})
	var reads atomic.Int64
	s, err := chunkstore.Open("/store", chunkstore.Options{FS: mem, PackSize: testPack, Log: slog.New(damageLog{&reads})})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustScrub(t, s, Options{VM: "big"}, "first")
	if n := reads.Swap(0); len(lost) != regions-1 || n != int64(len(lost)) {
		t.Errorf("%d maps are lost, and were read %d times", len(lost), n)
	}
	mustScrub(t, s, Options{VM: "big"}, "second")
	if r := mustVerify(t, s, last, Options{}); r.State != chunkstore.Hurt.String() {
		t.Errorf("the version is %s", r.State)
	}
	if n := reads.Load(); n > 0 {
		t.Errorf("maps that were known to be lost were read %d times", n)
	}
	n, _, err := s.PackOf(parts[pack.KindData][0])
	if err != nil {
		t.Fatal(err)
	}
	if p := proofs(t, s)[n]; p.Result != chunkstore.PackWhole {
		t.Errorf("the pack of what can be reached is %v", p.Result)
	}
}

// TestLeadsInBatches: however many chunks are looked up at once, all of a VM's are taken
// in, those that the index lacks are told, and no version that has one of them is whole.
func TestLeadsInBatches(t *testing.T) {
	w, mem := newWorld(t), vfs.NewMem()
	w.put(t, mem)
	s := openWorld(t, mem)
	const regions = 5
	b := make([]byte, regions<<22)
	for off := 0; off < len(b); off += 1 << 20 {
		b[off] = byte(off>>20 + 1)
	}
	w.capture(t, s, "big", 300, b)
	last := w.versions[len(w.versions)-1]
	data := chunksOf(t, s, "big", last.id)[pack.KindData]
	slices.SortFunc(data, func(a, b pack.ID) int { return bytes.Compare(a[:], b[:]) })
	data = slices.Compact(data)
	whole, err := packsOf(context.Background(), s, "big")
	if err != nil || len(data) < 4*regions {
		t.Fatalf("%d chunks, %v", len(data), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lacking := []pack.ID{data[0], data[7], data[len(data)-1]}
	changeIndex(t, mem, func(_ places, set func(k, v []byte)) {
		for _, id := range lacking {
			set(chunkAt(id), nil)
		}
	})
	s = openWorld(t, mem)
	defer s.Close()
	v, err := catalog.Get(context.Background(), s, "big", last.id)
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range []int{1, 2, len(data) - 1, len(data), len(data) + 1, dataAtOnce} {
		walk, leads := newWalk(s), s.NewLeads()
		walk.batch = batch
		var told []pack.ID
		walk.lost = func(id pack.ID) { told = append(told, id) }
		all, err := walk.leads(context.Background(), version{"big", last.id, v}, leads)
		slices.SortFunc(told, func(a, b pack.ID) int { return bytes.Compare(a[:], b[:]) })
		if told = slices.Compact(told); err != nil || all || !slices.Equal(told, lacking) {
			t.Errorf("%d at once: all is %v, %v; told of %v, want %v", batch, all, err, told, lacking)
		}
		if packs := leads.Packs(); !maps.Equal(packs, whole) {
			t.Errorf("%d at once: packs %v, want %v", batch, packs, whole)
		}
	}
}
