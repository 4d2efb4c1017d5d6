package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"text/tabwriter"

	"holdfast/tests/vm"
)

// Goals of the space that a fleet takes: at most this share of what a peer
// stores, and of what the reordered VM's disk takes alone.
const (
	goalRestic = 0.76
	goalBorg   = 0.70
	goalAgain  = 0.03
)

// Space is what the disks of a fleet take in each program's store.
type Space struct {
	Disks  []FleetDisk     `json:"disks"`
	Stores []StoredFleet   `json:"stores"`
	Again  float64         `json:"reordered_ratio"` // what the reordered VM adds, to what its disk takes alone
	Goals  map[string]bool `json:"goals_met"`
}

// FleetDisk is one disk, in the order in which they are stored.
type FleetDisk struct {
	VM   string `json:"vm"`
	What string `json:"what"`
	Data int64  `json:"data_bytes"` // that its file holds
}

// StoredFleet is the fleet in one store.
type StoredFleet struct {
	Name  string  `json:"name"`
	Added []int64 `json:"added_bytes"` // by each disk, all files of the store counted
	Total int64   `json:"total_bytes"`
}

// keeper is a program that stores disks in a directory.
type keeper struct {
	name, dir string
	init      func(ctx context.Context) error
	store     func(ctx context.Context, m vm.Member) error
}

// fleetSpace stores the fleet's disks, one after the other, with each program.
func (b *bench) fleetSpace(ctx context.Context) (*Space, error) {
	fmt.Fprintln(os.Stderr, "space: building the fleet, unless it is cached")
	fleet, err := vm.Fleet()
	if err != nil {
		return nil, err
	}
	s := &Space{Goals: map[string]bool{}}
	for _, m := range fleet {
		n, err := allocated(m.Path)
		if err != nil {
			return nil, err
		}
		s.Disks = append(s.Disks, FleetDisk{m.VM, m.What, n})
	}
	keepers, err := b.keepers()
	if err != nil {
		return nil, err
	}
	for _, k := range keepers {
		stored, err := k.all(ctx, fleet)
		if err != nil {
			return nil, fmt.Errorf("space: %s: %w", k.name, err)
		}
		s.Stores = append(s.Stores, stored)
	}
	alone := b.ourKeeper("alone", "--no-parity")
	for i, m := range fleet {
		if m.VM != "again" {
			continue
		}
		whole, err := alone.all(ctx, fleet[i:i+1])
		if err != nil {
			return nil, fmt.Errorf("space: %w", err)
		}
		s.Again = float64(s.Stores[0].Added[i]) / float64(whole.Total)
	}
	s.judge()
	return s, nil
}

// keepers are all programs that are here. The first is held against the
// others: without parity, which they don't have either.
func (b *bench) keepers() ([]keeper, error) {
	grid := b.ourKeeper("holdfast, cut on the grid", "--no-parity")
	grid.store = b.capturesInto(grid.dir, "--cut", "grid", "--keep-free", "--keep-swap")
	all := []keeper{b.ourKeeper("holdfast", "--no-parity"), b.ourKeeper("holdfast, with parity"), grid}
	if b.has("restic") {
		all = append(all, b.resticKeeper())
	}
	if b.has("borg") {
		all = append(all, b.borgKeeper())
	}
	return all, nil
}

func (b *bench) ourKeeper(name string, flags ...string) keeper {
	k := keeper{name: name, dir: b.path("space-store")}
	k.init = func(ctx context.Context) error {
		_, err := command(ctx, 0, nil, b.binary, append(append([]string{"init"}, flags...), k.dir)...)
		return err
	}
	k.store = b.capturesInto(k.dir)
	return k
}

func (b *bench) capturesInto(store string, flags ...string) func(context.Context, vm.Member) error {
	return func(ctx context.Context, m vm.Member) error {
		_, err := b.holdfast(ctx, 0, store, append(append([]string{"capture", "--vm", m.VM}, flags...), "vda="+m.Path)...)
		return err
	}
}

func (b *bench) resticKeeper() keeper {
	k := keeper{name: "restic", dir: b.path("space-restic")}
	run := func(ctx context.Context, args ...string) error {
		_, err := command(ctx, 0, b.resticEnv(k.dir), "restic", append([]string{"-q"}, args...)...)
		return err
	}
	k.init = func(ctx context.Context) error { return run(ctx, "init") }
	k.store = func(ctx context.Context, m vm.Member) error { return run(ctx, "backup", "--force", m.Path) }
	return k
}

func (b *bench) borgKeeper() keeper {
	k := keeper{name: "borg", dir: b.path("space-borg")}
	run := func(ctx context.Context, args ...string) error {
		_, err := command(ctx, 0, b.borgEnv(k.dir), "borg", args...)
		return err
	}
	k.init = func(ctx context.Context) error { return run(ctx, "init", "-e", "none") }
	k.store = func(ctx context.Context, m vm.Member) error {
		return run(ctx, "create", "-C", "zstd,1", "--files-cache", "disabled", "::{now:%s%f}", m.Path)
	}
	return k
}

// all stores the disks in an empty store and removes it.
func (k keeper) all(ctx context.Context, fleet []vm.Member) (StoredFleet, error) {
	s := StoredFleet{Name: k.name}
	if err := os.RemoveAll(k.dir); err != nil {
		return s, err
	}
	defer os.RemoveAll(k.dir)
	if err := k.init(ctx); err != nil {
		return s, err
	}
	before, err := treeBytes(k.dir)
	if err != nil {
		return s, err
	}
	for i, m := range fleet {
		fmt.Fprintf(os.Stderr, "space: %s: disk %d of %d: %s\n", k.name, i+1, len(fleet), m.What)
		if err := k.store(ctx, m); err != nil {
			return s, err
		}
		now, err := treeBytes(k.dir)
		if err != nil {
			return s, err
		}
		s.Added = append(s.Added, now-before)
		before = now
	}
	s.Total = before
	return s, nil
}

// treeBytes sums the sizes of all files below dir.
func treeBytes(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// allocated is what a sparse file holds.
func allocated(path string) (int64, error) {
	out, err := exec.Command("du", "-B1", path).Output()
	if err != nil {
		return 0, err
	}
	var n int64
	_, err = fmt.Sscan(string(out), &n)
	return n, err
}

// judge holds the figures against the goals.
func (s *Space) judge() {
	s.Goals["reordered"] = s.Again <= goalAgain
	for _, other := range s.Stores {
		switch r := s.ratio(other); other.Name {
		case "restic":
			s.Goals["restic"] = r <= goalRestic
		case "borg":
			s.Goals["borg"] = r <= goalBorg
		}
	}
}

// ratio is what we store to what another does.
func (s *Space) ratio(other StoredFleet) float64 {
	return float64(s.Stores[0].Total) / float64(other.Total)
}

func (s *Space) print(w io.Writer) {
	fmt.Fprintf(w, "\nspace of a fleet: MB that each disk adds, all files of the store counted\n")
	tw := tabwriter.NewWriter(w, 2, 0, 2, ' ', tabwriter.AlignRight)
	for i, d := range s.Disks {
		fmt.Fprintf(tw, "%s: %s (%.0f MB)\t", d.VM, d.What, float64(d.Data)/mb)
		for _, k := range s.Stores {
			fmt.Fprintf(tw, "%.1f\t", float64(k.Added[i])/mb)
		}
		fmt.Fprintln(tw)
	}
	fmt.Fprint(tw, "all\t")
	for _, k := range s.Stores {
		fmt.Fprintf(tw, "%.1f\t", float64(k.Total)/mb)
	}
	fmt.Fprint(tw, "\nholdfast to it\t")
	for _, k := range s.Stores {
		fmt.Fprintf(tw, "%.2f\t", s.ratio(k))
	}
	fmt.Fprint(tw, "\n\t")
	for _, k := range s.Stores {
		fmt.Fprintf(tw, "%s\t", k.Name)
	}
	fmt.Fprintln(tw)
	tw.Flush()
	fmt.Fprintf(w, "goals: %.2f of restic, %.2f of borg; the reordered VM adds %.1f %% of its own size, goal %.0f %%\n",
		goalRestic, goalBorg, 100*s.Again, 100*goalAgain)
	b, _ := json.Marshal(s.Goals)
	fmt.Fprintf(w, "met: %s\n", b)
}
