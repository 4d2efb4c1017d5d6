package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"holdfast/tests/vm"
)

// A soak is a mount under mixed load for long: does the process that serves it grow?
// The load (soak_load.go) is held to a share of one core, daemon and commands
// included, so that it can run beside other work: how fast it goes is of no interest.
const (
	soakEvery  = 10 * time.Second // between two samples
	soakGrowth = 1.05             // of the first quarter's figure, at most
	soakSlack  = 4                // of things that are counted one by one
)

// What is compared, as like can only be compared with like: how much memory is in use at
// a moment says first of all how busy the mount is, and a quarter of an hour that was
// busier than another looks like growth. So memory is compared at rest, behind collections
// while nobody read (soakLoad.rest), which is what is kept; and under load, as the level
// that nine of ten samples are below: all quarters have busy minutes. Of the things that are counted
// one by one it is the median.

// soakSample is what the daemon has at a moment.
type soakSample struct {
	Seconds    float64 `json:"s"`
	RSS        float64 `json:"rss_mib"`
	Heap       float64 `json:"heap_mib"` // live behind the last collection, the cache of chunks included
	Goroutines float64 `json:"goroutines"`
	Threads    float64 `json:"threads"`
	Files      float64 `json:"open_files"`
	CPU        float64 `json:"cpu_s"`
}

// soakMeasure is one of those that must not grow.
type soakMeasure struct {
	Name  string  `json:"name"`
	First float64 `json:"first_quarter"`
	Last  float64 `json:"last_quarter"`
	Most  float64 `json:"most"`
	Ratio float64 `json:"ratio"`
	Met   bool    `json:"met"`
}

// soakReport is a whole run.
type soakReport struct {
	Machine  Machine          `json:"machine"`
	Minutes  float64          `json:"minutes"`
	Share    float64          `json:"share_of_a_core"`
	Done     map[string]int64 `json:"done"` // how often each kind of work was done
	Bytes    int64            `json:"read_bytes"`
	Measures []soakMeasure    `json:"measures"`
	Samples  []soakSample     `json:"samples"`
	Rests    []soakSample     `json:"rests"` // when nobody read, and garbage was collected
}

// soak runs the load for as long as it is told and judges the growth.
func (b *bench) soak(ctx context.Context, long time.Duration, share float64) (*soakReport, error) {
	l, err := b.newSoakLoad(ctx, share)
	if err != nil {
		return nil, err
	}
	m, seen, err := serveWatched(ctx, b.binary, l.store, l.mnt)
	if err != nil {
		return nil, err
	}
	defer m.stop() //nolint:errcheck // the growth is what counts
	r := &soakReport{Machine: readMachine(), Minutes: long.Minutes(), Share: share}
	within, end := context.WithTimeout(ctx, long)
	defer end()
	failed := make(chan error, 1)
	l.daemon = m.cmd.Process.Pid
	began, rests := time.Now(), make(chan struct{})
	l.collected = seen.collections
	l.rested = func() {
		select {
		case rests <- struct{}{}: // taken when the sample is
			<-rests
		case <-within.Done():
		}
	}
	go func() { failed <- l.run(within); end() }()
	for tick := time.NewTicker(soakEvery); within.Err() == nil; {
		select {
		case <-tick.C:
			r.Samples = append(r.Samples, sampleOf(l.daemon, seen, time.Since(began)))
		case <-rests:
			r.Rests = append(r.Rests, sampleOf(l.daemon, seen, time.Since(began)))
			rests <- struct{}{}
		case <-within.Done():
		}
	}
	if err := <-failed; err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("the load: %w", err)
	}
	r.Done, r.Bytes = l.totals()
	r.judge()
	return r, ctx.Err()
}

// serveWatched serves a store and follows what the runtime of the daemon tells.
func serveWatched(ctx context.Context, program, store, mnt string) (*mounted, *runtimeTrace, error) {
	if err := os.MkdirAll(mnt, 0o755); err != nil {
		return nil, nil, err
	}
	seen := &runtimeTrace{others: os.Stderr}
	m := &mounted{exec.Command(program, "--store", store, "mount", mnt), mnt}
	m.cmd.Env = append(os.Environ(), fmt.Sprintf("GODEBUG=gctrace=1,scheddetail=1,schedtrace=%d", soakEvery.Milliseconds()))
	m.cmd.Stderr = seen
	if err := m.cmd.Start(); err != nil {
		return nil, nil, err
	}
	for deadline := time.Now().Add(time.Minute); !isMounted(mnt); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, nil, errors.Join(fmt.Errorf("%s: the mount did not appear", mnt), m.stop())
		}
	}
	return m, seen, nil
}

// quarters are a measure's levels in the first and the last quarter, below which a share
// of the samples is.
func quarters(of []float64, share float64) (first, last float64) {
	n := max(1, len(of)/4)
	return level(of[:n], share), level(of[len(of)-n:], share)
}

func level(of []float64, share float64) float64 {
	s := slices.Sorted(slices.Values(of))
	return s[int(share*float64(len(s)-1)+0.5)]
}

// judge compares the quarters.
func (r *soakReport) judge() {
	const median, busy = 0.5, 0.9
	rss := func(s soakSample) float64 { return s.RSS }
	heap := func(s soakSample) float64 { return s.Heap }
	for _, m := range []struct {
		name    string
		samples []soakSample
		share   float64
		slack   float64
		of      func(soakSample) float64
	}{
		{"resident memory under load, MiB", r.Samples, busy, 0, rss},
		{"live heap under load, MiB", r.Samples, busy, 0, heap},
		{"resident memory at rest, MiB", r.Rests, median, 0, rss},
		{"live heap at rest, MiB", r.Rests, median, 0, heap},
		{"goroutines", r.Samples, median, soakSlack, func(s soakSample) float64 { return s.Goroutines }},
		{"threads", r.Samples, median, soakSlack, func(s soakSample) float64 { return s.Threads }},
		{"open files", r.Samples, median, soakSlack, func(s soakSample) float64 { return s.Files }},
	} {
		if len(m.samples) == 0 {
			continue // of a run that was too short
		}
		var all []float64
		for _, s := range m.samples {
			all = append(all, m.of(s))
		}
		first, last := quarters(all, m.share)
		r.Measures = append(r.Measures, soakMeasure{m.name, first, last, slices.Max(all), last / max(first, 1), last <= first*soakGrowth+m.slack})
	}
}

func (r *soakReport) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n%.0f minutes of mixed load at %.2f of a core, %.1f GB read, %d rests; %v\n\n", r.Machine, r.Minutes, r.Share, float64(r.Bytes)/1e9, len(r.Rests), r.Done)
	tw := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\tfirst quarter\tlast quarter\tratio\tmost\t")
	for _, m := range r.Measures {
		verdict := "met"
		if !m.Met {
			verdict = "MISSED"
		}
		fmt.Fprintf(tw, "%s\t%.1f\t%.1f\t%.3f\t%.1f\t%s\n", m.Name, m.First, m.Last, m.Ratio, m.Most, verdict)
	}
	tw.Flush()
}

func (r *soakReport) save(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	dir = filepath.Join(dir, "results")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "soak-"+r.Machine.Date+"-"+r.Machine.Commit+".json"), append(b, '\n'), 0o644)
}

// runSoak is the -soak of the command line.
func runSoak(ctx context.Context, b *bench, o options) error {
	r, err := b.soak(ctx, o.soak, o.soakShare)
	if err != nil {
		return err
	}
	r.print(os.Stdout)
	if !o.diary {
		return nil
	}
	return r.save(o.out)
}

// soakDisks are the disks whose versions are read: a fleet's, or a small one.
func (b *bench) soakDisks() ([]vm.Member, error) {
	if b.quick {
		return []vm.Member{{VM: "web", What: b.web.what, Path: b.web.path}}, nil
	}
	return vm.Fleet()
}
