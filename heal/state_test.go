package heal

import (
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/pack"
)

// onRead calls do once, when a pack is read for which want is true, after arm.
type onRead struct {
	armed atomic.Bool
	want  func(pack string) bool
	do    func()
}

func (o *onRead) wrap(fsys vfs.FS) vfs.FS {
	return errorfs.Wrap(fsys, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".pack") && o.want(filepath.Base(op.Path)) && o.armed.CompareAndSwap(true, false) {
			o.do()
		}
		return nil
	}))
}

// TestScrubMarksNoNewcomer: a version that comes while a scrub runs, and was captured long
// before (a replica's), is not valid by it: nobody has proved its packs. The next one does.
func TestScrubMarksNoNewcomer(t *testing.T) {
	for _, opts := range []Options{{}, {Repair: true}, {Deep: true}} {
		w, mem := newWorld(t), vfs.NewMem()
		w.put(t, mem)
		came := false
		on := &onRead{want: func(string) bool { return true }}
		s := openWorld(t, on.wrap(mem))
		defer s.Close()
		on.do = func() {
			came = true
			v, err := catalog.Get(t.Context(), s, w.versions[0].vm, w.versions[0].id)
			if err != nil {
				t.Error(err)
				return
			}
			late := *v
			late.VM, late.Captured = "late", v.Captured.Add(-time.Hour)
			ses, err := s.Begin(t.Context(), "replicate")
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(catalog.Commit(t.Context(), ses, &late), ses.Close()); err != nil {
				t.Error(err)
			}
		}
		on.armed.Store(true)
		rep := mustScrub(t, s, opts, "while a version comes")
		if st, err := State(s, "late", w.versions[0].id); err != nil || st.State != chunkstore.Pending || !came {
			t.Errorf("%+v: the version that came, %v, is %v, %v; %s", opts, came, st.State, err, describe(rep))
		}
		if got := w.states(t, s); got[chunkstore.Valid] != len(w.versions) {
			t.Errorf("%+v: the others: %v", opts, got)
		}
		mustScrub(t, s, opts, "behind it")
		if st, err := State(s, "late", w.versions[0].id); err != nil || st.State != chunkstore.Valid {
			t.Errorf("%+v: behind the next scrub it is %v, %v", opts, st.State, err)
		}
	}
}

// TestScrubMarksByAllDamage: damage that a read finds while a scrub looks for the versions
// that use what it knows marks those versions, too: none of them is called valid.
func TestScrubMarksByAllDamage(t *testing.T) {
	w, mem, c, parts := provedWorld(t)
	s := openWorld(t, mem)
	first := w.versions[0]
	theirs := chunksOf(t, s, first.vm, first.id)
	maps, ok, err := s.PackOf(theirs[pack.KindRegionMap][0])
	if err := errors.Join(err, s.Close()); err != nil || !ok || c.vm > first.vm {
		t.Fatal(ok, err, c.vm) // whose maps are followed first
	}
	known, later := theirs[pack.KindData][len(theirs[pack.KindData])-1], parts[pack.KindData][0]
	changeIndex(t, mem, func(all places, set func(k, v []byte)) {
		for _, id := range []pack.ID{known, later} {
			at := all[id]
			at.offset += 8
			set(chunkAt(id), at.bytes())
		}
	})
	find := func(id pack.ID) {
		if _, err := s.Get(t.Context(), id, nil); err == nil {
			t.Error("a chunk that is led astray came back")
		}
	}
	found := false
	on := &onRead{want: func(name string) bool { return name == packText(maps)+".pack" }, do: func() { found = true; find(later) }}
	s = openWorld(t, on.wrap(mem))
	defer s.Close()
	find(known)
	on.armed.Store(true)
	sum := &scrub{store: s, began: time.Now(), pace: newPace(0), report: new(Report)}
	sum.opts.fill()
	if err := sum.sumUp(t.Context()); err != nil || !found {
		t.Fatal(err, found)
	}
	for _, v := range []content{first, c} {
		if st := stateOf(t, s, v); st != chunkstore.Hurt {
			t.Errorf("version %s of %s is %v", v.id, v.vm, st)
		}
	}
	if len(sum.report.Left.Chunks) != 2 {
		t.Errorf("the report names %d chunks", len(sum.report.Left.Chunks))
	}
}
