// Command scale makes the catalog and index of a store of many chunks, without
// their data, and measures what must not grow with it:
//
//	make bench-scale CHUNKS=100000000
//
// Maps are real records in real packs, 64 chunks to a region; the chunks are
// entries in the index alone, of packs that are empty files. It prints how long
// the store takes to open, to list, to mount and to forget a version, what a
// look-up costs, and the rate and the memory of a prune's mark. It takes 130 bytes
// of disk a chunk and removes them. -keep leaves the store for the next call.
// With -disk it captures, restores and scrubs a real disk in that store and in an
// empty one, turn by turn, and compares:
//
//	bin/scale -chunks 1000000 -only growth -disk web.raw
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	perRegion = 64 // chunks of a region: 4 MiB on the grid
	full      = 100_000_000
)

type options struct {
	chunks, versions int
	dir              string
	program          string
	results          string
	only             string
	disk             string
	keep             bool
}

func main() {
	var o options
	flag.IntVar(&o.chunks, "chunks", 10_000_000, "chunks in the index")
	flag.IntVar(&o.versions, "versions", 10_000, "versions in the catalog")
	flag.StringVar(&o.dir, "dir", "", "directory to work in (default a temporary one)")
	flag.StringVar(&o.program, "holdfast", "bin/holdfast", "the program, which mounts")
	flag.StringVar(&o.results, "results", "", "directory for the results file; empty: none")
	flag.StringVar(&o.only, "only", "", "measure only: store, lookups, mount, directory, growth")
	flag.StringVar(&o.disk, "disk", "", "raw image that growth captures; empty: growth is left out")
	flag.BoolVar(&o.keep, "keep", false, "keep the stores in dir, or measure those that are there")
	child := flag.String("measure", "", "what a process of its own measures; for the program itself")
	flag.Parse()
	err := func() error {
		if *child != "" {
			return measureChild(*child, o)
		}
		return run(o)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// parts are measured one after the other, each in a process of its own: its
// memory is that of the measured work.
var parts = []string{"store", "lookups", "mount", "directory", "growth"}

func run(o options) error {
	if !o.keep {
		work, err := os.MkdirTemp(o.dir, "holdfast-scale-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(work)
		o.dir = work
	}
	r := newReport(o.chunks, o.versions)
	for _, part := range parts {
		if o.only != "" && o.only != part || o.only == "" && part == "growth" && o.disk == "" {
			continue
		}
		if err := makeUnlessThere(o, part); err != nil {
			return fmt.Errorf("make the store: %w", err)
		}
		for _, step := range stepsOf(part) {
			figures, err := measureIn(o, step)
			if err != nil {
				return fmt.Errorf("%s: %w", step, err)
			}
			r.Figures = append(r.Figures, figures...)
		}
	}
	r.print(os.Stdout)
	if o.results == "" {
		return nil
	}
	return r.save(o.results)
}

// stepsOf are the processes that measure a part. What seasons a store has a process of
// its own, as the peak memory of a program is at least that of who starts it.
func stepsOf(part string) []string {
	if part == "growth" {
		return []string{"season", part}
	}
	return []string{part}
}

// storeOf is the store that a part measures.
func (o options) storeOf(part string) (dir string, sh shape) {
	if part == "directory" {
		return filepath.Join(o.dir, "one-vm"), shape{vms: 1, each: o.versions, regions: 1}
	}
	return filepath.Join(o.dir, "store"), shapeOf(o.chunks, o.versions)
}

func makeUnlessThere(o options, part string) error {
	dir, sh := o.storeOf(part)
	if _, err := os.Stat(filepath.Join(dir, "made")); err == nil {
		return nil
	}
	if err := makeStore(context.Background(), dir, sh); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "made"), nil, 0o644)
}

// measureIn measures one part in a process of its own.
func measureIn(o options, part string) (figures []figure, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-measure", part, "-dir", o.dir, "-holdfast", o.program, "-disk", o.disk,
		"-chunks", fmt.Sprint(o.chunks), "-versions", fmt.Sprint(o.versions))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	return figures, json.Unmarshal(out, &figures)
}

func measureChild(part string, o options) error {
	dir, sh := o.storeOf(part)
	r := newReport(sh.chunks(), o.versions)
	err := errors.New("no such part")
	switch part {
	case "store":
		err = measureStore(context.Background(), dir, r)
	case "lookups":
		err = measureLookups(context.Background(), dir, r)
	case "mount":
		err = measureMount(o.program, dir, r)
	case "season":
		err = season(dir)
	case "growth":
		err = measureGrowth(o.program, dir, o.disk, r)
	case "directory":
		err = measureDirectory(o.program, dir, o.versions, r)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r.Figures)
}
