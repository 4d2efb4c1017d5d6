package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// entry is a road in the table. It is made when its turn has come, so that what
// it needs is built only then.
type entry struct {
	name  string
	group string
	quick bool // runs in make bench-quick too
	make  func(*bench, context.Context) (*Road, error)
}

// roads is the table of all roads, in the order in which they run.
func roads() []entry {
	return slices.Concat(boundRoads, captureRoads, readRoads, randomRoads, manyRoads, bootRoads, restoreRoads, scrubRoads, besideRoads, pruneRoads, guestRoads, nameRoads)
}

// selected are the roads that the options ask for.
func (o *options) selected() (list []entry) {
	for _, e := range roads() {
		if o.quick && !e.quick && o.only == "" {
			continue
		}
		if e.answers(o.only) {
			list = append(list, e)
		}
	}
	return list
}

// answers reports whether one of the parts of only, between semicolons, is in the
// road's name or group.
func (e entry) answers(only string) bool {
	return slices.ContainsFunc(strings.Split(only, ";"), func(part string) bool {
		return strings.Contains(e.name, part) || strings.Contains(e.group, part)
	})
}

// runRoads races every road that was asked for. A road that fails is left out of
// the results and named in the error; the others run all the same. A run that is
// stopped keeps what it has. keep, unless nil, gets the results so far after each road.
func (b *bench) runRoads(ctx context.Context, keep func([]Result) error) (results []Result, failed error) {
	list := b.selected()
	if len(list) == 0 {
		return nil, fmt.Errorf("no road has %q in its name or group; see -list", b.only)
	}
	for i, e := range list {
		fmt.Fprintf(os.Stderr, "road %d of %d: %s\n", i+1, len(list), e.name)
		res, err := b.runRoad(ctx, e)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", e.name, err))
			fmt.Fprintf(os.Stderr, "road %d of %d: %s: %v\n", i+1, len(list), e.name, err)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		results = append(results, res)
		if keep == nil {
			continue
		}
		if err := keep(results); err != nil {
			return results, errors.Join(failed, err)
		}
	}
	return results, failed
}

func (b *bench) runRoad(ctx context.Context, e entry) (Result, error) {
	defer b.unmountAll()
	r, err := e.make(b, ctx)
	if err != nil {
		return Result{}, err
	}
	r.name, r.group = e.name, e.group
	r.warm = r.warm || b.keepCache
	if b.profiles {
		b.profiled(r)
	}
	return r.race(ctx, b.rounds)
}

func listRoads(w io.Writer) {
	for _, e := range roads() {
		mark := ""
		if e.quick {
			mark = "  (quick too)"
		}
		fmt.Fprintf(w, "%-10s %s%s\n", e.group, e.name, mark)
	}
}
