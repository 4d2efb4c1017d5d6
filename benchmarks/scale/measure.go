package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
)

// keeper is a store as catalog.Forget wants it.
type keeper struct{ *chunkstore.Store }

// measureStore measures the store in dir: what a command does, without a mount.
func measureStore(ctx context.Context, dir string, r *report) error {
	began := time.Now()
	s, err := chunkstore.Open(dir, chunkstore.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	r.took("open the store", time.Since(began), time.Second)
	if err := r.memory("memory after that", 0); err != nil {
		return err
	}
	vms, err := list(ctx, s, r)
	if err != nil {
		return err
	}
	ids, err := catalog.IDs(ctx, s, vms[0])
	if err != nil {
		return err
	}
	began = time.Now()
	if _, err := catalog.Forget(ctx, keeper{s}, vms[0], ids[0]); err != nil {
		return err
	}
	r.took("forget one version", time.Since(began), 100*time.Millisecond)
	st, err := s.Stats(ctx)
	if err != nil {
		return err
	}
	size, err := dirBytes(filepath.Join(dir, "index"))
	if err != nil {
		return err
	}
	r.add("index", float64(size)/float64(st.Chunks), "bytes a chunk", 80)
	return mark(ctx, s, r)
}

func list(ctx context.Context, s *chunkstore.Store, r *report) (vms []string, err error) {
	began := time.Now()
	if vms, err = catalog.VMs(ctx, s); err != nil {
		return nil, err
	}
	n := 0
	for _, vm := range vms {
		if err := catalog.Versions(ctx, s, vm, func(*catalog.Version, error) { n++ }); err != nil {
			return nil, err
		}
	}
	r.took(fmt.Sprintf("list %d versions of %d VMs", n, len(vms)), time.Since(began), time.Second)
	return vms, nil
}

// mark is a prune's mark and count.
func mark(ctx context.Context, s *chunkstore.Store, r *report) error {
	began := time.Now()
	p, err := s.Prune(ctx, chunkstore.PruneOptions{DryRun: true, MaxUnused: 0.05, Doomed: catalog.Doomed, Walk: catalog.Walk(s)})
	if err != nil {
		return err
	}
	took := time.Since(began)
	r.add("mark and count", float64(r.Chunks)/took.Seconds()/1000, "thousand chunks/s", 0).Note =
		fmt.Sprintf("%d maps, %d roots in %v, %d dead", p.Maps, p.Walked, took.Round(time.Millisecond), p.DeadChunks)
	if r.Chunks < full {
		r.add("100 million chunks at this rate", took.Seconds()*full/float64(r.Chunks), "s", 0)
	}
	return r.memory("memory at the most", 1024)
}

// memory enters the most memory that this process has had.
func (r *report) memory(name string, goal float64) error {
	var kib int
	if _, err := fmt.Sscan(field("/proc/self/status", "VmHWM"), &kib); err != nil {
		return fmt.Errorf("read this process's memory: %w", err)
	}
	r.add(name, float64(kib)/1024, "MiB", goal)
	return nil
}

// dirBytes sums the files in a directory.
func dirBytes(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n += info.Size()
		return nil
	})
	if os.IsNotExist(err) {
		err = nil // a table that was merged meanwhile
	}
	return n, err
}
