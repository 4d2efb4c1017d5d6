package main

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
		{[]float64{5, 5, 5, 1, 100}, 5},
	} {
		before := append([]float64(nil), c.of...)
		if got := median(c.of); got != c.want {
			t.Errorf("median(%v) = %v, want %v", before, got, c.want)
		}
		if !reflect.DeepEqual(before, c.of) {
			t.Errorf("median changed its values: %v to %v", before, c.of)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("the median of nothing is a number")
	}
}

// sampled are runs of one byte that took so many seconds.
func sampled(seconds ...float64) (list []Sample) {
	for _, s := range seconds {
		list = append(list, Sample{Wall: time.Duration(s * float64(time.Second)), Bytes: 1000})
	}
	return list
}

// A machine that slows down in one round hits both: the ratio of medians would
// be 1, the median of the rounds' ratios is 2.
func TestRatiosArePaired(t *testing.T) {
	a, b := sampled(1, 2, 4, 8, 16), sampled(2, 4, 8, 16, 32)
	s := spreadOf(ratios(a, b, Sample.rate))
	if s.median != 2 || s.low != 2 || s.high != 2 {
		t.Fatalf("%+v, want 2 throughout", s)
	}
	s = spreadOf(ratios(sampled(1, 4), sampled(4, 1, 9), Sample.rate))
	if s.low != 0.25 || s.high != 4 {
		t.Fatalf("%+v, want 0.25 to 4", s)
	}
}

func TestRate(t *testing.T) {
	for _, c := range []struct {
		of   Sample
		want float64
	}{
		{Sample{Wall: 2 * time.Second, Bytes: 10}, 5},
		{Sample{Wall: 2 * time.Second, Bytes: 4096 * 10, Ops: 10}, 5},
		{Sample{Wall: 4 * time.Second}, 0.25},
	} {
		if got := c.of.rate(); got != c.want {
			t.Errorf("rate of %+v = %v, want %v", c.of, got, c.want)
		}
	}
}

func TestMeasures(t *testing.T) {
	s := Sample{Wall: 3 * time.Second, CPU: 2 * time.Second, Bytes: 1 << 29, Memory: 5 << 20, P50: 20 * time.Microsecond, P99: time.Millisecond, Served: 2048}
	for m, want := range map[measure]float64{byWall: 3, byCPU: 4, byMemory: 5, byP50: 20, byTail: 50, byServed: 2, byRate: (1 << 29) / 3.0} {
		if got := m.of(s); math.Abs(got-want) > 1e-9*want {
			t.Errorf("%s = %v, want %v", m, got, want)
		}
	}
}

func TestGoals(t *testing.T) {
	by := map[string][]Sample{"a": sampled(1, 1, 1), "b": sampled(5, 4, 6)}
	for _, c := range []struct {
		goal  Goal
		state string
	}{
		{atLeast("a", "b", byRate, 5), goalMet},
		{atLeast("a", "b", byRate, 5.01), goalMissed},
		{atMost("a", "b", byWall, 0.2), goalMet},
		{atMost("a", "b", byWall, 0.19), goalMissed},
		{atMost("b", "", byWall, 5), goalMet},
		{atLeast("b", "", byWall, 5.5), goalMissed},
		{atMost("a", "", byServed, 0), goalMet},
		{atLeast("a", "absent", byRate, 1), goalUnknown},
		{atLeast("absent", "a", byRate, 1), goalUnknown},
	} {
		v, err := c.goal.judge(by)
		if err != nil || v.State != c.state {
			t.Errorf("%s: %q %v, want %q", c.goal, v.State, err, c.state)
		}
		if v.State == goalUnknown && !strings.Contains(v.String(), "absent") {
			t.Errorf("%s does not say who is absent", v)
		}
	}
	if _, err := atMost("a", "", byTail, 5).judge(by); err == nil {
		t.Error("a goal on what was not measured was judged")
	}
}

func TestJudgeLeavesOutWhoFailed(t *testing.T) {
	r := &Road{contestants: []contestant{{name: "a"}, {name: "b", peer: true}, {name: "c"}}, goals: []Goal{atLeast("a", "b", byRate, 1), atLeast("c", "a", byRate, 2)}}
	res, err := r.judge([][]Sample{sampled(2, 2), nil, sampled(1, 1)}, map[string]string{"b": "broke"})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Lines) != 2 || res.Lines[1].Name != "c" || res.Lines[1].Ratio != 2 {
		t.Errorf("lines %+v", res.Lines)
	}
	if res.Goals[0].State != goalUnknown || res.Goals[1].State != goalMet || res.Failed["b"] != "broke" {
		t.Errorf("goals %+v, failed %v", res.Goals, res.Failed)
	}
	r.contestants[1].name = "a"
	if _, err := r.judge([][]Sample{sampled(1), sampled(1), sampled(1)}, nil); err == nil {
		t.Error("two contestants of one name were judged")
	}
}

// aReport is a run with every kind of figure.
func aReport() *Report {
	r := &Road{name: "first capture", group: "capture", unit: rateUnit, about: "web", contestants: []contestant{{name: boundCapture}, {name: "holdfast"}, {name: "restic", peer: true}},
		goals: []Goal{atLeast("holdfast", "restic", byRate, 5), atLeast("holdfast", "desync", byRate, 5)}}
	res, err := r.judge([][]Sample{sampled(1, 2), sampled(2, 2), sampled(9, 20)}, map[string]string{"borg": "no\ndisk"})
	if err != nil {
		panic(err)
	}
	return &Report{Machine: Machine{Date: "2026-11-22", Commit: "abc", CPU: "cpu", Cores: 2, Go: "go1"}, Rounds: 2,
		Disks: []Disk{{"web", "a disk", 10, 5}}, Missing: []string{"desync: not installed"}, Roads: []Result{res}}
}

func TestSaveAndReadBack(t *testing.T) {
	dir, r := t.TempDir(), aReport()
	if err := r.save(dir); err != nil {
		t.Fatal(err)
	}
	if err := r.save(dir); err != nil { // again: the diary grows by a row only
		t.Fatal(err)
	}
	got, err := readReport(filepath.Join(dir, "results", "2026-11-22-abc.json"))
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Fatalf("read back %+v, %v, want %+v", got, err, r)
	}
	diary := readFile(t, filepath.Join(dir, "DIARY.md"))
	row := "| 2026-11-22 | abc | 2 × cpu | go1 | web 0 MB | 1 goals met, 0 missed, 1 not judged; first capture: holdfast / restic rate 7.25 |\n"
	if strings.Count(diary, row) != 2 || strings.Count(diary, "# Diary") != 1 {
		t.Errorf("the diary is\n%s", diary)
	}
	for name, ratio := range map[string]string{"results/2026-11-22-abc-headline.svg": "7.25", "results/2026-11-22-abc-goals.svg": "1.45", "headline.svg": "7.25"} {
		svg := readFile(t, filepath.Join(dir, name))
		if !strings.Contains(svg, "<svg") || !strings.Contains(svg, ratio) {
			t.Errorf("%s does not show the ratio", name)
		}
	}
}

// TestUnfinishedRunIsKept: what was measured stays when a run does not come to its end,
// is no result, and goes when it does.
func TestUnfinishedRunIsKept(t *testing.T) {
	dir, r := t.TempDir(), aReport()
	for range 2 { // after each road
		if err := r.keep(dir); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "results", "2026-11-22-abc-unfinished.json")
	if got, err := readReport(path); err != nil || !reflect.DeepEqual(got, r) {
		t.Fatalf("unfinished: %+v, %v, want %+v", got, err, r)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(files) != 1 {
		t.Errorf("an unfinished run left %v, %v, want results alone", files, err)
	}
	if err := r.save(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the run is saved, its unfinished results: %v", err)
	}
}

// TestPartsOfARun: parts don't replace a whole run's results, and those of one commit
// are put together.
func TestPartsOfARun(t *testing.T) {
	dir, whole := t.TempDir(), aReport()
	var paths []string
	for _, part := range []string{"", "first capture", "scrub;boot", "other"} {
		r := aReport()
		if r.Part = part; part == "other" {
			r.Machine.Commit = "def"
		}
		if err := r.save(dir); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, filepath.Join(dir, "results", r.fileName()+".json"))
	}
	for i, name := range []string{"2026-11-22-abc.json", "2026-11-22-abc-first-capture.json", "2026-11-22-abc-scrub-boot.json", "2026-11-22-def-other.json"} {
		if filepath.Base(paths[i]) != name {
			t.Errorf("part %d is in %s, want %s", i, paths[i], name)
		}
	}
	got, err := readReports(paths[1:3])
	whole.Roads = append(whole.Roads, whole.Roads...)
	if err != nil || !reflect.DeepEqual(got, whole) {
		t.Errorf("both parts: %+v, %v, want %+v", got, err, whole)
	}
	if _, err := readReports(paths); err == nil {
		t.Error("parts of two commits were put together")
	}
}

// TestPrintTellsWhoTookBack: where it counts what is served, the table has what the kernel
// had taken back; elsewhere it has neither.
func TestPrintTellsWhoTookBack(t *testing.T) {
	boot := &Road{name: "boot", unit: timeUnit, contestants: []contestant{{name: "holdfast"}}, goals: []Goal{atMost("holdfast", "", byServed, noRead)}}
	res, err := boot.judge([][]Sample{{{Wall: time.Second, Served: 5 << 10, Refault: 7 << 10}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var with, without strings.Builder
	res.print(&with)
	aReport().Roads[0].print(&without)
	for _, want := range []string{"KiB served", "KiB refault", " 5.00 ", " 7.00"} {
		if !strings.Contains(with.String(), want) {
			t.Errorf("%q is not in\n%s", want, with.String())
		}
	}
	if strings.Contains(without.String(), "KiB") {
		t.Errorf("nobody asked what was served:\n%s", without.String())
	}
	if n := refaulted(); n < 0 || n%int64(os.Getpagesize()) != 0 {
		t.Errorf("%d bytes were taken back so far", n)
	}
}

func TestPrintNamesWhoIsAbsent(t *testing.T) {
	var out strings.Builder
	aReport().print(&out)
	for _, want := range []string{"peer left out: desync: not installed", "peer failed: borg", "met        holdfast / restic: rate ≥ 5", "not judged holdfast / desync", "1 met, 0 missed, 1 not judged"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestSlowPeersRunTwice(t *testing.T) {
	for c, want := range map[struct {
		name string
		peer bool
	}]int{{"casync mount", true}: 2, {"zbackup", true}: 2, {"zbackup", false}: 5, {"borg", true}: 5} {
		if got := (&contestant{name: c.name, peer: c.peer}).most(5); got != want {
			t.Errorf("%s runs %d times, want %d", c.name, got, want)
		}
	}
}

func TestRoadNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range roads() {
		if e.name == "" || e.group == "" || e.make == nil || seen[e.name] {
			t.Errorf("road %q in group %q: a name, a group and a constructor, once", e.name, e.group)
		}
		seen[e.name] = true
	}
	for _, h := range headlineRoads {
		if !seen[h.road] {
			t.Errorf("the headline shows the road %q, which is not there", h.road)
		}
	}
}
