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
		if heap != 298 || goroutines != 2 || others.String() != "holdfast: warning: one\nholdfast: warning: two\n" {
			t.Errorf("in pieces of %d: heap %d MiB, %d goroutines, others %q", step, heap, goroutines, others.String())
		}
	}
}

// TestSoakJudgesGrowth gives a daemon that stays, one that grows and one that grew
// only while it warmed up.
func TestSoakJudgesGrowth(t *testing.T) {
	for _, c := range []struct {
		name string
		rss  func(i int) float64
		met  bool
	}{
		{"stays", func(i int) float64 { return 400 + float64(i%7) }, true},
		{"grows", func(i int) float64 { return 400 + float64(i)/4 }, false},
		{"warms up", func(i int) float64 { return min(400, 100+30*float64(i)) }, true},
	} {
		r := &soakReport{}
		for i := range 360 {
			r.Samples = append(r.Samples, soakSample{RSS: c.rss(i), Heap: 300, Goroutines: float64(40 + i%5), Threads: 18, Files: 42})
		}
		r.judge()
		if len(r.Measures) != 5 || r.Measures[0].Met != c.met {
			t.Errorf("%s: %+v", c.name, r.Measures)
		}
		for _, m := range r.Measures[1:] {
			if !m.Met {
				t.Errorf("%s: %+v", c.name, m)
			}
		}
	}
}
