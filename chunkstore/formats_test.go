package chunkstore

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// aged is a store that began in one format and was upgraded, or not, to another, with a
// version from before and one from after.
type aged struct{ first, then int }

// agedStores are the ways to a store that this program writes to.
func agedStores() (list []aged) {
	for f := 1; f <= FormatVersion; f++ {
		list = append(list, aged{f, f})
		if f < FormatVersion {
			list = append(list, aged{f, FormatVersion})
		}
	}
	return list
}

func (a aged) String() string { return fmt.Sprintf("format %d to %d", a.first, a.then) }

// recordsOf counts the data records in a store's packs by magic, and the packs by the
// kind of parity; it takes both from the bytes.
func recordsOf(t *testing.T, fsys vfs.FS) (magics, kinds map[byte]int) {
	t.Helper()
	magics, kinds = map[byte]int{}, map[byte]int{}
	hurtPacks(t, fsys, func(b []byte) []byte {
		kinds[b[len(b)-pack.TrailerLen+28]]++
		if _, _, err := pack.Scan(bytes.NewReader(b), int64(len(b)), func(e pack.Entry, rec []byte) error {
			if e.Kind == pack.KindData {
				magics[rec[3]]++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return b
	})
	return magics, kinds
}

// make makes the store, closes it and returns its filesystem and oracle.
func (a aged) make(t *testing.T) (vfs.FS, *world) {
	t.Helper()
	fsys, w := vfs.NewMem(), newTestWorld()
	if _, err := Create("/store", CreateOptions{FS: fsys, Format: a.first, FrameSize: 4 << 10}); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, fsys, 64<<10)
	for i := range 4 {
		w.mustWrite(t, s, fmt.Sprintf("%c-old%d", "ab"[i%2], i), i)
	}
	if a.then != a.first {
		if cfg, err := s.Upgrade(pack.CodecMinLZ); err != nil || cfg.FormatVersion != a.then {
			t.Fatal(cfg.Info, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fsys, 64<<10)
	for i := range 4 {
		w.mustWrite(t, s, fmt.Sprintf("%c-new%d", "ab"[i%2], i), 4+i)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fsys, w
}

// check opens the store, reads everything, proves every pack, and closes it.
func (a aged) check(t *testing.T, fsys vfs.FS, w *world, where string) {
	t.Helper()
	s := openStore(t, fsys, 64<<10)
	defer s.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	checkVersions(t, s, w.committed, w.begun, where)
	for _, deep := range []bool{false, true} {
		if err := s.KnownPacks(t.Context(), func(k KnownPack) error {
			_, err := s.ProvePack(t.Context(), k.Number, ProveOptions{Deep: deep, Workers: 2})
			if p, perr := s.Proof(k.Number); perr != nil || p.Result != PackWhole {
				t.Errorf("%s: a proof (deep: %v) of pack %016x: %v, %v", where, deep, k.Number, p.Result, perr)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStoresOfAllFormats takes stores of each format, and such as were upgraded, through
// what a store goes through. Records and parity are of the magics and kinds of the format
// that the store had when they were made, also where they moved since.
func TestStoresOfAllFormats(t *testing.T) {
	for _, a := range agedStores() {
		t.Run(a.String(), func(t *testing.T) {
			fsys, w := a.make(t)
			want := map[byte]bool{'1': a.first < 3, '2': a.then >= 3}
			told := func(where string) {
				t.Helper()
				magics, kinds := recordsOf(t, fsys)
				for digit, there := range want {
					if there != (magics[digit] > 0) || there != (kinds[digit-'0'] > 0) || len(magics) > 2 || kinds[0] > 0 {
						t.Errorf("%s: records by magic %v, packs by kind of parity %v", where, magics, kinds)
					}
				}
			}
			told("made")
			a.check(t, fsys, w, "made")

			hurtStores.Store(fsys, true)
			hurtPacks(t, fsys, func(b []byte) []byte {
				clear(b[len(b)/3:][:len(b)/40])
				return b
			})
			s := openStore(t, fsys, 64<<10)
			w.mu.Lock()
			checkVersions(t, s, w.committed, w.begun, "hurt")
			w.mu.Unlock()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestFormatsInOnePack: a prune moves records of both magics into one pack, and each
// keeps its own; a leftover of both, cut off, is finished; an index is made anew.
func TestFormatsInOnePack(t *testing.T) {
	for _, a := range agedStores() {
		t.Run(a.String(), func(t *testing.T) {
			fsys, w := a.make(t)
			before, _ := recordsOf(t, fsys)
			s := openStore(t, fsys, 64<<10)
			r := mustPrune(t, s, PruneOptions{Doomed: doom("a-")})
			w.forget("a-")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			after, _ := recordsOf(t, fsys)
			for digit, n := range before {
				if after[digit] == 0 || after[digit] > n {
					t.Errorf("records by magic %v, before %v; %+v", after, before, r)
				}
			}
			if r.DeletedPacks == 0 || len(after) != len(before) {
				t.Errorf("records by magic %v, before %v", after, before)
			}
			a.check(t, fsys, w, "pruned")

			cutIntoLeftovers(t, fsys)
			a.check(t, fsys, w, "finished")
			s, rep := openFor(t, fsys, true)
			if rep == nil {
				t.Error("no index was made")
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			a.check(t, fsys, w, "an index made anew")
		})
	}
}

// cutIntoLeftovers makes of each data pack, which has a name, one that has none yet and
// ends behind its records, and of the index nothing.
func cutIntoLeftovers(t *testing.T, fsys vfs.FS) {
	t.Helper()
	subs, err := fsys.List("/store/packs")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, sub := range subs {
		if sub == "unfinished" || strings.HasPrefix(sub, ".") {
			continue
		}
		names, _ := fsys.List("/store/packs/" + sub)
		for _, name := range names {
			path := "/store/packs/" + sub + "/" + name
			b := readAll(t, fsys, path)
			h, entries, err := pack.ReadFooter(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			if h.Class != pack.ClassData {
				continue
			}
			last := entries[len(entries)-1]
			if err := fsys.Remove(path); err != nil {
				t.Fatal(err)
			}
			writeAll(t, fsys, "/store/packs/unfinished/"+name, b[:int(last.Offset)+last.RecordLen()])
			n++
		}
	}
	if n == 0 {
		t.Fatal("no pack was cut")
	}
	if err := fsys.RemoveAll("/store/index"); err != nil {
		t.Fatal(err)
	}
}

// TestOldFormatHoldsOldRecords offers a record of each newer format to a store: a
// capture's is refused, and a donor's is stored as the store can hold it. A donor's of an
// older format stays what it is.
func TestOldFormatHoldsOldRecords(t *testing.T) {
	for own := 1; own <= FormatVersion; own++ {
		for its := 1; its <= FormatVersion; its++ {
			t.Run(fmt.Sprintf("%d into %d", its, own), func(t *testing.T) { testDonation(t, its, own) })
		}
	}
}

func testDonation(t *testing.T, its, own int) {
	fsys, ctx := vfs.NewMem(), context.Background()
	if _, err := Create("/store", CreateOptions{FS: fsys, Format: own, NoParity: true}); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, fsys, 0)
	by := pack.CodecMinLZ
	if its < by.Format() {
		by = pack.CodecZstd
	}
	donor, err := pack.NewCodec(s.cfg.Key, 16<<10, by, its)
	if err != nil {
		t.Fatal(err)
	}
	for i, plain := range [][]byte{chunkOf(9, 60000), chunkOf(8, 7)} { // in frames, and too short to shrink
		rec := donor.Encode(nil, pack.KindData, s.ID(plain), plain)
		if its > own && rec.Format() > own {
			ses := begin(t, s)
			if _, err := ses.Put(ctx, []pack.Record{rec}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("of format %d", rec.Format())) {
				t.Errorf("chunk %d: a session takes it: %v", i, err)
			}
			ses.Close()
		}
		if h, err := s.StoreAnew(ctx, "replica", []ID{rec.ID}, [][]byte{rec.Bytes}); err != nil || h.Chunks != 1 {
			t.Fatal(h, err)
		}
		mustGet(t, s, rec.ID, plain)
		recs, err := s.StoredRecords(ctx, []ID{rec.ID})
		if err != nil {
			t.Fatal(err)
		}
		stored, err := pack.CheckStored(recs[0])
		if err != nil || stored.Format() > own || rec.Format() <= own && !bytes.Equal(stored.Bytes, rec.Bytes) {
			t.Errorf("chunk %d: stored as of format %d, %v", i, stored.Format(), err)
		}
		part, whole, err := s.Codec().DecodePart(nil, recs[0], rec.ID, pack.Part{Chunk: len(plain), From: 0, To: min(len(plain), 16<<10)})
		if err != nil || whole != (len(plain) < 16<<10) || !bytes.HasPrefix(plain, part) {
			t.Errorf("chunk %d: a part: whole %v, %v", i, whole, err)
		}
	}
}
