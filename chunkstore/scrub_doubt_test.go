package chunkstore

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// hurtRecord writes zeros over the record of a chunk, in place: files that are open see it.
func hurtRecord(t *testing.T, fsys vfs.FS, s *Store, id ID) place {
	t.Helper()
	hurtStores.Store(fsys, true)
	at, ok, err := s.lookup(id)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	name := packName(at.pack)
	f, err := fsys.OpenReadWrite("/store/packs/"+name[:2]+"/"+name, "test")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(make([]byte, 200), int64(at.offset)+pack.RecordHeaderLen+500)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return at
}

// behind calls do once, when a read has taken in the whole record at a place.
type behind struct {
	io.ReaderAt
	at place
	do func()
}

func (r *behind) ReadAt(b []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(b, off)
	if do := r.do; do != nil && off <= int64(r.at.offset) && off+int64(n) >= int64(r.at.offset)+int64(r.at.recordLen()) {
		r.do = nil
		do()
	}
	return n, err
}

// TestProofKeepsDoubts: what a read meets in a pack that is being proved, in a record that
// the proof has read before, outlives the proof's end: the pack is due, and a chunk that is
// lost stays so. The next proof tells what is there.
func TestProofKeepsDoubts(t *testing.T) {
	for _, c := range []struct {
		name     string
		noParity bool
		known    bool // the chunk was known to be unreadable before
		prove    func(*testing.T, vfs.FS, *Store, ID)
		deep     bool
		during   PackResult // what the proof that is disturbed finds
		behind   PackResult // and the next one
		lost     bool
	}{
		{name: "healed read, first proof", during: PackUnproved, behind: PackHealable},
		{name: "healed read, first deep proof", deep: true, during: PackUnproved, behind: PackHealable},
		{name: "healed read, proved before", prove: proveWhole, during: PackUnproved, behind: PackHealable},
		{name: "lost, first proof", noParity: true, during: PackUnproved, behind: PackDamaged, lost: true},
		{name: "lost, proved before", noParity: true, prove: proveWhole, during: PackUnproved, behind: PackDamaged, lost: true},
		{name: "lost, first deep proof", noParity: true, deep: true, during: PackUnproved, behind: PackDamaged, lost: true},
		{name: "lost, known before as unreadable", noParity: true, known: true, during: PackUnproved, behind: PackDamaged, lost: true},
		{name: "healed read, other damage", prove: hurtOther, during: PackHealable, behind: PackHealable},
		{name: "lost, other damage", noParity: true, prove: hurtOther, during: PackDamaged, behind: PackDamaged, lost: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys, want := storeToHurt(t, CreateOptions{NoParity: c.noParity})
			s := openStore(t, fsys, 0)
			defer s.Close()
			id := s.ID(want[0])
			if c.prove != nil {
				c.prove(t, fsys, s, s.ID(want[30]))
			}
			at, _, err := s.lookup(id)
			if err != nil {
				t.Fatal(err)
			}
			if c.known {
				if err := s.noteDamage(damageOf(t, damageAt(pack.Unreadable, id, at, errors.New("input/output error")))); err != nil {
					t.Fatal(err)
				}
			}
			read := false
			wrap := func(r io.ReaderAt) io.ReaderAt {
				return &behind{r, at, func() {
					read = true
					hurtRecord(t, fsys, s, id)
					if _, err := s.Get(t.Context(), id, nil); (err != nil) != c.lost {
						t.Errorf("the read beside the proof: %v", err)
					}
				}}
			}
			r, err := s.ProvePack(t.Context(), at.pack, ProveOptions{Deep: c.deep, LeadsApart: true, Reader: wrap})
			if err != nil || !read || len(r.Bad) > 1 {
				t.Fatalf("%+v, %v, read %v", r, err, read)
			}
			if p, err := s.Proof(at.pack); err != nil || p.Result != c.during || !p.Due() {
				t.Errorf("behind the proof: %+v, %v", p, err)
			}
			if _, is, err := s.DamageOf(id); err != nil || is != c.lost {
				t.Errorf("the chunk is damaged: %v, %v", is, err)
			}
			if _, err := s.ProvePack(t.Context(), at.pack, ProveOptions{LeadsApart: true}); err != nil {
				t.Fatal(err)
			}
			if p, err := s.Proof(at.pack); err != nil || p.Result != c.behind || p.Due() {
				t.Errorf("behind the next proof: %+v, %v", p, err)
			}
			if len(s.doubted) > 0 {
				t.Errorf("%d lists of doubts are left", len(s.doubted))
			}
		})
	}
}

func proveWhole(t *testing.T, _ vfs.FS, s *Store, id ID) {
	t.Helper()
	at, _, err := s.lookup(id)
	if err == nil {
		_, err = s.ProvePack(t.Context(), at.pack, ProveOptions{LeadsApart: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	if p, err := s.Proof(at.pack); err != nil || p.Result != PackWhole {
		t.Fatal(p, err)
	}
}

func hurtOther(t *testing.T, fsys vfs.FS, s *Store, id ID) { hurtRecord(t, fsys, s, id) }

func damageOf(t *testing.T, err error) *pack.Damage {
	t.Helper()
	var d *pack.Damage
	if !errors.As(err, &d) {
		t.Fatal(err)
	}
	return d
}

// TestProofHasSeenIt: damage that a proof finds itself is no doubt of it, however often
// others meet it meanwhile: nobody needs to look again.
func TestProofHasSeenIt(t *testing.T) {
	for _, noParity := range []bool{false, true} {
		fsys, want := storeToHurt(t, CreateOptions{NoParity: noParity})
		s := openStore(t, fsys, 0)
		id := s.ID(want[30])
		at := hurtRecord(t, fsys, s, id)
		first, _, err := s.lookup(s.ID(want[0]))
		if err != nil {
			t.Fatal(err)
		}
		get := func() { s.Get(t.Context(), id, nil) } //nolint:errcheck // what it does to the proof counts
		wrap := func(r io.ReaderAt) io.ReaderAt { return &behind{&behind{r, at, get}, first, get} }
		if _, err := s.ProvePack(t.Context(), at.pack, ProveOptions{LeadsApart: true, Reader: wrap}); err != nil {
			t.Fatal(err)
		}
		result := PackHealable
		if noParity {
			result = PackDamaged
		}
		if p, err := s.Proof(at.pack); err != nil || p.Result != result || p.Due() {
			t.Errorf("%+v, %v", p, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestProofOfAForgottenPack: the proof of a pack that a scrub moves to quarantine meanwhile
// leaves nothing behind: a pack of that number that comes back is not proved.
func TestProofOfAForgottenPack(t *testing.T) {
	for _, hurt := range []bool{false, true} {
		fsys, want := storeToHurt(t, CreateOptions{})
		s := openStore(t, fsys, 0)
		id := s.ID(want[0])
		at, _, err := s.lookup(id)
		if err != nil {
			t.Fatal(err)
		}
		if hurt {
			hurtRecord(t, fsys, s, s.ID(want[30]))
		}
		wrap := func(r io.ReaderAt) io.ReaderAt {
			return &behind{r, at, func() {
				if err := s.forgetPack(at.pack); err != nil {
					t.Error(err)
				}
			}}
		}
		if _, err := s.ProvePack(t.Context(), at.pack, ProveOptions{LeadsApart: true, Reader: wrap}); err != nil {
			t.Fatal(err)
		}
		if p, err := s.Proof(at.pack); err != nil || p != (PackProof{}) {
			t.Errorf("a proof of no pack: %+v, %v", p, err)
		}
		hurtStores.Store(fsys, true)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDoubtsOutliveACrash: a crash leaves no pack called whole of which a read has found
// since that it is not, nor one that a proof has found damaged since.
func TestDoubtsOutliveACrash(t *testing.T) {
	for _, noParity := range []bool{false, true} {
		for _, by := range []string{"read", "proof"} {
			t.Run(fmt.Sprintf("no parity %v, by a %s", noParity, by), func(t *testing.T) {
				mem := vfs.NewCrashableMem()
				if _, err := Create("/store", CreateOptions{FS: mem, NoParity: noParity}); err != nil {
					t.Fatal(err)
				}
				s := openStore(t, mem, 0)
				ses := begin(t, s)
				id := mustPut(t, s, ses, pack.KindData, chunkOf(1, 60000))
				if err := errors.Join(ses.Commit(t.Context(), "v", nil), ses.Close()); err != nil {
					t.Fatal(err)
				}
				proveWhole(t, mem, s, id)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openStore(t, mem, 0)
				defer s.Close()
				proveWhole(t, mem, s, id) // which takes the sync of this second
				at := hurtRecord(t, mem, s, id)
				if by == "read" {
					if _, err := s.Get(t.Context(), id, nil); (err != nil) != noParity {
						t.Fatal(err)
					}
				} else if _, err := s.ProvePack(t.Context(), at.pack, ProveOptions{LeadsApart: true}); err != nil {
					t.Fatal(err)
				}
				after := mem.CrashClone(vfs.CrashCloneCfg{})
				hurtStores.Store(after, true)
				s2 := openStore(t, after, 0)
				defer s2.Close()
				if p, err := s2.Proof(at.pack); err != nil || p.Result == PackWhole {
					t.Errorf("behind the crash: %+v, %v", p, err)
				}
				if _, is, err := s2.DamageOf(id); err != nil || is != noParity {
					t.Errorf("the chunk is damaged: %v, %v", is, err)
				}
			})
		}
	}
}
