package heal

import (
	"bytes"
	"context"
	"errors"
	"slices"
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

// TestVerifyBesideOthersDamage: what others find in packs of which the version has
// nothing while it is verified, each time that it is looked at, is not its own. Where
// they find it in its packs it is looked at again, and when that does not end what is
// known of the version stands.
func TestVerifyBesideOthersDamage(t *testing.T) {
	for name, beside := range map[string]bool{"elsewhere": false, "in its packs": true} {
		t.Run(name, func(t *testing.T) {
			_, mem, c, parts := provedWorld(t)
			mine, packs := map[pack.ID]bool{}, map[uint64]bool{}
			for _, ids := range parts {
				for _, id := range ids {
					mine[id] = true
				}
			}
			var theirs []pack.ID
			changeIndex(t, mem, func(all places, set func(k, v []byte)) {
				for id := range mine {
					packs[all[id].pack] = true
				}
				for id, at := range all {
					if !mine[id] && packs[at.pack] == beside && len(theirs) < 20 {
						at.offset += 8
						set(chunkAt(id), at.bytes())
						theirs = append(theirs, id)
					}
				}
			})
			var s *chunkstore.Store
			var on, busy atomic.Bool
			var data string
			finds := 0
			fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if on.Load() && op.Kind == errorfs.OpOpen && strings.HasSuffix(op.Path, data) && busy.CompareAndSwap(false, true) {
					if finds < len(theirs) {
						s.Get(context.Background(), theirs[finds], nil) // a reader, or a scrub
						finds++
					}
					busy.Store(false)
				}
				return nil
			}))
			s = openWorld(t, fsys)
			defer s.Close()
			n, ok, err := s.PackOf(parts[pack.KindData][0])
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			data = packText(n) + ".pack"
			on.Store(true)
			r := mustVerify(t, s, c, Options{})
			on.Store(false)
			want := chunkstore.Valid
			if beside {
				want = chunkstore.Incomplete
			}
			if r.State != want.String() || r.Changed != beside || finds == 0 || beside && (finds < verifyRounds || !strings.Contains(r.Words(), "meanwhile")) {
				t.Errorf("%d finds: it is %s, changed %v: %s", finds, r.State, r.Changed, r.Words())
			}
			// Among theirs may be its manifest, which is read from the index alone.
			hurt := slices.DeleteFunc(r.Hurt.Chunks, func(c HurtChunk) bool { return len(c.Uses) == 1 && c.Uses[0].Kind == UseManifest })
			if st := stateOf(t, s, c); st != chunkstore.Valid || len(hurt) > 0 {
				t.Errorf("its state is %v, and %d chunks of it are hurt", st, len(hurt))
			}
			if r = mustVerify(t, s, c, Options{}); r.State != chunkstore.Valid.String() {
				t.Errorf("afterwards it is %s", r.State)
			}
		})
	}
}

// TestValidationOfInflight: a version of which the index lacks a chunk that a capture is
// just writing is not valid: a crash would leave it without. It is pending until the
// capture has ended.
func TestValidationOfInflight(t *testing.T) {
	_, mem, c, parts := provedWorld(t)
	id := parts[pack.KindData][0]
	s := openWorld(t, mem)
	plain, err := s.Get(context.Background(), id, nil)
	if err != nil {
		t.Fatal(err)
	}
	plain = bytes.Clone(plain)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	changeIndex(t, mem, func(_ places, set func(k, v []byte)) { set(chunkAt(id), nil) })
	s = openWorld(t, mem)
	ses, err := s.Begin(context.Background(), "capture")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ses.Put(context.Background(), []pack.Record{s.Codec().Encode(nil, pack.KindData, id, plain)}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	validate := func() chunkstore.Validation {
		t.Helper()
		sc := &scrub{store: s, began: now, gone: map[uint64]bool{}, pace: newPace(0), report: new(Report), opts: Options{Deep: true, Repair: true}}
		sc.opts.fill()
		v := newValidation(sc)
		v.now = func() time.Time { return now }
		if err := v.version(context.Background(), capturedBefore(t, s, c)); err != nil {
			t.Fatal(err)
		}
		return stateOf(t, s, c)
	}
	if _, ok, err := s.PackOf(id); ok || err != nil {
		t.Fatal("it is published", err)
	}
	if st := validate(); st != chunkstore.Pending {
		t.Errorf("the version is %v, and its chunk is in no pack", st)
	}
	if r := mustVerify(t, s, c, Options{}); r.State != chunkstore.Incomplete.String() || !r.Changed {
		t.Errorf("verify: it is %s, changed %v", r.State, r.Changed)
	}
	if d, err := s.DiskState(catalog.RootName(c.vm, c.id), 0); err != nil || d.State != chunkstore.Pending || !d.Next.After(now) {
		t.Errorf("its disk is %v, and tried again at %v: %v", d.State, d.Next, err)
	}
	due := func() bool {
		t.Helper()
		v := &validation{scrub: &scrub{store: s}, now: func() time.Time { return now }}
		is, err := v.due(capturedBefore(t, s, c), chunkstore.RootState{State: chunkstore.Pending})
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	if due() {
		t.Error("it is due again at once")
	}
	if err := errors.Join(ses.Commit(context.Background(), "v", nil), ses.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = openWorld(t, mem)
	now = now.Add(time.Hour)
	if !due() {
		t.Error("it is not due an hour later")
	}
	if st := validate(); st != chunkstore.Valid {
		t.Errorf("afterwards it is %v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyTellsLateDamage: damage that others find in a version's packs while its maps are
// read for the last time, when all is proved, is told: it is not called valid over what
// they have marked.
func TestVerifyTellsLateDamage(t *testing.T) {
	_, mem, c, parts := provedWorld(t)
	var s *chunkstore.Store
	var reads, last atomic.Int64
	var maps string
	var data []string // the pack of a chunk of data
	late := parts[pack.KindData][1]
	fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && maps != "" && strings.HasSuffix(op.Path, maps) && reads.Add(1) == last.Load() {
			zero(t, mem, data[0])
			if _, err := s.Get(context.Background(), late, nil); err == nil {
				t.Error("a chunk came back from zeros")
			}
		}
		return nil
	}))
	open := func() {
		maps = ""
		s = openWorld(t, fsys)
		of, _, err := s.PackOf(parts[pack.KindRegionMap][0])
		n, _, derr := s.PackOf(late)
		if err := errors.Join(err, derr); err != nil {
			t.Fatal(err)
		}
		maps = packText(of) + ".pack"
		data = slices.DeleteFunc(packPaths(t, mem), func(path string) bool { return !strings.Contains(path, packText(n)) })
		reads.Store(0)
	}
	open()
	if r := mustVerify(t, s, c, Options{}); r.State != chunkstore.Valid.String() {
		t.Fatal(r.Words())
	}
	last.Store(reads.Load())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open()
	defer s.Close()
	r := mustVerify(t, s, c, Options{})
	if st := stateOf(t, s, c); r.State != chunkstore.Hurt.String() || st != chunkstore.Hurt || len(r.Hurt.Chunks) == 0 || reads.Load() < last.Load() {
		t.Errorf("it is %s, its state %v, %d chunks are hurt", r.State, st, len(r.Hurt.Chunks))
	}
}

// zero writes zeros over all of a file, in place: who has it open sees them.
func zero(t *testing.T, fsys vfs.FS, path string) {
	t.Helper()
	f, err := fsys.OpenReadWrite(path, "test")
	if err != nil {
		t.Fatal(err)
	}
	st, err := f.Stat()
	if err == nil {
		_, err = f.WriteAt(make([]byte, st.Size()), 0)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}
