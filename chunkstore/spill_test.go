package chunkstore

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// spilled returns a set that holds most numbers in memory.
func spilled(t *testing.T, fsys vfs.FS, most int, numbers []uint64) *spill {
	t.Helper()
	if err := fsys.MkdirAll("/s", 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := newSpill(fsys, "/s/prune", most)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range numbers {
		if err := s.add(n); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func drain(t *testing.T, s *spill) (all []uint64) {
	t.Helper()
	m, err := s.sorted()
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	for m.ok {
		all = append(all, m.n)
		if err := m.step(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestSpillIsASet: whatever the sizes of memory and set, and however many runs,
// it gives each number once, in order, also when it is taken up from its files.
func TestSpillIsASet(t *testing.T) {
	const most = 3
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, most - 1, most, most + 1, 2 * most, most * spillRuns, most*spillRuns + 1, most * (spillRuns + 1), most*(spillRuns+1) + 1, 3 * most * spillRuns} {
		numbers := []uint64{}
		for range n {
			numbers = append(numbers, r.Uint64N(uint64(n))*(1<<63/uint64(n))) // some twice
		}
		if n > 2 {
			numbers[0], numbers[n-1] = 1<<64-1, 0
		}
		fsys := vfs.NewMem()
		s := spilled(t, fsys, most, numbers)
		if len(s.runs) > spillRuns {
			t.Errorf("%d numbers: %d runs", n, len(s.runs))
		}
		slices.Sort(numbers)
		want := slices.Compact(numbers)
		if got := drain(t, s); !slices.Equal(got, want) {
			t.Fatalf("%d numbers: %d come back, want %d", n, len(got), len(want))
		}
		if names, err := fsys.List("/s/prune"); err != nil || len(names) != len(s.runs) {
			t.Errorf("%d numbers: %d files for %d runs, %v", n, len(names), len(s.runs), err)
		}
		again, err := reopenSpill(fsys, "/s/prune", s.runs, s.next)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.add(77); err != nil {
			t.Fatal(err)
		}
		if got := drain(t, again); len(got) < len(want) || !slices.Contains(got, 77) {
			t.Fatalf("%d numbers: %d come back when taken up", n, len(got))
		}
		if err := again.remove(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSpillIsAskedInOrder: has tells members from what lies beside them.
func TestSpillIsAskedInOrder(t *testing.T) {
	s := spilled(t, vfs.NewMem(), 2, []uint64{9, 4, 1 << 63, 4, 1<<64 - 1})
	m, err := s.sorted()
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	for _, ask := range []struct {
		n    uint64
		want bool
	}{{0, false}, {3, false}, {4, true}, {4, true}, {5, false}, {9, true}, {1<<63 - 1, false}, {1 << 63, true}, {1<<64 - 2, false}, {1<<64 - 1, true}} {
		if got, err := m.has(ask.n); err != nil || got != ask.want {
			t.Errorf("%d: %v, %v", ask.n, got, err)
		}
	}
}

// TestSpillIsReadWithCare: a run that is cut, out of order or gone is an error.
func TestSpillIsReadWithCare(t *testing.T) {
	fsys := vfs.NewMem()
	s := spilled(t, fsys, 4, []uint64{1, 2, 3, 4})
	path := "/s/prune/" + s.runs[0].Name
	whole := readAll(t, fsys, path)
	read := func() error {
		m, err := s.open(s.runs)
		if err != nil {
			return err
		}
		defer m.close()
		for m.ok {
			if err := m.step(); err != nil {
				return err
			}
		}
		return nil
	}
	for n := range len(whole) + 1 {
		writeAll(t, fsys, path, whole[:n])
		if err := read(); (err == nil) != (n == len(whole)) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	writeAll(t, fsys, path, append(append([]byte(nil), whole[8:]...), whole[:8]...))
	if read() == nil {
		t.Error("a run out of order was read")
	}
	if err := fsys.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := reopenSpill(fsys, "/s/prune", s.runs, s.next); err == nil {
		t.Error("a run that is gone was taken up")
	}
}
