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
