package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
	"holdfast/heal/background"
)

type statusOptions struct{ common }

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "show what the store holds and who works on it",
		UsageText: "holdfast status",
		CustomHelpTemplate: commandHelp(`
holdfast status
holdfast status --json | jq .stored_bytes
`, exitOK, exitFailure, exitUsage, exitDamage, exitStore, exitInterrupted),
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() > 0 {
				return usagef("status takes no arguments")
			}
			return runStatus(c.Context, statusOptions{opts})
		},
	}
}

// statusResult is what status --json prints.
type statusResult struct {
	Store            string     `json:"store"`
	StoreID          string     `json:"store_id"`
	FormatVersion    int        `json:"format_version"`
	Compression      string     `json:"compression"` // of chunks to come
	Parity           bool       `json:"parity"`
	Created          time.Time  `json:"created"`
	VMs              int64      `json:"vms"`
	Versions         int64      `json:"versions"`
	Forgotten        int64      `json:"forgotten_versions"` // not counted elsewhere
	Disks            int64      `json:"disks"`              // of all versions
	LogicalBytes     int64      `json:"logical_bytes"`
	DataBytes        int64      `json:"data_bytes"` // of all versions, holes not counted
	Chunks           int64      `json:"chunks"`
	PlainBytes       int64      `json:"plain_bytes"`
	StoredBytes      int64      `json:"stored_bytes"`
	Packs            int64      `json:"packs"`
	PackBytes        int64      `json:"pack_bytes"`
	IndexBytes       int64      `json:"index_bytes"`
	FreeBytes        int64      `json:"free_bytes"` // of the filesystem
	DedupRatio       *float64   `json:"dedup_ratio"`
	CompressionRatio *float64   `json:"compression_ratio"`
	Sessions         int        `json:"open_sessions"`
	Owner            *ownerView `json:"owner"` // null: only this command has the store open
	Mountpoint       string     `json:"mountpoint,omitempty"`
	Damaged          int64      `json:"damaged_versions"` // as list calls them
	unreadable       int64      // of these, whose manifests can't be read

	Background []background.Status `json:"background"`
}

type ownerView struct {
	PID     int    `json:"pid"`
	Command string `json:"command,omitempty"`
}

// runStatus shows the store.
func runStatus(ctx context.Context, opts statusOptions) error {
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		res, err := gatherStatus(ctx, h, opts)
		if err != nil {
			return err
		}
		if opts.JSON {
			err = printJSON(opts.Out, res)
		} else {
			err = printStatus(opts, res)
		}
		if err == nil && res.unreadable > 0 {
			err = withStatus(exitDamage, withHint(fmt.Errorf("the manifests of %s can't be read", countText(res.unreadable, "version")), "see which: holdfast list VM"))
		}
		return err
	})
}

func gatherStatus(ctx context.Context, h *owner.Handle, opts statusOptions) (statusResult, error) {
	st, err := h.Stats(ctx)
	if err != nil {
		return statusResult{}, err
	}
	info := h.Info()
	res := statusResult{
		Store: opts.Store, StoreID: info.StoreID, FormatVersion: info.FormatVersion, Compression: info.Compression.String(), Parity: !info.NoParity, Created: info.Created,
		Chunks: st.Chunks, PlainBytes: st.PlainBytes, StoredBytes: st.StoredBytes, Packs: st.Packs, PackBytes: st.PackBytes,
		IndexBytes: st.IndexBytes, Sessions: st.OpenSessions, FreeBytes: freeBytes(opts.Store),
		Mountpoint: mountOf(info), Owner: viewOwner(h),
	}
	if err := countVersions(ctx, h, &res); err != nil {
		return statusResult{}, err
	}
	res.Background = jobsOf(ctx, h)
	res.DedupRatio = ratioJSON(res.DataBytes, st.PlainBytes)
	res.CompressionRatio = ratioJSON(st.PlainBytes, st.StoredBytes)
	return res, nil
}

// countVersions sums up what all versions hold.
func countVersions(ctx context.Context, h *owner.Handle, res *statusResult) error {
	vms, err := catalog.AllVMs(ctx, h)
	if err != nil {
		return err
	}
	for _, vm := range vms {
		before, states := res.Versions, statesOf(ctx, h, vm)
		err := catalog.Marked(ctx, h, vm, func(v *catalog.Version, m catalog.Mark, err error) {
			if m.Has(catalog.Forgotten) {
				res.Forgotten++
				return
			}
			res.Versions++
			if err != nil {
				res.unreadable++
			}
			if err != nil || states[v.ID] == stateDamaged {
				res.Damaged++
			}
			for _, d := range v.Disks {
				res.Disks++
				res.LogicalBytes += d.Map.Size
				res.DataBytes += d.Map.DataBytes
			}
		})
		if err != nil {
			return err
		}
		if res.Versions > before {
			res.VMs++
		}
	}
	return nil
}

// viewOwner names the process that owns the store, unless it is this one.
func viewOwner(h *owner.Handle) *ownerView {
	pid, self := h.Owner()
	if self || pid == 0 {
		return nil
	}
	// The command line is for people: a process that is gone has none.
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	words := strings.Split(string(bytes.TrimRight(b, "\x00")), "\x00")
	return &ownerView{PID: pid, Command: oneLine(strings.Join(words, " "))}
}

func freeBytes(dir string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return int64(st.Bavail) * st.Bsize
}

func printStatus(opts statusOptions, r statusResult) error {
	who := "none; this command opened the store itself"
	if r.Owner != nil {
		who = strings.TrimSpace(fmt.Sprintf("process %d  %s", r.Owner.PID, r.Owner.Command))
	}
	where := r.Mountpoint
	if where == "" {
		where = "nowhere"
	}
	forgotten := ""
	if r.Forgotten > 0 {
		forgotten = fmt.Sprintf("; %s forgotten", countText(r.Forgotten, "version"))
	}
	fmt.Fprintf(opts.Out, "Store %s\n", oneLine(r.Store))
	pairs := []pair{
		{"id", r.StoreID},
		{"made", fmt.Sprintf("%s, format %d", timeText(r.Created), r.FormatVersion)},
		{"holds", fmt.Sprintf("%s of %s, %s in all%s", countText(r.Versions, "version"), countText(r.VMs, "VM"), countText(r.Disks, "disk"), forgotten)},
	}
	if r.Damaged > 0 {
		pairs = append(pairs, pair{"damaged", countText(r.Damaged, "version") + "; see: holdfast damage"})
	}
	pairs = append(pairs, []pair{
		{"logical", fmt.Sprintf("%s, of which %s are data", sizeText(r.LogicalBytes), sizeText(r.DataBytes))},
		{"chunks", fmt.Sprintf("%s with %s", thousands(r.Chunks), sizeText(r.PlainBytes))},
		{"stored", fmt.Sprintf("%s in %s", sizeText(r.PackBytes), countText(r.Packs, "pack"))},
		{"dedup", ratioText(r.DataBytes, r.PlainBytes, "-")},
		{"compression", fmt.Sprintf("%s, new chunks by %s", ratioText(r.PlainBytes, r.StoredBytes, "-"), r.Compression)},
		{"index", sizeText(r.IndexBytes)},
		{"free", sizeText(r.FreeBytes)},
		{"mounted", oneLine(where)},
		{"owner", who},
	}...)
	for _, j := range r.Background {
		pairs = append(pairs, pair{j.Job, jobText(j)})
	}
	return printPairs(opts.Out, "  ", pairs)
}
