package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// figure is one thing that was measured.
type figure struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Goal    float64 `json:"goal,omitempty"` // at most, or at least; 0: none
	AtLeast bool    `json:"at_least,omitempty"`
	Met     bool    `json:"met"`
	Note    string  `json:"note,omitempty"`
}

// report is a whole run.
type report struct {
	Date     string   `json:"date"`
	Commit   string   `json:"commit"`
	CPU      string   `json:"cpu"`
	Cores    int      `json:"cores"`
	Go       string   `json:"go"`
	Chunks   int      `json:"chunks"`
	Versions int      `json:"versions"`
	Figures  []figure `json:"figures"`
}

func newReport(chunks, versions int) *report {
	return &report{
		Date: time.Now().UTC().Format(time.DateOnly), Commit: firstLine(exec.Command("git", "describe", "--always", "--dirty").Output()),
		CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Go: runtime.Version(), Chunks: chunks, Versions: versions,
	}
}

// add enters a figure whose goal, if it has one, is not to be exceeded.
func (r *report) add(name string, value float64, unit string, goal float64) *figure {
	r.Figures = append(r.Figures, figure{Name: name, Value: value, Unit: unit, Goal: goal, Met: goal == 0 || value <= goal})
	f := &r.Figures[len(r.Figures)-1]
	fmt.Fprintf(os.Stderr, "%s: %.4g %s\n", name, value, unit)
	return f
}

// atLeast enters a figure that is to reach its goal.
func (r *report) atLeast(name string, value float64, unit string, goal float64) *figure {
	f := r.add(name, value, unit, 0)
	f.Goal, f.AtLeast, f.Met = goal, true, value >= goal
	return f
}

func (r *report) took(name string, d time.Duration, goal time.Duration) {
	r.add(name, float64(d.Microseconds())/1000, "ms", float64(goal.Milliseconds()))
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s  commit %s  %d × %s  %s\n%d chunks, %d versions\n\n", r.Date, r.Commit, r.Cores, r.CPU, r.Go, r.Chunks, r.Versions)
	tw := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
	for _, f := range r.Figures {
		goal, verdict := "", ""
		if f.Goal > 0 {
			goal, verdict = fmt.Sprintf("≤ %.4g", f.Goal), "met"
			if f.AtLeast {
				goal = fmt.Sprintf("≥ %.4g", f.Goal)
			}
			if !f.Met {
				verdict = "MISSED"
			}
		}
		fmt.Fprintf(tw, "%s\t%.4g %s\t%s\t%s\t%s\n", f.Name, f.Value, f.Unit, goal, verdict, f.Note)
	}
	tw.Flush()
}

// save writes the results file. What a part of the same run has left there, and was
// not measured again, stays.
func (r *report) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := filepath.Join(dir, fmt.Sprintf("scale-%s-%s-%dm.json", r.Date, r.Commit, r.Chunks/1_000_000))
	all := *r
	var before report
	if b, err := os.ReadFile(name); err == nil && json.Unmarshal(b, &before) == nil {
		all.Figures = slices.DeleteFunc(before.Figures, func(f figure) bool {
			return slices.ContainsFunc(r.Figures, func(g figure) bool { return g.Name == f.Name })
		})
		all.Figures = append(all.Figures, r.Figures...)
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o644)
}

func firstLine(b []byte, err error) string {
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// field returns the first value of a key in a file of "key: value" lines.
func field(path, key string) string {
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if k, v, ok := strings.Cut(in.Text(), ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}
