// Command benchmarks measures holdfast beside its bounds and its peers on this
// machine, in one run, on real VM disks:
//
//	make bench         five rounds, with every peer that can be had
//	make bench-quick   fewer rounds on small disks, without peers
//	make bench-space   only what a fleet of disks takes, beside restic and borg
//	make bench-soak    an hour of mixed load on one mount: does it grow?
//	make bench-profiles   where our CPU time goes on the roads that miss a goal, as text in benchmarks/profiles
//
// # How it measures
//
// A road is one comparison. Its contestants run in turn, round after round (A B
// A B …), so that what else the machine does hits all of them. A figure is the
// median of the rounds; a ratio of two contestants is the median of the rounds'
// own ratios, with the lowest and the highest beside it. A road says whether it is
// cold (the page cache is dropped before each run, and whoever serves a mount is
// started anew for it) or warm (what is read was read just before). Each run gives
// wall time, the CPU time of all who took part (reader, program, daemon), the
// program's or the daemon's peak memory, and for small reads p50 and p99. A goal
// says what a pair of contestants must reach; it is printed as met or missed, and
// as not judged where a contestant can't be had. Absolute figures are no promise:
// machines differ.
//
// The disks: "web" is a real Debian VM, sparse, with holes and free space, as a
// hypervisor keeps it; "half" is 8 GiB (-half) of data that compresses to about a
// half, made from a seed, without a filesystem; "boot" is the small Debian that
// boots. The VM's disks are built once and cached in ~/.cache/holdfast-tests.
//
// # How to add a road
//
// Write its constructor in a file of its own and list it there:
//
//	var myRoads = []entry{{name: "deep scrub", group: "scrub", quick: true, make: (*bench).deepScrub}}
//
//	func (b *bench) deepScrub(ctx context.Context) (*Road, error) {
//		store, err := b.captured(ctx, b.web) // a store with the disk in it, made once
//		return &Road{unit: rateUnit, about: "web, cold", contestants: []contestant{
//			{name: "cat the packs", run: …},
//			{name: "holdfast", run: func(ctx context.Context, _ int) (Sample, error) { return b.holdfast(ctx, b.web.data, store, "scrub", "--deep") }},
//		}, goals: []Goal{atLeast("holdfast", "cat the packs", byRate, 0.5)}}, err
//	}
//
// and add myRoads to the table in table.go. A contestant's prepare and finish are
// not measured; b.peers gives the programs that can be had. The first contestant is
// what the table's ratios are held against: the bound, where there is one.
//
//	go run ./benchmarks -list
//	go run ./benchmarks -road "deep scrub" -rounds 3 -diary=false
//
// # What it leaves
//
// A table on standard output; benchmarks/results/<date>-<commit>.json with every
// sample, and charts of it as SVG beside it; a row in benchmarks/DIARY.md
// (-diary=false leaves all of them out). A whole run also draws headline.svg, which
// the README shows; -draw FILE draws a run's charts anew. While a run goes, and after
// one that was stopped, the samples so far are in results/<date>-<commit>-unfinished.json.
// It needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

type options struct {
	quick     bool
	withPeers bool
	without   string // peers that are left out, between commas
	rounds    int
	binary    string
	dir       string
	only      string
	list      bool
	half      int64 // bytes of the half-compressible disk
	space     bool
	soak      time.Duration // of mixed load, and nothing else
	soakShare float64       // of a core that it may take
	profiles  bool          // leave profiles, and no figures
	diary     bool
	out       string // directory of the results and the diary
	draw      string // results file to draw anew, and nothing else
	keepCache bool   // for tests: drop no page cache, whatever a road says
}

func main() {
	if asMemoryServer(os.Args) {
		if err := serveMemory(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "benchmarks:", err)
			os.Exit(1)
		}
		return
	}
	o, err := parseOptions()
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

func parseOptions() (options, error) {
	var o options
	var half string
	var without bool
	flag.BoolVar(&o.quick, "quick", false, "fewer rounds, small disks, no peers")
	flag.BoolVar(&o.withPeers, "peers", false, "with -quick: with the peers")
	flag.BoolVar(&without, "no-peers", false, "without the peers")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds of each comparison (default 5, quick 3)")
	flag.StringVar(&o.binary, "holdfast", "bin/holdfast", "the program to measure")
	flag.StringVar(&o.dir, "dir", "", "directory to work in (default a temporary one)")
	flag.StringVar(&o.only, "road", "", "run only roads whose name or group contains `SUBSTRING`; several between semicolons")
	flag.StringVar(&o.without, "without", "", "`PEERS` to leave out, between commas")
	flag.BoolVar(&o.list, "list", false, "only list the roads")
	flag.StringVar(&half, "half", "", "`SIZE` of the half-compressible disk (default 8GiB, quick 256MiB)")
	flag.BoolVar(&o.space, "space", false, "measure only what a fleet takes")
	flag.DurationVar(&o.soak, "soak", 0, "only load a mount for `LONG` and see whether it grows")
	flag.Float64Var(&o.soakShare, "soak-cpu", 1, "with -soak: the `SHARE` of one core that load and daemon may take")
	flag.BoolVar(&o.profiles, "profiles", false, "leave CPU profiles of our contestants as text in the directory profiles of -out, and no figures")
	flag.BoolVar(&o.diary, "diary", true, "write the results file, the charts and the diary's row")
	flag.StringVar(&o.out, "out", "benchmarks", "`DIR` of the results, the charts and the diary")
	flag.StringVar(&o.draw, "draw", "", "only draw the charts of a results `FILE` anew; of several parts of one commit, between commas, together")
	flag.Parse()
	o.withPeers = (o.withPeers || !o.quick) && !without
	if o.rounds == 0 {
		o.rounds = 5
		if o.quick {
			o.rounds = 3
		}
	}
	if half == "" {
		half = "8GiB"
		if o.quick {
			half = "256MiB"
		}
	}
	var err error
	if o.half, err = parseSize(half); err != nil {
		return o, err
	}
	o.binary, err = filepath.Abs(o.binary)
	return o, err
}

func run(ctx context.Context, o options) error {
	if o.list {
		listRoads(os.Stdout)
		return nil
	}
	if o.draw != "" {
		r, err := readReports(strings.Split(o.draw, ","))
		if err != nil {
			return err
		}
		return r.draw(filepath.Join(o.out, "results", r.fileName()), o.out)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("dropping the page cache and mounting need root")
	}
	var err error
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "holdfast-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.dir)
	}
	m := readMachine()
	fmt.Println(m)
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer b.close()
	if o.soak > 0 {
		return runSoak(ctx, b, o)
	}
	if o.profiles {
		results, err := b.runRoads(ctx, nil)
		return errors.Join(err, b.writeProfiles(ctx, filepath.Join(o.out, "profiles"), m, results))
	}
	report := Report{Machine: m, Rounds: o.rounds, Quick: o.quick, Part: o.only, Missing: b.missing}
	return b.report(ctx, &report)
}

// report measures what the options ask for, prints it and saves it. What a run that is
// stopped, or that fails at its end, has measured is printed and stays in the unfinished
// results file.
func (b *bench) report(ctx context.Context, r *Report) error {
	var failed error // what is not in the report
	if !b.space {
		keep := func(results []Result) error {
			r.Roads, r.Disks = results, b.used()
			return r.keep(b.out)
		}
		if !b.diary {
			keep = nil
		}
		if r.Roads, failed = b.runRoads(ctx, keep); len(r.Roads) == 0 {
			return failed
		}
	}
	if b.space || !b.quick && b.only == "" {
		var err error
		if r.Space, err = b.fleetSpace(ctx); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	r.Disks = b.used()
	r.print(os.Stdout)
	switch {
	case !b.diary:
		return failed
	case ctx.Err() != nil:
		return errors.Join(failed, r.keep(b.out), fmt.Errorf("stopped; what was measured is in %s", r.unfinished(b.out)))
	}
	return errors.Join(failed, r.save(b.out))
}
