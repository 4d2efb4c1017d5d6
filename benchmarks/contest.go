package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"time"
)

// Road is one comparison. The first contestant is what the others are held
// against.
type Road struct {
	name        string
	unit        string // of the rate: "MB/s" or "IOPS"
	contestants []contestant
}

type contestant struct {
	name string
	// prepare runs before the clock starts and before caches are dropped.
	prepare func(ctx context.Context, round int) error
	run     func(ctx context.Context, round int) (Sample, error)
}

// Result is what a road measured.
type Result struct {
	Road  string `json:"road"`
	Unit  string `json:"unit"`
	Lines []Line `json:"contestants"`
}

// Line is one contestant's figures.
type Line struct {
	Name    string   `json:"name"`
	Rate    float64  `json:"rate_median"`
	Ratio   float64  `json:"ratio_median"` // to the first contestant, by rounds
	Low     float64  `json:"ratio_low"`
	High    float64  `json:"ratio_high"`
	CPU     float64  `json:"cpu_seconds_median"`
	Memory  int64    `json:"peak_memory"`
	P50     float64  `json:"p50_us,omitempty"`
	P99     float64  `json:"p99_us,omitempty"`
	Samples []Sample `json:"samples"`
}

// race runs a road's contestants in turn, round after round.
func (r *Road) race(ctx context.Context, rounds int) (Result, error) {
	samples := make([][]Sample, len(r.contestants))
	for round := range rounds {
		for i, c := range r.contestants {
			fmt.Fprintf(os.Stderr, "%s: round %d of %d: %s\n", r.name, round+1, rounds, c.name)
			if c.prepare != nil {
				if err := c.prepare(ctx, round); err != nil {
					return Result{}, fmt.Errorf("%s: %s: %w", r.name, c.name, err)
				}
			}
			if err := dropCaches(); err != nil {
				return Result{}, err
			}
			s, err := c.run(ctx, round)
			if err != nil {
				return Result{}, fmt.Errorf("%s: %s: %w", r.name, c.name, err)
			}
			samples[i] = append(samples[i], s)
		}
	}
	res := Result{Road: r.name, Unit: r.unit}
	for i, c := range r.contestants {
		res.Lines = append(res.Lines, line(c.name, samples[i], samples[0]))
	}
	return res, nil
}

func line(name string, own, first []Sample) Line {
	l := Line{Name: name, Samples: own}
	ratios := make([]float64, len(own))
	for i := range own {
		ratios[i] = own[i].rate() / first[i].rate()
		l.Memory = max(l.Memory, own[i].Memory)
	}
	l.Ratio, l.Low, l.High = median(ratios), slices.Min(ratios), slices.Max(ratios)
	l.Rate = medianOf(own, Sample.rate)
	l.CPU = medianOf(own, func(s Sample) float64 { return s.CPU.Seconds() })
	l.P50 = medianOf(own, func(s Sample) float64 { return float64(s.P50) / float64(time.Microsecond) })
	l.P99 = medianOf(own, func(s Sample) float64 { return float64(s.P99) / float64(time.Microsecond) })
	return l
}

func medianOf(s []Sample, f func(Sample) float64) float64 {
	v := make([]float64, len(s))
	for i := range s {
		v[i] = f(s[i])
	}
	return median(v)
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	if len(v) == 0 {
		return math.NaN()
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
