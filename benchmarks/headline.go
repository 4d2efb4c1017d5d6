package main

import "strings"

// bar is one bar of a chart: how many times as fast as the other holdfast is.
type bar struct {
	Road  string
	To    string // a peer, or the bound
	Ratio float64
}

// headlineRoads are those of the chart in the README, with the contestant that
// is ours, and the bound that it is held against.
var headlineRoads = []struct{ road, title, ours, bound string }{
	{"first capture", "first capture", "holdfast", boundCapture},
	{"second capture, nothing changed", "second capture", "holdfast", boundHash},
	{"sequential read, cold", "sequential read", ourRaw, "raw file"},
	{"random 4 KiB, cold, depth 1", "random 4 KiB reads", ourRaw, "raw file"},
	{"restore to a raw file", "restore", "holdfast", boundDecode},
	{"boot to the marker", "boot from the mount", bootOurs, bootRaw},
}

// headline are the bars of the README's chart: each road beside each peer that
// took part and beside its bound.
func (r *Report) headline() (bars []bar) {
	for _, h := range headlineRoads {
		for _, road := range r.Roads {
			if road.Road == h.road {
				bars = append(bars, road.bars(h.title, h.ours, h.bound)...)
			}
		}
	}
	return bars
}

// boundName stands for whatever a road's bound is.
const boundName = "this machine's bound"

func (r *Result) bars(title, ours, bound string) (bars []bar) {
	own := r.samples(ours)
	for _, l := range r.Lines {
		name := strings.TrimSuffix(l.Name, " mount")
		if l.Name == bound {
			name = boundName
		}
		if name != boundName && !isPeer(name) || len(own) == 0 {
			continue
		}
		bars = append(bars, bar{title, name, median(ratios(own, l.Samples, Sample.rate))})
	}
	return bars
}

func (r *Result) samples(name string) []Sample {
	for _, l := range r.Lines {
		if l.Name == name {
			return l.Samples
		}
	}
	return nil
}

func isPeer(name string) bool {
	for _, p := range peerPrograms {
		if p.name == name {
			return true
		}
	}
	return false
}
