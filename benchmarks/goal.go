package main

import (
	"fmt"
	"strings"
)

// measure is what a goal is about. Its text stands in the results file.
type measure string

const (
	byRate   measure = "rate"       // bytes or operations a second
	byWall   measure = "wall time"  // seconds
	byMillis measure = "ms"         // of wall time
	byCPU    measure = "CPU/GiB"    // seconds of CPU a GiB
	byP50    measure = "p50"        // µs
	byTail   measure = "p99/p50"    //
	byMemory measure = "peak MiB"   //
	byServed measure = "KiB served" // what the daemon wrote into /dev/fuse, at most
)

// of is a sample's figure.
func (m measure) of(s Sample) float64 {
	switch m {
	case byRate:
		return s.rate()
	case byWall:
		return s.Wall.Seconds()
	case byMillis:
		return s.Wall.Seconds() * 1000
	case byCPU:
		return s.CPU.Seconds() / (float64(s.Bytes) / (1 << 30))
	case byP50:
		return micros(s.P50)
	case byTail:
		return float64(s.P99) / float64(s.P50)
	case byMemory:
		return float64(s.Memory) / (1 << 20)
	case byServed:
		return float64(s.Served) / (1 << 10)
	}
	panic("unknown measure " + string(m))
}

// Goal is what a pair of contestants, or one alone, must reach.
type Goal struct {
	Of    string  `json:"of"`
	To    string  `json:"to,omitempty"` // "": Of's own figure counts, not a ratio
	By    measure `json:"by"`
	Most  bool    `json:"at_most,omitempty"` // else at least
	Bound float64 `json:"bound"`
}

// atLeast is the goal that of's figure is at least bound times to's.
func atLeast(of, to string, by measure, bound float64) Goal {
	return Goal{Of: of, To: to, By: by, Bound: bound}
}

// atMost is the goal that of's figure is at most bound times to's.
func atMost(of, to string, by measure, bound float64) Goal {
	return Goal{Of: of, To: to, By: by, Most: true, Bound: bound}
}

// String reads like «holdfast / restic: rate ≥ 5».
func (g Goal) String() string {
	pair, sign := g.Of, "≥"
	if g.To != "" {
		pair += " / " + g.To
	}
	if g.Most {
		sign = "≤"
	}
	return fmt.Sprintf("%s: %s %s %g", pair, g.By, sign, g.Bound)
}

// States of a goal.
const (
	goalMet     = "met"
	goalMissed  = "missed"
	goalUnknown = "not judged"
)

// Verdict is a goal and what came of it.
type Verdict struct {
	Goal
	State  string  `json:"state"`
	Why    string  `json:"why,omitempty"` // it was not judged
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// String is the goal with its verdict.
func (v Verdict) String() string {
	if v.State == goalUnknown {
		return fmt.Sprintf("%-10s %s (%s)", v.State, v.Goal, v.Why)
	}
	return fmt.Sprintf("%-10s %s: %s (%s-%s)", v.State, v.Goal, figure(v.Median), figure(v.Low), figure(v.High))
}

// judge holds the median of the rounds against the goal. A contestant that did
// not run leaves it unjudged; which peers can't be had is told elsewhere.
func (g Goal) judge(by map[string][]Sample) (Verdict, error) {
	v := Verdict{Goal: g, State: goalUnknown}
	for _, name := range []string{g.Of, g.To} {
		if name != "" && len(by[name]) == 0 {
			v.Why = name + " did not run"
			return v, nil
		}
	}
	values := valuesOf(by[g.Of], g.By.of)
	if g.To != "" {
		values = ratios(by[g.Of], by[g.To], g.By.of)
	}
	s := spreadOf(values)
	if s.median-s.median != 0 { // NaN or infinite
		return v, fmt.Errorf("goal %q: its figures were not measured", g)
	}
	v.Median, v.Low, v.High, v.State = s.median, s.low, s.high, goalMissed
	if g.Most && s.median <= g.Bound || !g.Most && s.median >= g.Bound {
		v.State = goalMet
	}
	return v, nil
}

// figure shows three digits of a number that may be of any size.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1:
		return fmt.Sprintf("%.2f", v)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.2g", v), ".0")
}
