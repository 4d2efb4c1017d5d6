package main

import (
	"fmt"
	"os"
	"strings"
)

const diaryHead = `# Diary of the benchmarks

One row a run of ` + "`make bench`" + `: how many goals were met, and holdfast's ratios to its bounds and peers that
have one, medians of one run. Ratios count, machines differ. The whole run lies in results/.

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
	_, err = f.WriteString(r.row())
	return err
}

// row is the run in one line.
func (r *Report) row() string {
	var data, ratios []string
	for _, d := range r.Disks {
		data = append(data, fmt.Sprintf("%s %.0f MB", d.Name, float64(d.Data)/mb))
	}
	if met, missed, open := r.count(); met+missed+open > 0 {
		ratios = append(ratios, fmt.Sprintf("%d goals met, %d missed, %d not judged", met, missed, open))
	}
	for _, road := range r.Roads {
		for _, g := range road.Goals {
			if g.State != goalUnknown && g.To != "" {
				ratios = append(ratios, fmt.Sprintf("%s: %s / %s %s %s", road.Road, g.Of, g.To, g.By, figure(g.Median)))
			}
		}
	}
	if r.Space != nil {
		for _, k := range r.Space.Stores[1:] {
			ratios = append(ratios, fmt.Sprintf("space: to %s %.2f", k.Name, r.Space.ratio(k)))
		}
		ratios = append(ratios, fmt.Sprintf("space: reordered VM %.3f", r.Space.Again))
	}
	return fmt.Sprintf("| %s | %s | %d × %s | %s | %s | %s |\n", r.Machine.Date, r.Machine.Commit, r.Machine.Cores, r.Machine.CPU, r.Machine.Go,
		strings.Join(data, ", "), strings.Join(ratios, "; "))
}
