package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Result is what a road measured.
type Result struct {
	Road  string    `json:"road"`
	Group string    `json:"group"`
	About string    `json:"about"`
	Unit  string    `json:"unit"`
	Cache string    `json:"page_cache"` // "cold" or "warm"
	Lines []Line    `json:"contestants"`
	Goals []Verdict `json:"goals,omitempty"`
	// Failed are the peers that took part and failed, and how.
	Failed map[string]string `json:"failed,omitempty"`
}

// Line is one contestant's figures.
type Line struct {
	Name    string   `json:"name"`
	Rate    float64  `json:"rate_median"`
	Ratio   float64  `json:"ratio_median"` // to the first contestant, by rounds
	Low     float64  `json:"ratio_low"`
	High    float64  `json:"ratio_high"`
	Wall    float64  `json:"wall_seconds_median"`
	CPU     float64  `json:"cpu_seconds_median"`
	Memory  int64    `json:"peak_memory"`
	P50     float64  `json:"p50_us,omitempty"`
	P99     float64  `json:"p99_us,omitempty"`
	Served  float64  `json:"served_kib_median,omitempty"`
	Refault float64  `json:"refault_kib_median,omitempty"`
	Samples []Sample `json:"samples"`
}

// judge makes the result of each contestant's samples, a sample a round; who has
// none has failed.
func (r *Road) judge(samples [][]Sample, failed map[string]string) (Result, error) {
	res := Result{Road: r.name, Group: r.group, About: r.about, Unit: r.unit, Cache: "cold", Failed: failed}
	if r.warm {
		res.Cache = "warm"
	}
	by := map[string][]Sample{}
	for i, c := range r.contestants {
		if by[c.name] != nil {
			return res, fmt.Errorf("two contestants are named %q", c.name)
		}
		if len(samples[i]) == 0 {
			continue
		}
		by[c.name] = samples[i]
		res.Lines = append(res.Lines, line(c.name, samples[i], samples[0]))
	}
	for _, g := range r.goals {
		v, err := g.judge(by)
		if err != nil {
			return res, err
		}
		res.Goals = append(res.Goals, v)
	}
	return res, nil
}

func line(name string, own, first []Sample) Line {
	l := Line{Name: name, Samples: own}
	for _, s := range own {
		l.Memory = max(l.Memory, s.Memory)
	}
	s := spreadOf(ratios(own, first, Sample.rate))
	l.Ratio, l.Low, l.High = s.median, s.low, s.high
	l.Rate = medianOf(own, Sample.rate)
	l.Wall = medianOf(own, func(s Sample) float64 { return s.Wall.Seconds() })
	l.CPU = medianOf(own, func(s Sample) float64 { return s.CPU.Seconds() })
	l.P50 = medianOf(own, func(s Sample) float64 { return micros(s.P50) })
	l.P99 = medianOf(own, func(s Sample) float64 { return micros(s.P99) })
	l.Served = medianOf(own, byServed.of)
	l.Refault = medianOf(own, func(s Sample) float64 { return float64(s.Refault) / (1 << 10) })
	return l
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// ratios pairs the samples of two contestants round by round.
func ratios(a, b []Sample, of func(Sample) float64) []float64 {
	v := make([]float64, min(len(a), len(b)))
	for i := range v {
		v[i] = of(a[i]) / of(b[i])
	}
	return v
}

type spread struct{ median, low, high float64 }

// spreadOf of no values is all NaN.
func spreadOf(v []float64) spread {
	if len(v) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	return spread{median(v), slices.Min(v), slices.Max(v)}
}

func valuesOf(s []Sample, of func(Sample) float64) []float64 {
	v := make([]float64, len(s))
	for i := range s {
		v[i] = of(s[i])
	}
	return v
}

func medianOf(s []Sample, of func(Sample) float64) float64 { return median(valuesOf(s, of)) }

// median of an even number of values is the mean of the two in the middle; of
// none it is NaN.
func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	if len(v) == 0 {
		return math.NaN()
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
