package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Report is a whole run.
type Report struct {
	Machine Machine  `json:"machine"`
	Rounds  int      `json:"rounds"`
	Quick   bool     `json:"quick,omitempty"`
	Part    string   `json:"part,omitempty"` // of the roads: those with this in their name
	Disks   []Disk   `json:"disks"`
	Missing []string `json:"missing_peers,omitempty"`
	Roads   []Result `json:"roads"`
	Space   *Space   `json:"space,omitempty"`
}

func (r *Report) print(w io.Writer) {
	if r.Space != nil {
		defer r.Space.print(w)
	}
	if len(r.Roads) == 0 {
		return
	}
	fmt.Fprintf(w, "\nMedians of %d interleaved rounds. A ratio is to the first contestant, round by round.\n", r.Rounds)
	for _, d := range r.Disks {
		fmt.Fprintf(w, "disk %s: %s; %.0f MB, %.0f MB of data\n", d.Name, d.What, float64(d.Size)/mb, float64(d.Data)/mb)
	}
	for _, road := range r.Roads {
		road.print(w)
	}
	fmt.Fprintln(w)
	for _, m := range r.Missing {
		fmt.Fprintln(w, "peer left out:", m)
	}
	met, missed, open := r.count()
	fmt.Fprintf(w, "goals: %d met, %d missed, %d not judged\n", met, missed, open)
}

// count tells how many goals came out how.
func (r *Report) count() (met, missed, open int) {
	for _, road := range r.Roads {
		for _, g := range road.Goals {
			switch g.State {
			case goalMet:
				met++
			case goalMissed:
				missed++
			default:
				open++
			}
		}
	}
	return met, missed, open
}

// print shows a road in 80 columns, for as long as names are short.
func (r *Result) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %s; %s\n", strings.ToUpper(r.Road), r.About, r.Cache)
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.Options{SeparateHeader: true}
	t.Style().Format.Header = text.FormatDefault
	t.Style().Box.PaddingLeft, t.Style().Box.PaddingRight = "", "  "
	head := table.Row{"", r.Unit, "ratio", "spread", "wall s", "CPU s", "MiB", "p50 µs", "p99 µs"}
	asked := slices.ContainsFunc(r.Goals, func(g Verdict) bool { return g.By == byServed })
	if asked { // what was asked for again, as the kernel had taken it back, is no one's fault here
		head = append(head, "KiB served", "KiB refault")
	}
	t.AppendHeader(head)
	var right []table.ColumnConfig
	for i := 2; i <= len(head); i++ {
		right = append(right, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(right)
	for _, l := range r.Lines {
		name := l.Name
		if n := len(l.Samples); n < len(r.Lines[0].Samples) {
			name += fmt.Sprintf(" (%d rounds)", n)
		}
		row := table.Row{name, r.shown(l), fmt.Sprintf("%.2f", l.Ratio), fmt.Sprintf("%.2f-%.2f", l.Low, l.High), some(l.Wall), some(l.CPU),
			some(float64(l.Memory) / (1 << 20)), some(l.P50), some(l.P99)}
		if asked {
			row = append(row, some(l.Served), some(l.Refault))
		}
		t.AppendRow(row)
	}
	t.SuppressEmptyColumns()
	t.SuppressTrailingSpaces()
	t.Render()
	for _, name := range slices.Sorted(maps.Keys(r.Failed)) {
		fmt.Fprintf(w, "peer failed: %s: %s\n", name, r.Failed[name])
	}
	for _, g := range r.Goals {
		fmt.Fprintln(w, g.String())
	}
}

// shown is a rate as the table has it.
func (r *Result) shown(l Line) string {
	switch r.Unit {
	case rateUnit:
		return figure(l.Rate / mb)
	case timeUnit:
		return figure(l.Wall)
	}
	return figure(l.Rate)
}

// some leaves out what was not measured.
func some(v float64) string {
	if v == 0 || math.IsNaN(v) {
		return ""
	}
	return figure(v)
}

// keep writes the samples so far into the unfinished results file, which save removes.
func (r *Report) keep(dir string) error { return r.write(r.unfinished(dir)) }

// unfinished is the results file of a run that has not come to its end.
func (r *Report) unfinished(dir string) string {
	return filepath.Join(dir, "results", r.fileName()+"-unfinished.json")
}

func (r *Report) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// save writes the results file and its charts, and appends the diary's row.
func (r *Report) save(dir string) error {
	name := filepath.Join(dir, "results", r.fileName())
	if err := r.write(name + ".json"); err != nil {
		return err
	}
	if err := os.Remove(r.unfinished(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := r.draw(name, dir); err != nil {
		return fmt.Errorf("draw the charts: %w", err)
	}
	return r.appendRow(filepath.Join(dir, "DIARY.md"))
}

// fileName names a run. A run of a part of the roads has a name of its own, so that
// it never replaces a whole one's results.
func (r *Report) fileName() string {
	name := r.Machine.Date + "-" + r.Machine.Commit
	if r.Quick {
		name += "-quick"
	}
	if r.Part != "" {
		name += "-" + plain(r.Part)
	}
	return name
}

// plain is a name as a part of a file's: small letters and digits, and dashes
// for the rest.
func plain(name string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(name), func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9')
	}), "-")
}

// readReports reads what save wrote, and puts parts of one commit, measured on one
// kind of machine, together.
func readReports(paths []string) (*Report, error) {
	var whole *Report
	for _, path := range paths {
		r, err := readReport(path)
		switch {
		case err != nil:
			return nil, err
		case whole == nil:
			whole = r
			continue
		case r.Machine.Commit != whole.Machine.Commit || r.Machine.CPU != whole.Machine.CPU || r.Quick != whole.Quick:
			return nil, fmt.Errorf("%s is of another commit, machine or kind than %s", path, paths[0])
		}
		whole.Roads, whole.Part = append(whole.Roads, r.Roads...), ""
	}
	return whole, nil
}

// readReport reads what save wrote.
func readReport(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(Report)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("results file %s: %w", path, err)
	}
	return r, nil
}
