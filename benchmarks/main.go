// Command benchmarks measures holdfast beside its bounds and its peers on this
// machine, in one run, on the data of a real VM disk:
//
//	make bench         five rounds, with restic and borg
//	make bench-space   only what a fleet of disks takes, beside restic and borg
//	make bench-quick   three rounds on less data, without peers
//
// Every road (first capture, second capture, sequential and random reads through
// the mount, restore, a tree of 20,000 of a guest's files and a large one) is run by each contestant in turn, round after round, so
// that what else the machine does hits all of them. Figures are medians of
// rounds; a ratio is the median of the rounds' own ratios to the first
// contestant, which is the raw file itself. The page cache is dropped before
// each run. Absolute figures are no promise: machines differ.
//
// It prints a table, writes benchmarks/results/<date>-<commit>.json and appends
// a row to benchmarks/DIARY.md (-diary=false leaves both out). It needs root.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "fewer rounds, less data, no peers")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds of each comparison (default 5, quick 3)")
	flag.StringVar(&o.binary, "holdfast", "bin/holdfast", "the program to measure")
	flag.StringVar(&o.dir, "dir", "", "directory to work in (default a temporary one)")
	flag.StringVar(&o.only, "road", "", "run only roads whose name contains this")
	flag.BoolVar(&o.space, "space", false, "measure only what a fleet takes")
	flag.BoolVar(&o.diary, "diary", true, "write the results file and the diary's row")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

type options struct {
	quick  bool
	rounds int
	binary string
	dir    string
	only   string
	space  bool
	diary  bool
}

func run(ctx context.Context, o options) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("dropping the page cache and mounting need root")
	}
	if o.rounds == 0 {
		o.rounds = 5
		if o.quick {
			o.rounds = 3
		}
	}
	var err error
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "holdfast-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.dir)
	}
	m := readMachine()
	fmt.Println(m)
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	report := Report{Machine: m, Data: b.data, Rounds: o.rounds, Missing: b.missing}
	if !o.space {
		if report.Roads, err = b.runRoads(ctx); err != nil {
			return err
		}
	}
	if o.space || !o.quick && o.only == "" {
		if report.Space, err = b.space(ctx); err != nil {
			return err
		}
	}
	report.print(os.Stdout)
	if !o.diary {
		return nil
	}
	return report.save("benchmarks")
}
