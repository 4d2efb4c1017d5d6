package main

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colours that stay apart for the colour-blind (Okabe and Ito).
var barColours = []color.Color{
	color.RGBA{0x99, 0x99, 0x99, 0xff}, color.RGBA{0x00, 0x72, 0xb2, 0xff}, color.RGBA{0xe6, 0x9f, 0x00, 0xff},
	color.RGBA{0x00, 0x9e, 0x73, 0xff}, color.RGBA{0xcc, 0x79, 0xa7, 0xff}, color.RGBA{0x56, 0xb4, 0xe9, 0xff},
}

// colourOf is a series' colour: green and red for goals.
func colourOf(name string, i int) color.Color {
	switch name {
	case goalMet:
		return color.RGBA{0x00, 0x9e, 0x73, 0xff}
	case goalMissed:
		return color.RGBA{0xd5, 0x5e, 0x00, 0xff}
	}
	return barColours[i%len(barColours)]
}

const (
	barHeight  = vg.Length(11)
	chartWidth = 26 * vg.Centimeter
	legendAt   = 14 * vg.Centimeter
)

// draw writes the charts of a run: name-headline.svg and name-goals.svg, and
// those of a whole run also as headline.svg in dir.
func (r *Report) draw(name, dir string) error {
	note := fmt.Sprintf("%s, commit %s, %d cores", r.Machine.Date, r.Machine.Commit, r.Machine.Cores)
	charts := map[string][]bar{name + "-headline.svg": r.headline(), name + "-goals.svg": r.goalBars()}
	titles := map[string]string{
		name + "-headline.svg": "holdfast is so many times as fast as … (" + note + ")",
		name + "-goals.svg":    "each goal: 1 and more is met (" + note + ")",
	}
	if !r.Quick && r.Part == "" {
		path := filepath.Join(dir, "headline.svg")
		charts[path], titles[path] = r.headline(), titles[name+"-headline.svg"]
	}
	for path, bars := range charts {
		if len(bars) == 0 {
			continue
		}
		if err := drawBars(path, titles[path], bars); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// goalBars are the goals that were judged: above 1 they are met.
func (r *Report) goalBars() (bars []bar) {
	for _, road := range r.Roads {
		for _, g := range road.Goals {
			v := g.Median / g.Bound
			if g.Most {
				v = 1 / v
			}
			if g.State != goalUnknown && !math.IsInf(v, 0) && v > 0 {
				bars = append(bars, bar{road.Road + ": " + g.Goal.String(), g.State, v})
			}
		}
	}
	return bars
}

// drawBars draws bars in groups of a road, from 1 to the right or, where
// holdfast is slower, to the left, on a logarithmic axis.
func drawBars(path, title string, bars []bar) error {
	groups, series := labelsOf(bars)
	deep := 1 // bars of a group that lie one below the other
	if len(bars) > len(groups) {
		deep = len(series)
	}
	p := plot.New()
	p.Title.Text, p.Title.Padding = title, vg.Points(6)
	size := map[*font.Font]font.Length{&p.Title.TextStyle.Font: 11, &p.Y.Tick.Label.Font: 9, &p.X.Tick.Label.Font: 9, &p.Legend.TextStyle.Font: 9}
	for f, points := range size {
		f.Variant, f.Size = "Sans", points
	}
	if err := addSeries(p, bars, groups, series, deep); err != nil {
		return err
	}
	low, high := rangeOf(bars)
	p.X.Tick.Marker = plot.ConstantTicks(decades(low, high))
	p.NominalY(groups...)
	p.Y.Tick.LineStyle.Width, p.Y.LineStyle.Width = 0, 0
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = low, high, -0.6, float64(len(groups))-0.4
	if deep > 1 {
		p.Y.Min -= 0.9 // a place for the legend
	}
	p.Y.Padding = vg.Points(16)
	p.Legend.Left, p.Legend.XOffs = true, legendAt // the names to the right of the colours, whatever font shows them
	height := (vg.Length(p.Y.Max-p.Y.Min))*(vg.Length(deep)*barHeight+vg.Points(9)) + 3*vg.Centimeter
	return save(p, height, path)
}

// save writes a chart with a margin: the font that shows it may be wider.
func save(p *plot.Plot, height vg.Length, path string) error {
	canvas := vgsvg.New(chartWidth, height)
	const margin = vg.Length(14)
	p.Draw(draw.Crop(draw.New(canvas), 2*margin, -margin, margin, -margin))
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// addSeries adds one series of bars for each of whom holdfast is held against.
func addSeries(p *plot.Plot, bars []bar, groups, series []string, deep int) error {
	grid := plotter.NewGrid()
	grid.Horizontal.Width = 0
	p.Add(grid)
	for s, name := range slices.Backward(series) {
		values := make(plotter.Values, len(groups))
		var labels plotter.XYLabels
		for _, b := range bars {
			if b.To == name {
				g := slices.Index(groups, b.Road)
				values[g] = math.Log10(b.Ratio)
				labels.XYs = append(labels.XYs, plotter.XY{X: max(values[g], 0), Y: float64(g)})
				labels.Labels = append(labels.Labels, figure(b.Ratio)+"×")
			}
		}
		chart, err := plotter.NewBarChart(values, barHeight-1)
		if err != nil {
			return err
		}
		chart.Horizontal, chart.Color, chart.LineStyle.Width = true, colourOf(name, s), 0
		if deep > 1 {
			chart.Offset = (vg.Length(len(series)-1)/2 - vg.Length(s)) * barHeight
		}
		text, err := plotter.NewLabels(labels)
		if err != nil {
			return err
		}
		for i := range text.TextStyle {
			text.TextStyle[i].Font.Size, text.TextStyle[i].Font.Variant = 8, "Sans"
			text.TextStyle[i].YAlign = draw.YCenter
		}
		text.Offset = vg.Point{X: 3, Y: chart.Offset}
		p.Add(chart, text)
		p.Legend.Add(name, chart)
	}
	return nil
}

// labelsOf lists the groups from below to above, as the axis counts, and the
// series as they come.
func labelsOf(bars []bar) (groups, series []string) {
	for _, b := range bars {
		if !slices.Contains(groups, b.Road) {
			groups = append(groups, b.Road)
		}
		if !slices.Contains(series, b.To) {
			series = append(series, b.To)
		}
	}
	slices.Reverse(groups)
	return groups, series
}

// rangeOf is the axis in decades, with room for the labels.
func rangeOf(bars []bar) (low, high float64) {
	for _, b := range bars {
		low, high = min(low, math.Log10(b.Ratio)), max(high, math.Log10(b.Ratio))
	}
	room := max(0.3, (high-low)/8)
	return low - room/3, high + room
}

// decades are the axis' marks: 1, 2, 5, 10 and so on; of a long axis 1, 10, 100.
func decades(low, high float64) (ticks []plot.Tick) {
	marks := []float64{1, 2, 5}
	if high-low > 3 {
		marks = marks[:1]
	}
	for e := math.Floor(low); e <= high; e++ {
		for _, m := range marks {
			v := m * math.Pow(10, e)
			if at := math.Log10(v); at >= low && at <= high {
				ticks = append(ticks, plot.Tick{Value: at, Label: fmt.Sprintf("%g×", v)})
			}
		}
	}
	return ticks
}
