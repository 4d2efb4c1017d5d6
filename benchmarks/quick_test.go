package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestQuickRoads runs one round of some roads on small disks, so that the
// benchmarks don't rot between the runs that count. Nothing is judged: another
// test's load decides the figures.
func TestQuickRoads(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "holdfast")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "holdfast/cmd/holdfast").CombinedOutput(); err != nil {
		t.Fatalf("build holdfast: %v\n%s", err, out)
	}
	b, err := newBench(options{quick: true, rounds: 1, binary: binary, dir: dir, half: 8 << 20, keepCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
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
	if isMounted(filepath.Join(dir, "mnt")) {
		t.Error("a mount is left")
	}
	if _, err := os.Stat(filepath.Join(dir, "changed.raw")); err == nil {
		t.Error("a copy of the disk is left")
	}
}
