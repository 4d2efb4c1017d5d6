package heal

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
	"holdfast/tests/vm"
)

var (
	injuries     = flag.Int("injuries", 46, "single injuries of the damage campaign")
	realInjuries = flag.Int("real-injuries", 4, "single injuries of the campaign over real disks")
	realFrom     = flag.Int("real-from", 0, "number of the first injury")
	seed         = flag.Uint64("heal-seed", 1, "seed of the damage campaign")
)

// injury hurts a store on fsys and says what it did, and whether the packs'
// parity promises that everything comes back.
type injury struct {
	name string
	do   func(t testing.TB, w *world, fsys vfs.FS, r *rand.Rand) (what string, promised bool)
	// fault, of injuries of the medium, works an open store while it fails;
	// hurt says that the store is hurt as well.
	fault func(t testing.TB, w *world, s *chunkstore.Store, f *faulty, hurt bool, where string)
}

// pick returns one pack's path and a copy of its bytes.
func pick(w *world, r *rand.Rand) (string, []byte) {
	all := w.packs()
	path := all[r.IntN(len(all))]
	return path, append([]byte(nil), w.files[path]...)
}

// promise tells whether one run of n bytes in a pack of size bytes heals: it
// touches at most 2·stripes-1 blocks.
func promise(size, n int) bool {
	const block = 4096 // packs of the test have no larger ones
	blocks := (size*100/107 + block - 1) / block
	stripes := max(1, blocks/31)
	return (n+block-2)/block+1 <= max(2*stripes-1, 1)
}

func overwrite(b []byte, off, n int, fill func([]byte)) (int, int) {
	n = min(n, len(b)-off)
	fill(b[off : off+n])
	return off, n
}

func run(fill func(r *rand.Rand, b []byte)) func(testing.TB, *world, vfs.FS, *rand.Rand) (string, bool) {
	return func(t testing.TB, w *world, fsys vfs.FS, r *rand.Rand) (string, bool) {
		path, b := pick(w, r)
		size := 512 << r.IntN(14) // to 4 MiB
		if r.IntN(2) == 0 {
			size = 512 + r.IntN(64<<10)
		}
		off, n := overwrite(b, r.IntN(len(b)), size, func(b []byte) { fill(r, b) })
		writeFile(t, fsys, path, b)
		return fmt.Sprintf("%s: %d bytes from %d of %d", path, n, off, len(b)), promise(len(b), n)
	}
}

func flipAt(where func(r *rand.Rand, size int) int) func(testing.TB, *world, vfs.FS, *rand.Rand) (string, bool) {
	return func(t testing.TB, w *world, fsys vfs.FS, r *rand.Rand) (string, bool) {
		path, b := pick(w, r)
		i := where(r, len(b))
		b[i] ^= 1 << r.IntN(8)
		writeFile(t, fsys, path, b)
		return fmt.Sprintf("%s: a bit of byte %d of %d", path, i, len(b)), true
	}
}

var campaign = []injury{
	{name: "flipped bit", do: flipAt(func(r *rand.Rand, size int) int { return r.IntN(size) })},
	{name: "flipped bit in the header", do: flipAt(func(r *rand.Rand, _ int) int { return r.IntN(pack.HeaderLen) })},
	{name: "flipped bit in the trailer", do: flipAt(func(r *rand.Rand, size int) int { return size - 1 - r.IntN(pack.TrailerLen) })},
	{name: "flipped bit in the tail", do: flipAt(func(r *rand.Rand, size int) int { return size - 1 - r.IntN(size/10) })},
	{name: "zeroed run", do: run(func(_ *rand.Rand, b []byte) { clear(b) })},
	{name: "random run", do: run(func(r *rand.Rand, b []byte) {
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	})},
	{name: "truncated pack", do: func(t testing.TB, w *world, fsys vfs.FS, r *rand.Rand) (string, bool) {
		path, b := pick(w, r)
		n := r.IntN(len(b))
		if r.IntN(4) == 0 {
			n = 0
		}
		writeFile(t, fsys, path, b[:n])
		return fmt.Sprintf("%s: cut to %d of %d", path, n, len(b)), false
	}},
	{name: "longer pack", do: func(t testing.TB, w *world, fsys vfs.FS, r *rand.Rand) (string, bool) {
		path, b := pick(w, r)
		writeFile(t, fsys, path, append(b, make([]byte, 1+r.IntN(9000))...))
		return path, true
	}},
	{name: "deleted pack", do: func(t testing.TB, w *world, fsys vfs.FS, r *rand.Rand) (string, bool) {
		path, _ := pick(w, r)
		if err := fsys.Remove(path); err != nil {
			t.Fatal(err)
		}
		return path, false
	}},
	{name: "swapped records", do: func(t testing.TB, w *world, fsys vfs.FS, r *rand.Rand) (string, bool) {
		path, b := pick(w, r)
		_, entries, err := pack.ReadFooter(newMemDisk(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		x, y := entries[r.IntN(len(entries))], entries[r.IntN(len(entries))]
		n := min(x.RecordLen(), y.RecordLen())
		for i := range n {
			p, q := int(x.Offset)+i, int(y.Offset)+i
			b[p], b[q] = b[q], b[p]
		}
		writeFile(t, fsys, path, b)
		return fmt.Sprintf("%s: %d and %d, %d bytes", path, x.Offset, y.Offset, n), x.ID == y.ID
	}},
	{name: "pack under another's name", do: func(t testing.TB, w *world, fsys vfs.FS, r *rand.Rand) (string, bool) {
		from, b := pick(w, r)
		to, _ := pick(w, r)
		writeFile(t, fsys, to, b)
		return from + " as " + to, from == to
	}},
	{name: "duplicated pack", do: func(t testing.TB, w *world, fsys vfs.FS, r *rand.Rand) (string, bool) {
		from, b := pick(w, r)
		name := fmt.Sprintf("%016x.pack", r.Uint64())
		if err := fsys.MkdirAll("/store/packs/"+name[:2], 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, fsys, "/store/packs/"+name[:2]+"/"+name, b)
		return from + " also as " + name, true
	}},
	{name: "lost index entries", do: func(t testing.TB, _ *world, fsys vfs.FS, r *rand.Rand) (string, bool) {
		n := hurtIndex(t, fsys, r, "cr", func(b *pebble.Batch, k, _ []byte) error { return b.Delete(k, nil) })
		return fmt.Sprint(n, " entries"), true
	}},
	{name: "lost pack entries", do: func(t testing.TB, _ *world, fsys vfs.FS, r *rand.Rand) (string, bool) {
		n := hurtIndex(t, fsys, r, "p", func(b *pebble.Batch, k, _ []byte) error { return b.Delete(k, nil) })
		return fmt.Sprint(n, " entries"), true
	}},
	{name: "wrong index entries", do: func(t testing.TB, _ *world, fsys vfs.FS, r *rand.Rand) (string, bool) {
		n := hurtIndex(t, fsys, r, "c", func(b *pebble.Batch, k, v []byte) error {
			v = append([]byte(nil), v...)
			if r.IntN(2) == 0 {
				binary.LittleEndian.PutUint64(v, r.Uint64())
			} else {
				binary.LittleEndian.PutUint32(v[8:], r.Uint32N(testPack))
			}
			return b.Set(k, v, nil)
		})
		return fmt.Sprint(n, " entries"), true
	}},
	{name: "lost index", do: func(t testing.TB, _ *world, fsys vfs.FS, _ *rand.Rand) (string, bool) {
		if err := fsys.RemoveAll("/store/index"); err != nil {
			t.Fatal(err)
		}
		return "", true
	}},
}

// hurtIndex changes a few entries of the index whose keys begin with one of the
// letters.
func hurtIndex(t testing.TB, fsys vfs.FS, r *rand.Rand, letters string, hurt func(b *pebble.Batch, k, v []byte) error) (n int) {
	t.Helper()
	db, err := pebble.Open("/store/index", &pebble.Options{FS: fsys, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := db.NewBatch()
	odds := 1 + r.IntN(20)
	for ok := it.First(); ok; ok = it.Next() {
		if strings.IndexByte(letters, it.Key()[0]) >= 0 && r.IntN(odds) == 0 {
			n++
			if err := hurt(b, append([]byte(nil), it.Key()...), it.Value()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}

// TestDamageCampaign hurts a store in one way at a time. Nothing wrong is ever
// served; what parity promises heals to byte equality; the rest is named
// exactly; and a replica, or the captures of the same disks, heal all versions.
func TestDamageCampaign(t *testing.T) {
	t.Logf("seed %d (-heal-seed), %d injuries (-injuries)", *seed, *injuries)
	newWorld(t).campaign(t, *injuries)
}

// TestDamageCampaignOnRealDisks is the same over the disks of a real VM in three
// versions and of its clone.
func TestDamageCampaignOnRealDisks(t *testing.T) {
	t.Logf("seed %d (-heal-seed), %d injuries from %d (-real-injuries, -real-from)", *seed, *realInjuries, *realFrom)
	newDiskWorld(t).campaign(t, *realInjuries)
}

func (w *world) campaign(t *testing.T, n int) {
	t.Logf("%d packs, %d versions", len(w.packs()), len(w.versions))
	donor := vfs.NewMem()
	w.put(t, donor)
	w.replica = openWorld(t, donor)
	defer w.replica.Close()
	kinds := slices.Concat(campaign, faults)
	tally := make([]struct{ promised, healed, named int }, len(kinds))
	promised, named := 0, 0
	for i := *realFrom; i < *realFrom+n; i++ {
		k := i % len(kinds)
		switch lost, within := w.injure(t, kinds[k], i); {
		case within:
			tally[k].promised++
			promised++
		case lost:
			tally[k].named++
			named++
		default:
			tally[k].healed++
		}
	}
	for k, in := range kinds {
		t.Logf("%-28s %4d within the promise and healed, %4d beyond it and healed all the same, %4d named and healed by a replica or captures", in.name, tally[k].promised, tally[k].healed, tally[k].named)
	}
	if n >= 2*len(kinds) && (promised == 0 || named == 0) {
		t.Fatal("the campaign does not reach both sides of the promise")
	}
}

// injure is one injury, from a whole store to a whole store.
func (w *world) injure(t *testing.T, in injury, i int) (lost, promised bool) {
	r := rand.New(rand.NewPCG(*seed, uint64(i)))
	mem := vfs.NewMem()
	w.put(t, mem)
	what, promised, hurt := "nothing else", true, in
	if in.fault != nil && r.IntN(2) == 0 {
		hurt = campaign[r.IntN(len(campaign))]
	}
	if hurt.do != nil {
		what, promised = hurt.do(t, w, mem, r)
		what = hurt.name + " " + what
	}
	where := fmt.Sprintf("injury %d, %s (%s)", i, in.name, what)
	f := newFaulty(mem, r)
	s := openWorld(t, f)
	if in.fault != nil {
		in.fault(t, w, s, f, hurt.do != nil, where)
		if r.IntN(2) == 0 {
			if err := s.Close(); err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			s = openWorld(t, f)
		}
	}
	return w.suffer(t, s, f, r, promised, where), promised
}

// newDiskWorld makes a store with the small disks of a real VM in three versions
// and of a clone of it.
func newDiskWorld(t testing.TB) *world {
	t.Helper()
	fsys := vfs.NewMem()
	if _, err := chunkstore.Create("/store", chunkstore.CreateOptions{FS: fsys}); err != nil {
		t.Fatal(err)
	}
	s := openWorld(t, fsys)
	w := &world{}
	raw := vm.Small(t)
	for i, name := range []string{"vm", "vm", "clone", "vm"} {
		if i > 0 {
			vm.Change(t, raw, int64(i))
		}
		b, err := os.ReadFile(raw)
		if err != nil {
			t.Fatal(err)
		}
		w.capture(t, s, name, i, b)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	w.files = map[string][]byte{}
	w.load(t, fsys, "/store")
	return w
}

// suffer checks a hurt store, repairs it, checks it again and closes it. It
// reports whether something was lost.
func (w *world) suffer(t testing.TB, s *chunkstore.Store, fsys vfs.FS, r *rand.Rand, promised bool, where string) bool {
	t.Helper()
	defer func() { s.Close() }()
	if r.IntN(2) == 0 { // reads meet the damage first
		w.read(t, s, where+", before the scrub")
	}
	if r.IntN(3) == 0 {
		mustScrub(t, s, Options{Deep: r.IntN(2) == 0, Repair: true, DryRun: true}, where)
		w.read(t, s, where+", after a dry run")
	}
	rep := mustScrub(t, s, Options{Deep: r.IntN(2) == 0, Repair: true}, where)
	failed := w.read(t, s, where+", after the repair")
	w.named(t, failed, &rep.Left, where)
	if len(rep.RepairErrors) > 0 {
		t.Fatalf("%s: %s", where, describe(rep))
	}
	if promised && (len(failed) > 0 || rep.Left.Exists()) {
		t.Fatalf("%s: not healed: %v; %s", where, failed, describe(rep))
	}
	if len(failed) == 0 && len(rep.Left.Chunks) == 0 {
		w.whole(t, s, where)
		return false
	}
	if r.IntN(2) == 0 {
		s.SetDonors([]chunkstore.Donor{&storeDonor{Store: w.replica}})
		defer s.SetDonors(nil) // before the next injury, whatever becomes of this one
		rep := mustScrub(t, s, Options{Repair: true}, where)
		if rep.Left.Exists() || len(rep.RepairErrors) > 0 {
			t.Fatalf("%s: with a replica: %s", where, describe(rep))
		}
		s.SetDonors(nil)
		w.whole(t, s, where+", healed from a replica")
		return true
	}
	// The next captures of the same content, of which none is the newest.
	after := *w
	for k, c := range w.versions {
		after.capture(t, s, "again "+c.vm, 100+k, c.b)
	}
	mustScrub(t, s, Options{Repair: true}, where)
	after.whole(t, s, where+", captured again")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openWorld(t, fsys)
	after.whole(t, s, where+", opened again")
	return true
}

// whole checks that nothing at all is wrong.
func (w *world) whole(t testing.TB, s *chunkstore.Store, where string) {
	t.Helper()
	if failed := w.read(t, s, where); len(failed) > 0 {
		t.Fatalf("%s: can't be read: %v", where, failed)
	}
	rep := mustScrub(t, s, Options{Deep: true}, where)
	for _, f := range rep.Findings {
		if f.Kind != FoundForeign {
			t.Fatalf("%s: a second scrub finds: %s", where, describe(rep))
		}
	}
	if !rep.Clean() || len(rep.Chunks) > 0 {
		t.Fatalf("%s: a second scrub finds: %s", where, describe(rep))
	}
	for _, c := range w.versions {
		if st, err := State(s, c.vm, c.id); err != nil || st.State != chunkstore.Valid {
			t.Fatalf("%s: version %s of %s is %v, %v", where, c.id, c.vm, st.State, err)
		}
	}
}
