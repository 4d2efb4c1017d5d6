package tests

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/capture"
	"holdfast/capture/source"
	"holdfast/chunkstore"
	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/heal"
)

var (
	soakSeed  = flag.Uint64("soak-seed", 1, "seed of the soak; 0: another one each time")
	soakSteps = flag.Int("soak-steps", 1000, "steps of the soak")
)

// soakPack is the packs' size where the soak works on the store itself.
const soakPack = 256 << 10

// soak is a store, and beside it plain bytes of every version that it must have.
type soak struct {
	*program
	ctx     context.Context
	rand    *rand.Rand
	store   *chunkstore.Store // nil: closed
	chunks  *cache.Cache      // of the open store
	vms     map[string][]*soakVersion
	seconds int  // of the next version
	injured bool // a pack was hurt, within what parity heals, and not repaired yet
	done    map[string]int
	took    map[string]time.Duration
	last    []string          // what was done last, for messages
	ended   map[string]string // versions that are not there, and why; for messages
}

// soakVersion is a version as it must be.
type soakVersion struct {
	id                string
	content           []byte
	forgotten, pinned bool
	doomed            bool // a prune began, or went on, while it was forgotten
}

// step is something that a soak does, and how often in comparison.
type step struct {
	name   string
	weight int
	do     func(*soak)
}

// soakTable is all that a soak does. Steps with a store work on it in this
// process, the others by the program, which they may kill.
var soakTable = []step{
	{"capture", 30, (*soak).capture}, {"capture clones at once", 4, (*soak).captureClones},
	{"read", 40, (*soak).read}, {"list", 10, (*soak).list},
	{"forget", 12, (*soak).forget}, {"forget by policy", 6, (*soak).retain}, {"undelete", 8, (*soak).undelete},
	{"pin", 5, (*soak).pin}, {"unpin", 5, (*soak).unpin},
	{"scrub", 2, (*soak).scrub}, {"injure", 3, (*soak).injure}, {"repair", 2, (*soak).repair},
	{"reopen", 3, (*soak).reopen}, {"lose the index", 1, (*soak).loseIndex},
	{"kill a capture", 4, (*soak).killCapture}, {"kill a forget", 2, (*soak).killForget}, {"kill a repair", 2, (*soak).killRepair},
	{"mount", 1, (*soak).mountAndRead},
	{"prune", 2, (*soak).prune}, {"prune beside others", 3, (*soak).pruneBeside}, {"kill a prune", 2, (*soak).killPrune},
}

// TestSoak does thousands of random things to a store and compares it with plain
// bytes all the time: each version that should be there reads back exactly, and no
// other is.
func TestSoak(t *testing.T) {
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d (-soak-seed), %d steps (-soak-steps)", seed, *soakSteps)
	k := &soak{program: newStore(t), ctx: context.Background(), rand: rand.New(rand.NewPCG(seed, 6)), vms: map[string][]*soakVersion{}, done: map[string]int{}, took: map[string]time.Duration{}, ended: map[string]string{}}
	t.Cleanup(k.closeStore)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d failed after %v; the last steps were %q", seed, k.done, k.last)
		}
	})
	sum := 0
	for _, s := range soakTable {
		sum += s.weight
	}
	for range *soakSteps {
		at := k.rand.IntN(sum)
		for _, s := range soakTable {
			if at -= s.weight; at < 0 {
				k.note(s.name)
				began := time.Now()
				s.do(k)
				k.took[s.name] += time.Since(began).Round(time.Millisecond)
				break
			}
		}
	}
	began := time.Now()
	k.finish()
	k.took["the end"] = time.Since(began).Round(time.Millisecond)
	t.Logf("%d packs, %d versions seen; %v", len(k.packs()), k.count(false), k.done)
	t.Logf("time by step: %v", k.took)
}

// steps counts what was done.
func (k *soak) steps() (n int) {
	for _, c := range k.done {
		n += c
	}
	return n
}

func (k *soak) note(name string) {
	k.done[name]++
	if k.last = append(k.last, name); len(k.last) > 12 {
		k.last = k.last[1:]
	}
}

// finish mends, proves and reads everything.
func (k *soak) finish() {
	k.repair()
	k.fullPrune()
	k.list()
	rep, err := heal.Scrub(k.ctx, k.open(), heal.Options{Deep: true})
	if err != nil || !rep.Clean() {
		k.Fatalf("the last scrub: %+v, %v", rep, err)
	}
	for vm, versions := range k.vms {
		for _, v := range versions {
			if !v.forgotten {
				k.compare(vm, v, true)
			}
		}
	}
	k.closeStore()
	k.must("check")
}

// open returns the store, open in this process.
func (k *soak) open() *chunkstore.Store {
	k.Helper()
	if k.store == nil {
		s, err := chunkstore.Open(k.program.store, chunkstore.Options{PackSize: soakPack})
		if err != nil {
			k.Fatal(err)
		}
		if k.chunks, err = cache.New(s, cache.Options{Bytes: 1 << 20}); err != nil {
			k.Fatal(err)
		}
		k.store = s
	}
	return k.store
}

func (k *soak) closeStore() {
	if k.store != nil {
		k.chunks.Close()
		if err := k.store.Close(); err != nil {
			k.Error(err)
		}
		k.store = nil
	}
}

func (k *soak) reopen() { k.closeStore(); k.open() }

func (k *soak) loseIndex() {
	k.closeStore()
	if err := os.RemoveAll(filepath.Join(k.program.store, "index")); err != nil {
		k.Fatal(err)
	}
	k.list()
}

var soakVMs = []string{"web", "db", "odd\xff name", "clone"}

func (k *soak) vm() string { return soakVMs[k.rand.IntN(len(soakVMs))] }

// count counts the versions that are forgotten, or not.
func (k *soak) count(forgotten bool) (n int) {
	for _, versions := range k.vms {
		for _, v := range versions {
			if v.forgotten == forgotten {
				n++
			}
		}
	}
	return n
}

// pick returns a random version that fits, or nil.
func (k *soak) pick(fits func(*soakVersion) bool) (vm string, v *soakVersion) {
	var vms []string
	var all []*soakVersion
	for _, vm := range slices.Sorted(maps.Keys(k.vms)) {
		for _, v := range k.vms[vm] {
			if fits(v) {
				vms, all = append(vms, vm), append(all, v)
			}
		}
	}
	if len(all) == 0 {
		return "", nil
	}
	i := k.rand.IntN(len(all))
	return vms[i], all[i]
}

func seen(v *soakVersion) bool { return !v.forgotten }

// when is the time of the next version, and its id.
func (k *soak) when() (time.Time, string) {
	k.seconds += 1 + k.rand.IntN(20000)
	t := time.Date(2020, 1, 1, 0, 0, k.seconds, 0, time.UTC)
	return t, t.Format("2006-01-02T15-04-05Z")
}

// next is what the VM's disk has become: the newest version, changed in places, by
// new bytes, by zeros, and by what other disks have.
func (k *soak) next(vm string) []byte {
	var b []byte
	if versions := k.vms[vm]; len(versions) > 0 {
		b = bytes.Clone(versions[len(versions)-1].content)
	}
	if len(b) == 0 || k.rand.IntN(20) == 0 {
		size := []int{1, 511, 64 << 10, 300_000, 1 << 20, 4<<20 + 1, 5<<20 - 7}[k.rand.IntN(7)]
		b = append(b, make([]byte, size)...)[:size]
	}
	for range 1 + k.rand.IntN(4) {
		off := k.rand.IntN(len(b))
		part := b[off:min(len(b), off+1+k.rand.IntN(90_000))]
		switch k.rand.IntN(5) {
		case 0:
			clear(part)
		case 1:
			if _, other := k.pick(func(*soakVersion) bool { return true }); other != nil && len(other.content) > off {
				copy(part, other.content[off:])
			}
		default:
			for i := range part {
				part[i] = byte(k.rand.Uint32())
			}
		}
	}
	return b
}

func (k *soak) captureOf(s *chunkstore.Store, vm string, at time.Time, b []byte) error {
	_, err := capture.Run(k.ctx, s, capture.Options{VM: vm, At: at, Workers: 2, Disks: []capture.Input{
		{Name: "vda", Path: "mem", Source: &source.Opened{Disk: memDisk{bytes.NewReader(b)}, Format: "raw"}},
	}})
	return err
}

func (k *soak) capture() {
	vm := k.vm()
	at, id := k.when()
	b := k.next(vm)
	if err := k.captureOf(k.open(), vm, at, b); err != nil {
		k.Fatal(err)
	}
	k.vms[vm] = append(k.vms[vm], &soakVersion{id: id, content: b})
}

// captureClones captures one content for several VMs at the same moment.
func (k *soak) captureClones() {
	s, b := k.open(), k.next(k.vm())
	at, id := k.when()
	failed := make(chan error, len(soakVMs))
	for _, vm := range soakVMs {
		go func() { failed <- k.captureOf(s, vm, at, b) }()
		k.vms[vm] = append(k.vms[vm], &soakVersion{id: id, content: b})
	}
	for range soakVMs {
		if err := <-failed; err != nil {
			k.Fatal(err)
		}
	}
}

// list compares what is seen with what must be.
func (k *soak) list() {
	k.Helper()
	s := k.open()
	want := map[string][]string{}
	for vm, versions := range k.vms {
		for _, v := range versions {
			if seen(v) {
				want[vm] = append(want[vm], v.id)
			}
		}
	}
	vms, err := catalog.VMs(k.ctx, s)
	if err != nil {
		k.Fatal(err)
	}
	if !slices.Equal(vms, slices.Sorted(maps.Keys(want))) {
		k.Fatalf("VMs %q, want %q", vms, slices.Sorted(maps.Keys(want)))
	}
	for vm, want := range want {
		ids, err := catalog.IDs(k.ctx, s, vm)
		if err != nil || !slices.Equal(ids, want) {
			for _, id := range ids {
				if !slices.Contains(want, id) {
					k.Logf("version %s: %s", id, k.ended[vm+"@"+id])
				}
			}
			k.Fatalf("versions of %q: %q, want %q, %v", vm, ids, want, err)
		}
	}
}

func (k *soak) read() {
	if vm, v := k.pick(seen); v != nil {
		k.compare(vm, v, k.rand.IntN(4) == 0)
	}
}

// compare reads a version, or some ranges of it.
func (k *soak) compare(vm string, want *soakVersion, whole bool) {
	k.Helper()
	s := k.open()
	v, err := catalog.Get(k.ctx, s, vm, want.id)
	if err != nil {
		k.Fatal(err)
	}
	r, err := disk.Open(k.chunks, disk.NewMaps(s, 0), v.Disks[0].Map)
	if err != nil {
		k.Fatal(err)
	}
	if r.Size() != int64(len(want.content)) {
		k.Fatalf("version %s of %q has %d bytes, want %d", want.id, vm, r.Size(), len(want.content))
	}
	for n := 0; n < 3; n++ {
		off, end := k.rand.IntN(len(want.content)), len(want.content)
		if end = min(end, off+1+k.rand.IntN(200_000)); whole {
			off, end, n = 0, len(want.content), 3
		}
		got := make([]byte, end-off)
		if err := r.ReadAtContext(k.ctx, got, int64(off)); err != nil || !bytes.Equal(got, want.content[off:end]) {
			k.Fatalf("version %s of %q reads wrong from %d to %d: %v", want.id, vm, off, end, err)
		}
	}
}

// packs returns the paths of the finished packs, sorted.
func (k *soak) packs() (list []string) {
	err := filepath.WalkDir(filepath.Join(k.program.store, "packs"), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // nothing was stored yet
			return nil
		}
		if err == nil && strings.HasSuffix(path, ".pack") && !strings.Contains(path, "unfinished") {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		k.Fatal(err)
	}
	return list
}

// injure hurts one pack as parity heals it.
func (k *soak) injure() {
	k.closeStore()
	packs := k.packs()
	if k.injured || len(packs) == 0 {
		return
	}
	path := packs[k.rand.IntN(len(packs))]
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		k.Fatal(err)
	}
	off := k.rand.IntN(len(b))
	for i := off; i < min(off+1+k.rand.IntN(600), len(b)); i++ {
		b[i] ^= byte(1 + k.rand.IntN(255))
	}
	k.last = append(k.last, fmt.Sprintf("%s at %d of %d", filepath.Base(path), off, len(b)))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		k.Fatal(err)
	}
	k.injured = true
}

func (k *soak) scrub() {
	rep, err := heal.Scrub(k.ctx, k.open(), heal.Options{Deep: k.rand.IntN(2) == 0})
	if err != nil || !k.injured && !rep.Clean() || rep.Lost > 0 {
		k.Fatalf("scrub (injured %v): %+v, %v", k.injured, rep, err)
	}
}

func (k *soak) repair() {
	rep, err := heal.Scrub(k.ctx, k.open(), heal.Options{Deep: k.rand.IntN(2) == 0, Repair: true})
	if err != nil || !rep.Clean() || rep.Left.Exists() {
		k.Fatalf("repair (injured %v): %+v, %v", k.injured, rep, err)
	}
	k.injured = false
}

// is fails unless err is what it must be.
func (k *soak) is(err, want error, vm, id string) {
	k.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		k.Fatalf("version %s of %q: %v, want %v", id, vm, err, want)
	}
}
