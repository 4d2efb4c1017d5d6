package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"holdfast/chunkstore"
)

const (
	growthRounds = 3
	growthGoal   = 0.8 // of the rate in an empty store
)

// growthWork is what one round does with a store, a command of the program each.
var growthWork = []string{"capture", "restore", "scrub"}

// ran is one command: how long it took, of all cores' time how much, and the most
// memory it had.
type ran struct{ seconds, cpu, mib float64 }

// growth compares what the program does with the same disk in an empty store and
// in one whose index holds many chunks already, turn by turn. Each round captures
// into copies that were never written to, restores to a new file, and scrubs the
// packs of that VM; those of the made-up chunks are empty files. The filled store
// knows what is surely new, as one does that disks have been captured into, and what
// it is is in the page cache.
type growth struct {
	program, work, disk string
	bytes               int64 // of the disk that are allocated
	ran                 map[string][2][]ran
}

// measureGrowth measures into r, with the filled store in dir.
func measureGrowth(program, dir, disk string, r *report) error {
	if disk == "" {
		return errors.New("no -disk was given: the raw image that is captured")
	}
	st, err := os.Stat(disk)
	if err != nil {
		return err
	}
	g := &growth{program: program, work: filepath.Dir(dir), disk: disk, ran: map[string][2][]ran{}}
	g.bytes = st.Sys().(*syscall.Stat_t).Blocks * 512
	for range growthRounds {
		for which, filled := range []string{"", dir} {
			if err := g.round(which, filled); err != nil {
				return err
			}
		}
	}
	g.report(r)
	return nil
}

// round does each work once with a copy of the store filled, or with an empty one.
func (g *growth) round(which int, filled string) error {
	work, err := os.MkdirTemp(g.work, "growth-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	store, out := filepath.Join(work, "store"), filepath.Join(work, "out.raw")
	if err := copyStore(filled, store); err != nil {
		return fmt.Errorf("make the store: %w", err)
	}
	calls := map[string][]string{
		"capture": {"capture", "--vm", "real", "--keep-free", "--keep-swap", "vda=" + g.disk},
		"restore": {"restore", "real", out},
		"scrub":   {"scrub", "--vm", "real"},
	}
	for _, name := range growthWork {
		if _, err := g.run(store, []string{"list"}); err != nil { // and puts the index in order
			return fmt.Errorf("list: %w", err)
		}
		if err := touchMemory(); err != nil {
			return err
		}
		one, err := g.run(store, calls[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		both := g.ran[name]
		both[which] = append(both[which], one)
		g.ran[name] = both
	}
	return nil
}

// copyStore makes a store: an empty one, or one like filled. What is never written to
// again, tables and packs, is the same file in both; its pages are in memory.
func copyStore(filled, store string) error {
	if filled == "" {
		_, err := chunkstore.Create(store, chunkstore.CreateOptions{NoParity: true})
		return errors.Join(err, exec.Command("sync").Run())
	}
	err := filepath.WalkDir(filled, func(path string, d fs.DirEntry, err error) error {
		to := filepath.Join(store, strings.TrimPrefix(path, filled))
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Mkdir(to, 0o755)
		case slices.Contains([]string{".sst", ".pack"}, filepath.Ext(path)):
			return errors.Join(readThrough(path), os.Link(path, to))
		case d.Type().IsRegular():
			return exec.Command("cp", "-a", "--sparse=always", path, to).Run()
		}
		return nil
	})
	return errors.Join(err, exec.Command("sync").Run())
}

// touchMemory has the kernel hand out, next, memory that somebody had a moment ago. What
// a virtual machine touches for the first time since its start its host must find and
// clear: a copy of a large store leaves no other memory free, and the 0.3 GB that a
// capture then writes cost it 0.5 s of CPU time more (measured; write(2) alone). Another
// process does it, as a child begins with its parent's peak of memory.
func touchMemory() error {
	if out, err := exec.Command("dd", "if=/dev/zero", "of=/dev/null", "bs=2000M", "count=1").CombinedOutput(); err != nil {
		return fmt.Errorf("touch memory with dd: %w: %s", err, out)
	}
	return nil
}

func readThrough(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}

// season makes the filled store know what is surely new.
func season(dir string) error {
	ctx := context.Background()
	s, err := chunkstore.Open(dir, chunkstore.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	ses, err := s.Begin(ctx, "scale")
	if err != nil {
		return err
	}
	defer ses.Close()
	l := &lookups{ctx: ctx, ses: ses, n: lookupBatch}
	absent := chunkIDs{rand.NewChaCha8([32]byte{5})}
	for began := time.Now(); time.Since(began) < settleTime; {
		if _, err := l.has(l.draw(absent), false); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(dir, "filter")); err == nil {
			return nil
		}
	}
	return errors.New("the filter of what is surely new was not made")
}

func (g *growth) run(store string, args []string) (ran, error) {
	cmd := exec.Command(g.program, append([]string{"--store", store, "--quiet"}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return ran{}, fmt.Errorf("%w: %.300s", err, errs.String())
	}
	took := time.Since(began).Seconds()
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return ran{took, cpu.Seconds(), float64(usage.Maxrss) / 1024}, nil
}

func (g *growth) report(r *report) {
	for _, name := range growthWork {
		var rate, cpu, most [2]float64
		var ratios []float64
		both := g.ran[name]
		for i := range both[0] {
			ratios = append(ratios, both[0][i].seconds/both[1][i].seconds)
		}
		for which, all := range both {
			var seconds, busy []float64
			for _, one := range all {
				seconds, busy = append(seconds, one.seconds), append(busy, one.cpu)
				most[which] = max(most[which], one.mib)
			}
			cpu[which] = median(busy)
			rate[which] = float64(g.bytes) / median(seconds) / (1 << 20)
		}
		r.atLeast(name+" in the filled store, to an empty one", median(ratios), "×", growthGoal).Note =
			fmt.Sprintf("%.0f and %.0f MiB/s; ratios %.2f; CPU %.1f and %.1f s; memory %.0f and %.0f MiB", rate[1], rate[0], ratios, cpu[1], cpu[0], most[1], most[0])
	}
}
