package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// Report is a whole run.
type Report struct {
	Machine Machine  `json:"machine"`
	Quick   bool     `json:"quick,omitempty"`
	Disks   []Disk   `json:"disks"`
	Rounds  int      `json:"rounds"`
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
	fmt.Fprintf(w, "\nMedians of %d interleaved rounds; ratios to the first contestant, round by round, lowest to highest.\n", r.Rounds)
	for _, d := range r.Disks {
		fmt.Fprintf(w, "disk %s: %s; %.0f MB, %.0f MB of data\n", d.Name, d.What, float64(d.Size)/mb, float64(d.Data)/mb)
	}
	for _, m := range r.Missing {
		fmt.Fprintln(w, "peer left out:", m)
	}
	for _, road := range r.Roads {
		road.print(w)
	}
}

func (r *Result) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s (%s; %s)\n", r.Road, r.About, r.Cache)
	tw := tabwriter.NewWriter(w, 2, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "\t%s\tratio\tspread\twall s\tCPU s\tpeak MiB\tp50 µs\tp99 µs\t\n", r.Unit)
	for _, l := range r.Lines {
		fmt.Fprintf(tw, "%s\t%s\t%.2f\t%.2f-%.2f\t%s\t%s\t%s\t%s\t%s\t\n", l.Name, r.shown(l), l.Ratio, l.Low, l.High,
			some(l.Wall, "%.2f"), some(l.CPU, "%.2f"), some(float64(l.Memory)/(1<<20), "%.0f"), some(l.P50, "%.0f"), some(l.P99, "%.0f"))
	}
	tw.Flush()
	for name, why := range r.Failed {
		fmt.Fprintf(w, "  peer failed: %s: %s\n", name, why)
	}
	for _, g := range r.Goals {
		fmt.Fprintln(w, "  "+g.String())
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
func some(v float64, format string) string {
	if v == 0 || math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf(format, v)
}

// save writes the results file and appends the diary's row.
func (r *Report) save(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%s.json", r.Machine.Date, r.Machine.Commit)
	if err := os.MkdirAll(filepath.Join(dir, "results"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results", name), append(b, '\n'), 0o644); err != nil {
		return err
	}
	return r.appendRow(filepath.Join(dir, "DIARY.md"))
}

const diaryHead = `# Diary of the benchmarks

One row a run of ` + "`make bench`" + `: the medians of holdfast's ratios to the road's first contestant (the raw
file, cp), in one run. Ratios count, machines differ. The whole run lies in results/.

| date | commit | machine | Go | data | ratios |
|---|---|---|---|---|---|
`

func (r *Report) appendRow(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() == 0 {
		if _, err := f.WriteString(diaryHead); err != nil {
			return err
		}
	}
	var ratios []string
	for _, road := range r.Roads {
		for _, l := range road.Lines[1:] {
			ratios = append(ratios, fmt.Sprintf("%s: %s %.2f", road.Road, l.Name, l.Ratio))
		}
	}
	if r.Space != nil {
		for _, k := range r.Space.Stores[1:] {
			ratios = append(ratios, fmt.Sprintf("space: to %s %.2f", k.Name, r.Space.ratio(k)))
		}
		ratios = append(ratios, fmt.Sprintf("space: reordered VM %.3f", r.Space.Again))
	}
	_, err = fmt.Fprintf(f, "| %s | %s | %d × %s | %s | %.0f MB | %s |\n", r.Machine.Date, r.Machine.Commit, r.Machine.Cores, r.Machine.CPU, r.Machine.Go,
		float64(r.Disks[0].Data)/mb, strings.Join(ratios, "; "))
	return err
}
