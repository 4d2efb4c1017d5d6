package main

import (
	"bytes"
	"fmt"
	"testing"
)

// TestRuntimeTrace gives a daemon's standard error in pieces of each length.
func TestRuntimeTrace(t *testing.T) {
	const text = `holdfast: warning: one
SCHED 10000ms: gomaxprocs=2 idleprocs=2 threads=4
  P0: status=0 schedtick=8
  M0: p=nil curg=nil
  G1: status=4(select) m=nil lockedm=nil
  G2: status=6() m=nil lockedm=nil
  G3: status=3(IO wait (idle)) m=nil lockedm=nil
gc 7 @0.012s 2%: 0.026+0.52+0.003 ms clock, 0.1+0.1/0.2/0.3+0.1 ms cpu, 310->322->298 MB, 620 MB goal, 0 MB stacks, 0 MB globals, 2 P
holdfast: warning: two
SCHED 20000ms: gomaxprocs=2
`
	for step := 1; step <= len(text); step += 7 {
		var others bytes.Buffer
		r := &runtimeTrace{others: &others}
		for at := 0; at < len(text); at += step {
			fmt.Fprint(r, text[at:min(at+step, len(text))])
		}
		heap, goroutines := r.now()
		if heap != 298 || goroutines != 2 || r.collections() != 1 || others.String() != "holdfast: warning: one\nholdfast: warning: two\n" {
			t.Errorf("in pieces of %d: heap %d MiB, %d goroutines, others %q", step, heap, goroutines, others.String())
		}
	}
}

// TestSoakJudgesGrowth gives daemons that stay, that grow, and that are only busier in
// one quarter of the time than in another.
func TestSoakJudgesGrowth(t *testing.T) {
	const rest, pools = 290, 60 // MiB
	for _, c := range []struct {
		name        string
		kept, taken func(i int) float64 // at the sample of that number, of 360: always, and beside it while it is read from
		met         bool
	}{
		{"stays", func(int) float64 { return rest }, func(i int) float64 { return pools + float64(i%7) }, true},
		{"grows", func(i int) float64 { return rest + float64(i)/4 }, func(int) float64 { return pools }, false},
		{"warms up", func(i int) float64 { return min(rest, 100+30*float64(i)) }, func(int) float64 { return pools }, true},
		{"rests at first", func(int) float64 { return rest }, func(i int) float64 {
			if i < 90 && i%3 > 0 {
				return 0
			}
			return pools
		}, true},
		{"rests later and grows", func(i int) float64 { return rest + float64(i)/8 }, func(i int) float64 {
			if i >= 270 && i%3 > 0 {
				return 0
			}
			return pools
		}, false},
		{"takes more and more while it is read from", func(int) float64 { return rest }, func(i int) float64 { return float64(i) / 4 }, false},
	} {
		r := &soakReport{}
		for i := range 360 {
			s := soakSample{Goroutines: float64(40 + i%5), Threads: 18, Files: 42}
			if s.RSS, s.Heap = c.kept(i), c.kept(i); i%18 == 17 {
				r.Rests = append(r.Rests, s)
			}
			s.RSS, s.Heap = s.RSS+c.taken(i), s.Heap+c.taken(i)
			r.Samples = append(r.Samples, s)
		}
		r.judge()
		if len(r.Measures) != 7 {
			t.Fatalf("%s: %+v", c.name, r.Measures)
		}
		met := true
		for i, m := range r.Measures {
			met = met && m.Met
			if i >= 4 && !m.Met {
				t.Errorf("%s: %+v", c.name, m)
			}
		}
		if met != c.met {
			t.Errorf("%s: met is %v, want %v: %+v", c.name, met, c.met, r.Measures)
		}
	}
}

// TestSoakLevel takes levels of few samples.
func TestSoakLevel(t *testing.T) {
	for _, c := range []struct {
		of    []float64
		share float64
		want  float64
	}{
		{[]float64{7}, 0.5, 7}, {[]float64{7}, 0.9, 7}, {[]float64{9, 1}, 0.9, 9}, {[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{5, 4, 3, 2, 1, 6, 7, 8, 9, 10}, 0.9, 9}, {[]float64{1, 2, 3}, 1, 3}, {[]float64{3, 2, 1}, 0, 1},
	} {
		if got := level(c.of, c.share); got != c.want {
			t.Errorf("level %v of %v: %v, want %v", c.share, c.of, got, c.want)
		}
	}
}
