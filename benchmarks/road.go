package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Units of a rate.
const (
	rateUnit = "MB/s"
	iopsUnit = "IOPS"
	timeUnit = "s" // the rate is runs a second; tables show the time
)

// Road is one comparison. The first contestant is what the others are held
// against in the table.
type Road struct {
	name        string // these two come from the table of roads
	group       string
	unit        string // rateUnit, iopsUnit or timeUnit
	about       string // which disk, and what is measured
	warm        bool   // the page cache is left as it is; else it is dropped before each run
	contestants []contestant
	goals       []Goal
}

type contestant struct {
	name string
	peer bool // its failure ends its part in the road, not the run
	warm bool // as in Road, for this contestant alone
	// prepare runs before the clock starts and before caches are dropped; nil: nothing.
	prepare func(ctx context.Context, round int) error
	// warms is a directory whose files are read into the page cache when it was
	// dropped, before the clock starts; "": none.
	warms string
	run   func(ctx context.Context, round int) (Sample, error)
	// finish undoes prepare, also when the run failed; nil: nothing.
	finish func() error
}

// named gives a contestant another name.
func named(name string, c contestant) contestant {
	c.name = name
	return c
}

// warmed leaves the page cache to a contestant.
func warmed(c contestant) contestant {
	c.warm = true
	return c
}

// slowRounds is how often peers run that are many times slower than the others
// and that no goal is about.
const slowRounds = 2

// most is how many of the rounds a contestant takes part in.
func (c *contestant) most(rounds int) int {
	for _, slow := range []string{"zbackup", "casync"} {
		if c.peer && strings.HasPrefix(c.name, slow) {
			return min(rounds, slowRounds)
		}
	}
	return rounds
}

// race runs a road's contestants in turn, round after round.
func (r *Road) race(ctx context.Context, rounds int) (Result, error) {
	samples := make([][]Sample, len(r.contestants))
	failed := map[string]string{}
	for round := range rounds {
		for i := range r.contestants {
			c := &r.contestants[i]
			if failed[c.name] != "" || round >= c.most(rounds) {
				continue
			}
			fmt.Fprintf(os.Stderr, "%s: round %d of %d: %s\n", r.name, round+1, rounds, c.name)
			s, err := c.once(ctx, round, r.warm || c.warm)
			if err != nil && c.peer && ctx.Err() == nil {
				failed[c.name], samples[i] = err.Error(), nil
				fmt.Fprintf(os.Stderr, "%s: %s: %v\n", r.name, c.name, err)
				continue
			}
			if err != nil {
				return Result{}, fmt.Errorf("%s: %w", c.name, err)
			}
			samples[i] = append(samples[i], s)
		}
	}
	return r.judge(samples, failed)
}

// once is one run of one contestant.
func (c *contestant) once(ctx context.Context, round int, warm bool) (s Sample, err error) {
	if c.finish != nil {
		defer func() { err = errors.Join(err, c.finish()) }()
	}
	if c.prepare != nil {
		if err := c.prepare(ctx, round); err != nil {
			return s, err
		}
	}
	if !warm {
		if err := dropCaches(); err != nil {
			return s, err
		}
	}
	if c.warms != "" {
		if err := readFiles(ctx, c.warms); err != nil {
			return s, err
		}
	}
	refault := refaulted()
	if s, err = c.run(ctx, round); err != nil {
		return s, err
	}
	s.Refault = refaulted() - refault
	return s, ctx.Err()
}
