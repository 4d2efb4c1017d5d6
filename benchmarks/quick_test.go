package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestQuickRoads runs one round of some roads on small disks, so that the
// benchmarks don't rot between the runs that count. Nothing is judged: another
// test's load decides the figures.
func TestQuickRoads(t *testing.T) {
	b := quickBench(t, options{})
	want := map[string]string{ // road and a contestant that must have a figure
		"second capture, 1 % changed":             "holdfast, 1 % changed",
		"sequential read, warm":                   ourQcow2,
		"random 4 KiB, cold, depth 1":             ourRaw + packsCached,
		"restore onto a disk that differs by 1 %": "holdfast, onto the disk",
	}
	for _, e := range roads() {
		who, ok := want[e.name]
		if !ok {
			continue
		}
		delete(want, e.name)
		res, err := b.runRoad(context.Background(), e)
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		s := res.samples(who)
		if len(s) != 1 || s[0].rate() <= 0 || s[0].Memory <= 0 || len(res.Goals) == 0 {
			t.Errorf("%s: %s: %+v, goals %v", e.name, who, s, res.Goals)
		}
	}
	for name := range want {
		t.Errorf("there is no road %q", name)
	}
	if isMounted(b.path("mnt")) {
		t.Error("a mount is left")
	}
	if _, err := os.Stat(b.path("changed.raw")); err == nil {
		t.Error("a copy of the disk is left")
	}
}

// TestProfiles sees that a road's profiles are ours, and written as text. What
// they show is left open: so short a run may have been sampled never.
func TestProfiles(t *testing.T) {
	b := quickBench(t, options{profiles: true})
	var results []Result
	for _, e := range roads() {
		if e.name != "second capture, half-compressible" {
			continue
		}
		res, err := b.runRoad(context.Background(), e)
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		results = append(results, res)
	}
	dir := filepath.Join(b.dir, "out")
	if err := b.writeProfiles(context.Background(), dir, Machine{}, results); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v, want one road's", files, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "second-capture-half-compressible.txt"))
	tables := strings.Count(string(text), "flat%")
	if err != nil || !strings.HasPrefix(string(text), "second capture, half-compressible: holdfast\n") || tables != 2 {
		t.Errorf("%v: want two tables, of ours alone:\n%s", err, text)
	}
	if _, set := os.LookupEnv(profileEnv); set {
		t.Error("what is not ours would leave profiles, too")
	}
}

// quickBench is a bench on small disks for a test, with a program built for it.
func quickBench(t *testing.T, o options) *bench {
	t.Helper()
	o.quick, o.rounds, o.dir, o.half, o.keepCache = true, 1, t.TempDir(), 8<<20, true
	o.binary = filepath.Join(o.dir, "holdfast")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", o.binary, "holdfast/cmd/holdfast").CombinedOutput(); err != nil {
		t.Fatalf("build holdfast: %v\n%s", err, out)
	}
	b, err := newBench(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}
