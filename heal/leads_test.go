package heal

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
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
