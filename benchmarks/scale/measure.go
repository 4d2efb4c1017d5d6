package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
)

// keeper is a store as catalog.Forget wants it.
type keeper struct{ *chunkstore.Store }

// measureStore measures the store in dir and prints what was asked for and what
// was found.
func measureStore(ctx context.Context, dir string, chunks int) error {
	began := time.Now()
	s, err := chunkstore.Open(dir, chunkstore.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	tell("open", time.Since(began), time.Second)
	began = time.Now()
	vms, err := catalog.VMs(ctx, s)
	if err != nil {
		return err
	}
	n := 0
	for _, vm := range vms {
		if err := catalog.Versions(ctx, s, vm, func(*catalog.Version, error) { n++ }); err != nil {
			return err
		}
	}
	tell(fmt.Sprintf("list %d versions of %d VMs", n, len(vms)), time.Since(began), time.Second)
	ids, err := catalog.IDs(ctx, s, vms[0])
	if err != nil {
		return err
	}
	began = time.Now()
	if _, err := catalog.Forget(ctx, keeper{s}, vms[0], ids[0]); err != nil {
		return err
	}
	tell("forget one version", time.Since(began), 100*time.Millisecond)
	began = time.Now()
	r, err := s.Prune(ctx, chunkstore.PruneOptions{DryRun: true, MaxUnused: 0.05, Doomed: catalog.Doomed, Walk: catalog.Walk(s)})
	if err != nil {
		return err
	}
	took := time.Since(began)
	fmt.Printf("mark and count: %d chunks, %d maps, %d roots in %v: %.0f chunks/s, %d dead\n",
		chunks, r.Maps, r.Walked, took.Round(time.Millisecond), float64(chunks)/took.Seconds(), r.DeadChunks)
	peak, err := peakMemory()
	if err != nil {
		return err
	}
	fmt.Printf("memory at the most: %d MiB (bound 1024)\n", peak>>10)
	if chunks < full {
		fmt.Printf("100 million chunks at this rate: %v\n", time.Duration(float64(took)*full/float64(chunks)).Round(time.Second))
	}
	return nil
}

func tell(what string, took, bound time.Duration) {
	verdict := "kept"
	if took > bound {
		verdict = "NOT kept"
	}
	fmt.Printf("%s: %v (bound %v: %s)\n", what, took.Round(100*time.Microsecond), bound, verdict)
}

// peakMemory returns the most memory that this process has had, in KiB.
func peakMemory() (kib int, err error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if rest, ok := strings.CutPrefix(in.Text(), "VmHWM:"); ok {
			_, err = fmt.Sscan(rest, &kib)
			return kib, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status names no VmHWM")
}
