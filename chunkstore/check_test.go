package chunkstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// broken is a store of two versions that a test breaks on purpose.
type broken struct {
	*Store
	t    *testing.T
	mem  *vfs.MemFS
	root string // name of a version
	body string
	id   ID // of a chunk of its
	at   place
}

func storeToBreak(t *testing.T) *broken {
	t.Helper()
	mem := vfs.NewMem()
	hurtStores.Store(mem, true)
	s := newStore(t, mem, 64<<10)
	w := newTestWorld()
	w.mustWrite(t, s, "a", 1)
	w.mustWrite(t, s, "b", 20)
	body, err := s.Root(context.Background(), "a")
	if err != nil {
		t.Fatal(err)
	}
	b := &broken{Store: s, t: t, mem: mem, root: "a", body: string(body)}
	b.id = s.ID(chunkOf(7, 9006))
	at, ok, err := s.lookup(b.id)
	if err != nil || !ok {
		t.Fatalf("the chunk is not there: %v", err)
	}
	b.at = at
	if r := b.check(); !r.Sound() || r.Unused != 0 || r.Roots != 2 || r.Maps != 2 || r.Packs == 0 || r.Records != r.Chunks {
		t.Fatalf("before it is broken: %+v", r)
	}
	return b
}

func (b *broken) check() *CheckReport {
	b.t.Helper()
	r, err := Check(context.Background(), b.Store, CheckOptions{Walk: walkTest(b.Store), Name: func(n string) string { return "<" + n + ">" }})
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *broken) set(key, value []byte) {
	b.t.Helper()
	if err := b.index.Set(key, value, pebble.Sync); err != nil {
		b.t.Fatal(err)
	}
	b.totals.valid = false // it may be a pack's
}

func (b *broken) remove(key []byte) {
	b.t.Helper()
	if err := b.index.Delete(key, pebble.Sync); err != nil {
		b.t.Fatal(err)
	}
	b.totals.valid = false
}

func (b *broken) info() packInfo {
	b.t.Helper()
	var of packInfo
	if err := b.packs(context.Background(), func(n uint64, info packInfo) {
		if n == b.at.pack {
			of = info
		}
	}); err != nil {
		b.t.Fatal(err)
	}
	return of
}

// path returns where a pack lies.
func (b *broken) path(n uint64) string {
	name := packName(n)
	return "/store/packs/" + name[:2] + "/" + name
}

// rootID is the id of the record of the version's root.
func (b *broken) rootID() ID {
	b.t.Helper()
	plain, err := encodeRoot(b.root, []byte(b.body))
	if err != nil {
		b.t.Fatal(err)
	}
	return b.ID(plain)
}

// TestCheckFindsWhatIsBroken breaks each invariant, one at a time: the check
// names the place and says what is wrong, and nothing else is wrong.
func TestCheckFindsWhatIsBroken(t *testing.T) {
	const notKnown, noRecord = "the index does not know the chunk", "entries lead into the pack where it has no record"
	for name, c := range map[string]struct {
		hurt func(*broken)
		want []string // "kind: text" of the problems, each once at least
	}{
		"a chunk's entry is gone":          {func(b *broken) { b.remove(chunkKey(b.id)) }, []string{"index: " + notKnown, "chunk: the index does not know this data"}},
		"a root's record is not known":     {func(b *broken) { b.remove(chunkKey(b.rootID())) }, []string{"index: " + notKnown, "chunk: the index does not know this root"}},
		"an entry leads beside the record": {func(b *broken) { b.set(chunkKey(b.id), place{b.at.pack, b.at.offset + 1, b.at.payloadLen}.append(nil)) }, []string{"index: 1 " + noRecord}},
		"an entry is of another length":    {func(b *broken) { b.set(chunkKey(b.id), place{b.at.pack, b.at.offset, b.at.payloadLen - 1}.append(nil)) }, []string{"index: 1 " + noRecord}},
		"an entry leads to no pack":        {func(b *broken) { b.set(chunkKey(b.id), place{1 << 40, b.at.offset, b.at.payloadLen}.append(nil)) }, []string{"index: 1 entries lead to a pack that the index does not know"}},
		"an entry without a record":        {func(b *broken) { b.set(chunkKey(ID{1}), b.at.append(nil)) }, []string{"index: 1 " + noRecord}},
		"a record too many is counted":     {func(b *broken) { i := b.info(); i.records++; b.set(packKey(b.at.pack), i.append(nil)) }, []string{"pack: the index says"}},
		"the stored bytes are wrong":       {func(b *broken) { i := b.info(); i.stored--; b.set(packKey(b.at.pack), i.append(nil)) }, []string{"pack: the index says"}},
		"the plain bytes are wrong":        {func(b *broken) { i := b.info(); i.plain++; b.set(packKey(b.at.pack), i.append(nil)) }, []string{"pack: the index says"}},
		"the size is wrong":                {func(b *broken) { i := b.info(); i.size++; b.set(packKey(b.at.pack), i.append(nil)) }, []string{"pack: the index says"}},
		"the class is wrong":               {func(b *broken) { i := b.info(); i.class ^= 1; b.set(packKey(b.at.pack), i.append(nil)) }, []string{"pack: the index says"}},
		"a pack is not known":              {func(b *broken) { b.remove(packKey(b.at.pack)) }, []string{"pack: the index does not know this pack", "index: "}},
		"a pack is deleted":                {func(b *broken) { b.must(b.mem.Remove(b.path(b.at.pack))) }, []string{"pack: the index knows this pack, and there is no such file"}},
		"a pack is cut off":                {func(b *broken) { b.cut() }, []string{"pack: "}},
		"a pack is another one":            {func(b *broken) { b.exchange() }, []string{"pack: its header is of pack", "index: " + notKnown, "index: 12 " + noRecord}},
		"a root's body leads nowhere":      {func(b *broken) { b.set(rootKey("c"), []byte("no id")) }, []string{"root: "}},
		"a root's map is not there": {func(b *broken) { b.set(rootKey("c"), []byte(ID{9}.String())) },
			[]string{"root: ", "chunk: the index does not know this region map"}},
		"a root is visible and dropped": {func(b *broken) { b.set(droppedKey(b.root), []byte(b.body)) }, []string{"root: it is both visible and dropped"}},
		"a chunk is condemned":          {func(b *broken) { b.set(condemnedKey(b.id), b.at.append(nil)) }, []string{"leftover: 1 keys 'x' of a prune"}},
		"a root is walked":              {func(b *broken) { b.set(walkedKey(b.root), nil) }, []string{"leftover: 1 keys 'y' of a prune"}},
		"marks are left":                {func(b *broken) { b.must(b.mem.MkdirAll("/store/"+spillDir, 0o700)) }, []string{"leftover: marks of a prune"}},
		"an unfinished pack is nobody's": {func(b *broken) {
			writeAll(b.t, b.mem, "/store/packs/unfinished/"+packName(b.at.pack+100), []byte("x"))
		}, []string{"leftover: an unfinished pack that nobody writes"}},
		"the trash holds what is not known": {func(b *broken) {
			b.must(b.mem.MkdirAll("/store/trash", 0o700))
			writeAll(b.t, b.mem, "/store/trash/"+packName(b.at.pack+100), []byte("x"))
		}, []string{"leftover: the trash holds a pack"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := storeToBreak(t)
			c.hurt(b)
			r := b.check()
			if r.Sound() {
				t.Fatal("the check finds nothing")
			}
			for _, want := range c.want {
				if !slices.ContainsFunc(r.Problems, func(p Problem) bool { return strings.HasPrefix(p.Kind+": "+p.Text, want) }) {
					t.Errorf("no %q", want)
				}
			}
			for _, p := range r.Problems {
				if !slices.ContainsFunc(c.want, func(want string) bool { return strings.HasPrefix(p.Kind+": "+p.Text, want) }) {
					t.Errorf("also: %v", p)
				}
				if p.Kind == "chunk" && (p.Chunk == "" || !strings.HasPrefix(p.Root, "<")) {
					t.Errorf("without chunk or root: %+v", p)
				}
			}
		})
	}
}

func (b *broken) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *broken) cut() {
	path := b.path(b.at.pack)
	all := readAll(b.t, b.mem, path)
	writeAll(b.t, b.mem, path, all[:len(all)/2])
}

// exchange puts another store's pack of the same data in a pack's place.
func (b *broken) exchange() {
	other := vfs.NewMem()
	s := newStore(b.t, other, 64<<10)
	w := newTestWorld()
	w.mustWrite(b.t, s, "a", 1)
	var n uint64
	b.must(s.packs(context.Background(), func(number uint64, info packInfo) {
		if info.class == pack.ClassData {
			n = number
		}
	}))
	writeAll(b.t, b.mem, b.path(b.at.pack), readAll(b.t, other, "/store/packs/"+packName(n)[:2]+"/"+packName(n)))
}

// TestCheckCountsUnused: what no root leads to is the next prune's and no problem.
func TestCheckCountsUnused(t *testing.T) {
	b := storeToBreak(t)
	hurtStores.Delete(b.mem)
	ses := begin(t, b.Store)
	for i := range 3 {
		mustPut(t, b.Store, ses, pack.KindData, chunkOf(uint64(200+i), 500))
	}
	b.must(ses.Commit(context.Background(), "empty", nil))
	b.must(ses.Close())
	if r := b.check(); !r.Sound() || r.Unused != 3 || r.Roots != 3 {
		t.Fatalf("%+v", r)
	}
}

// TestCheckListsSoManyProblems: beyond the bound they are counted only.
func TestCheckListsSoManyProblems(t *testing.T) {
	for _, n := range []int{0, 1, maxProblems - 1, maxProblems, maxProblems + 1} {
		r := new(CheckReport)
		for i := range n {
			r.add(Problem{Kind: "index", Text: fmt.Sprint(i)})
		}
		if len(r.Problems) != min(n, maxProblems) || r.Unlisted != max(0, n-maxProblems) || r.Sound() != (n == 0) {
			t.Errorf("%d problems: %d listed, %d more", n, len(r.Problems), r.Unlisted)
		}
	}
}

// TestCheckAndPruneTakeTurns: of the two only one runs.
func TestCheckAndPruneTakeTurns(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 0)
	s.pruning.running.Lock()
	if _, err := Check(context.Background(), s, CheckOptions{}); err != ErrPruning {
		t.Errorf("check beside a prune: %v", err)
	}
	if _, err := s.Prune(context.Background(), PruneOptions{Walk: walkTest(s)}); err != ErrPruning {
		t.Errorf("prune beside a check: %v", err)
	}
	s.pruning.running.Unlock()
}
