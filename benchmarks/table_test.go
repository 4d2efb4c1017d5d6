package main

import "testing"

func TestRoadsAreChosen(t *testing.T) {
	e := entry{name: "quick scrub", group: "prove"}
	for only, want := range map[string]bool{"": true, "scrub": true, "prove": true, "boot;prove": true, "boot": false, "boot;restore": false} {
		if got := e.answers(only); got != want {
			t.Errorf("-road %q takes %q: %v, want %v", only, e.name, got, want)
		}
	}
}

func TestNoRoadIsAnError(t *testing.T) {
	b := &bench{options: options{only: "no road has this name"}, made: map[string]any{}}
	if results, err := b.runRoads(t.Context(), nil); err == nil || results != nil {
		t.Errorf("no road was chosen: %v, %v", results, err)
	}
}
