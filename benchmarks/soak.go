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
	soakGrowth = 1.05             // of the first quarter's median, at most
	soakSlack  = 4                // of things that are counted one by one
)

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
	First float64 `json:"first_quarter"` // median
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
	go func() { failed <- l.run(within); end() }()
	for began, tick := time.Now(), time.NewTicker(soakEvery); within.Err() == nil; {
		select {
		case <-tick.C:
			r.Samples = append(r.Samples, sampleOf(m.cmd.Process.Pid, seen, time.Since(began)))
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

// quarters are the medians of a measure in the first and the last quarter.
func quarters(of []float64) (first, last float64) {
	n := max(1, len(of)/4)
	return middle(of[:n]), middle(of[len(of)-n:])
}

func middle(of []float64) float64 {
	s := slices.Sorted(slices.Values(of))
	return s[len(s)/2]
}

// judge compares the quarters.
func (r *soakReport) judge() {
	if len(r.Samples) == 0 {
		return
	}
	for _, m := range []struct {
		name  string
		slack float64
		of    func(soakSample) float64
	}{
		{"resident memory, MiB", 0, func(s soakSample) float64 { return s.RSS }},
		{"live heap, MiB", 0, func(s soakSample) float64 { return s.Heap }},
		{"goroutines", soakSlack, func(s soakSample) float64 { return s.Goroutines }},
		{"threads", soakSlack, func(s soakSample) float64 { return s.Threads }},
		{"open files", soakSlack, func(s soakSample) float64 { return s.Files }},
	} {
		var all []float64
		for _, s := range r.Samples {
			all = append(all, m.of(s))
		}
		first, last := quarters(all)
		r.Measures = append(r.Measures, soakMeasure{m.name, first, last, slices.Max(all), last / max(first, 1), last <= first*soakGrowth+m.slack})
	}
}

func (r *soakReport) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n%.0f minutes of mixed load at %.2f of a core, %.1f GB read; %v\n\n", r.Machine, r.Minutes, r.Share, float64(r.Bytes)/1e9, r.Done)
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
