package chunkstore

import (
	"math"
	"math/rand/v2"
	"testing"

	"holdfast/chunkstore/pack"
)

func share(number uint64, stored, live int64) *packShare {
	return &packShare{number: number, packInfo: packInfo{stored: uint64(stored), records: 1}, live: live, entries: 1}
}

// TestAllowedAtTheEdges: what may stay unused is a share of all, of live and
// unused bytes together, and no share makes it overflow.
func TestAllowedAtTheEdges(t *testing.T) {
	for _, c := range []struct {
		unused float64
		live   int64
		want   int64
	}{{0, 1 << 50, 0}, {0.5, 0, 0}, {0.5, 1000, 1000}, {0.05, 950, 50}, {1, 0, math.MaxInt64}, {1, 1, math.MaxInt64}, {7, 1, math.MaxInt64}, {-1, 1000, 0}} {
		if got := (planRules{maxUnused: c.unused}).allowed(c.live); got < c.want-1 || got > c.want {
			t.Errorf("%v of %d live bytes: %d, want %d", c.unused, c.live, got, c.want)
		}
	}
}

// TestPlanAtTheEdges: one pack more or less unused than is allowed decides.
func TestPlanAtTheEdges(t *testing.T) {
	const size = 1000
	for _, c := range []struct {
		name        string
		rules       planRules
		packs       []*packShare
		packsChosen int
		left        int
	}{
		{"nothing", planRules{packSize: size}, nil, 0, 0},
		{"all is used", planRules{packSize: size}, []*packShare{share(1, size, size)}, 0, 0},
		{"a byte is unused", planRules{packSize: size}, []*packShare{share(1, size, size-1)}, 1, 0},
		{"all is dead", planRules{packSize: size}, []*packShare{share(1, size, 0)}, 1, 0},
		{"as much as is allowed", planRules{packSize: size, maxUnused: 0.5}, []*packShare{share(1, size, size/2)}, 0, 0},
		{"a byte more", planRules{packSize: size, maxUnused: 0.5}, []*packShare{share(1, size, size/2), share(2, size, size/2-1), share(3, size, size/2+1-2)}, 1, 0},
		{"anything is allowed", planRules{packSize: size, maxUnused: 1}, []*packShare{share(1, size, size/2)}, 0, 0},
		{"dead ones go in any case", planRules{packSize: size, maxUnused: 1}, []*packShare{share(1, size, size/2), share(2, size, 0)}, 1, 0},
		{"in repair", planRules{packSize: size}, []*packShare{{number: 1, packInfo: packInfo{stored: size}, skip: true}}, 0, 0},
		{"as much as may be copied", planRules{packSize: size, maxRepack: 600}, []*packShare{share(1, size, 600)}, 1, 0},
		{"a byte too much to copy", planRules{packSize: size, maxRepack: 599}, []*packShare{share(1, size, 600)}, 0, 1},
		{"one small pack", planRules{packSize: size}, []*packShare{share(1, 10, 10)}, 0, 0},
		{"two small packs", planRules{packSize: size}, []*packShare{share(1, 10, 10), share(2, 10, 10)}, 2, 0},
		{"a small and a far larger one", planRules{packSize: size}, []*packShare{share(1, 10, 10), share(2, 41, 41)}, 0, 0},
		{"a small and a larger one", planRules{packSize: size}, []*packShare{share(1, 10, 10), share(2, 40, 40)}, 2, 0},
		{"half a pack is not small", planRules{packSize: size}, []*packShare{share(1, size/2, size/2), share(2, size/2, size/2)}, 0, 0},
	} {
		groups, left := c.rules.plan(c.packs)
		n := 0
		for _, g := range groups {
			n += len(g)
		}
		if n != c.packsChosen || left != c.left {
			t.Errorf("%s: %d packs chosen and %d groups left, want %d and %d", c.name, n, left, c.packsChosen, c.left)
		}
	}
}

// TestPlansKeepTheRules makes plans of random packs: no pack twice, none in
// repair, no group of two classes or over its size, no more copied than allowed,
// and no more left unused where nothing bounds the copying.
func TestPlansKeepTheRules(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 3))
		rules := planRules{packSize: 1 << r.IntN(14), maxUnused: []float64{0, 0.05, 0.5, 1}[r.IntN(4)]}
		if r.IntN(2) == 0 {
			rules.maxRepack = 1 + r.Int64N(8*rules.packSize)
		}
		var packs []*packShare
		for i := range r.IntN(40) {
			stored := 1 + r.Int64N(rules.packSize)
			p := share(uint64(i), stored, r.Int64N(stored+1))
			p.class = pack.Class(r.IntN(2))
			p.skip, p.must = r.IntN(10) == 0, p.live > 0 && r.IntN(10) == 0
			packs = append(packs, p)
		}
		groups, left := rules.plan(packs)
		checkPlan(t, seed, rules, packs, groups, left)
	}
}

func checkPlan(t *testing.T, seed uint64, rules planRules, packs []*packShare, groups []group, left int) {
	t.Helper()
	chosen := map[*packShare]bool{}
	copied := int64(0)
	for _, g := range groups {
		copied += g.live()
		for _, p := range g {
			if chosen[p] || p.skip || p.class != g[0].class && g.live() > 0 {
				t.Fatalf("seed %d: pack %d is chosen twice, in repair or of another class", seed, p.number)
			}
			chosen[p] = true
		}
		if len(g) > 1 && g.live() > rules.packSize+rules.packSize/4 {
			t.Fatalf("seed %d: a group of %d bytes for packs of %d", seed, g.live(), rules.packSize)
		}
	}
	if rules.maxRepack > 0 && copied > rules.maxRepack {
		t.Fatalf("seed %d: %d bytes copied, allowed are %d", seed, copied, rules.maxRepack)
	}
	if left > 0 {
		return
	}
	var live, unused int64
	for _, p := range packs {
		if p.skip {
			live += int64(p.stored)
			continue
		}
		live += p.live
		if !chosen[p] {
			unused += p.unused()
			if p.must || p.live == 0 {
				t.Fatalf("seed %d: pack %d should go", seed, p.number)
			}
		}
	}
	if allowed := rules.allowed(live); unused > allowed {
		t.Fatalf("seed %d: %d bytes stay unused, allowed are %d", seed, unused, allowed)
	}
}
