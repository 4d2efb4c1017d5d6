package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"holdfast/capture"
	"holdfast/capture/source"
	"holdfast/capture/source/image"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
)

// captureTries is how often a capture begins anew when the process that owned
// the store is lost meanwhile.
const captureTries = 3

type captureOptions struct {
	common
	VM            string
	At            time.Time // zero: now
	Format        string    // "": by content
	FollowBacking []string
	Cut           string // "files" or "grid"
	KeepFree      bool
	KeepSwap      bool
	Disks         []namedPath
}

// namedPath is a DISK of the command line.
type namedPath struct{ Name, Path string }

func captureCommand() *cli.Command {
	return &cli.Command{
		Name:      "capture",
		Usage:     "store the disks of a VM as a new version",
		UsageText: "holdfast capture --vm NAME [--at TIME] DISK...",
		Description: `DISK is PATH or NAME=PATH, where PATH is an image file (raw, qcow2, VHD, VHDX,
VMDK) or a block device; its format is found by its content. Without NAME a disk is
called like its file, without the extension. All disks of one call become one
version. A capture that fails or is stopped leaves no version, and what it stored is
used by the next try. The disks should be at rest: shut down, suspended or a
snapshot.

What the guest's filesystems don't use is not captured, nor what its swap volumes,
pagefile.sys, hiberfil.sys and swapfile.sys hold: it reads as zeros. Where that can't
be told for certain, all is captured, and a note says why.`,
		CustomHelpTemplate: commandHelp(`
holdfast capture --vm web /var/lib/libvirt/images/web.qcow2
holdfast capture --vm db vda=/img/db.raw vdb=/dev/vg0/db-data-snap
holdfast capture --vm old --at "2026-11-20 02:00" /backup/old.vmdk
`, exitOK, exitFailure, exitUsage, exitDamage, exitNotFound, exitStore, exitInterrupted),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "vm", Usage: "the VM's `NAME` (required)"},
			&cli.StringFlag{Name: "at", Usage: "the `TIME` that the version stands for (default: now)"},
			&cli.StringFlag{Name: "format", Usage: "read every DISK as `FORMAT`: raw, qcow2, vhd, vhdx or vmdk (default: by its content)"},
			&cli.BoolFlag{Name: "keep-free", DisableDefaultText: true, Usage: "capture what the guest's filesystems don't use, too"},
			&cli.BoolFlag{Name: "keep-swap", DisableDefaultText: true, Usage: "capture the contents of swap volumes and of Windows' page files, too"},
			&cli.StringFlag{Name: "cut", Value: cutFiles, Usage: "cut chunks along the guest's files, or on a grid: `HOW` is files or grid"},
			&cli.StringSliceFlag{Name: "follow-backing", Usage: "let an image name backing files in `DIR` too, not only in its own directory tree (may be repeated; / allows all)"},
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			o := captureOptions{common: opts, VM: c.String("vm"), Format: c.String("format"), FollowBacking: c.StringSlice("follow-backing"),
				Cut: c.String("cut"), KeepFree: c.Bool("keep-free"), KeepSwap: c.Bool("keep-swap")}
			if o.Cut != cutFiles && o.Cut != cutGrid {
				return usagef("--cut %s: want files or grid", o.Cut)
			}
			if at := c.String("at"); at != "" {
				if o.At, err = catalog.ParseTime(at); err != nil {
					return usagef("--at: %v", err)
				}
			}
			if o.Disks, err = parseDisks(c.Args().Slice()); err != nil {
				return err
			}
			return runCapture(c.Context, o)
		},
	}
}

// How chunks are cut.
const (
	cutFiles = "files"
	cutGrid  = "grid"
)

// cutter is nil for that along the files.
func (o captureOptions) cutter() capture.Cutter {
	if o.Cut == cutGrid {
		return capture.Grid{}
	}
	return nil
}

// parseDisks reads the DISK arguments. In NAME=PATH the name has no slash, so
// that ./a=b names a file.
func parseDisks(args []string) ([]namedPath, error) {
	var disks []namedPath
	for _, arg := range args {
		d := namedPath{Path: arg}
		if name, path, ok := strings.Cut(arg, "="); ok && name != "" && !strings.Contains(name, "/") {
			d = namedPath{name, path}
		} else {
			d.Name = diskName(arg)
		}
		if d.Path == "" || d.Name == "" {
			return nil, usagef("disk %q: want PATH or NAME=PATH", arg)
		}
		for _, other := range disks {
			if other.Name == d.Name {
				return nil, withHint(usagef("two disks are named %s", nameText(d.Name)), "name them apart: vda="+other.Path+" vdb="+d.Path)
			}
		}
		disks = append(disks, d)
	}
	return disks, nil
}

// diskName is what a disk is called after its file.
func diskName(path string) string {
	base := filepath.Base(path)
	ext := filepath.Ext(base)
	known := []string{".raw", ".img", ".qcow2", ".qcow", ".vhd", ".vpc", ".vhdx", ".vmdk"}
	if len(ext) < len(base) && slices.Contains(known, strings.ToLower(ext)) {
		return base[:len(base)-len(ext)]
	}
	return base
}

// captureIndexCache is the index's block cache of a capture. It asks for ids that lie
// anywhere, once each: in a large store a larger cache fills and serves none.
const captureIndexCache = 4 << 20

// runCapture captures and prints what was done.
func runCapture(ctx context.Context, opts captureOptions) error {
	if opts.VM == "" {
		return withHint(usagef("no VM was named"), "holdfast capture --vm NAME DISK...")
	}
	if len(opts.Disks) == 0 {
		return withHint(usagef("no disk was named"), "holdfast capture --vm "+shellWord(opts.VM)+" /path/to/disk.qcow2")
	}
	limitMemory(captureMemory)
	collectEarly(captureGarbage)
	spreadThreads()
	inputs, err := openDisks(opts)
	defer closeDisks(inputs)
	if err != nil {
		return err
	}
	for _, in := range inputs {
		for _, n := range in.Source.Notices {
			opts.Console.note("note: %s", n)
		}
	}
	c := opts.capture(inputs)
	c.Early = capture.Prepare(ctx, c)
	defer c.Early.Close()
	opts.indexCache = captureIndexCache
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		v, err := captureDisks(ctx, h, opts, c)
		if err != nil {
			return err
		}
		noteCaptured(opts, v, inputs)
		return printCaptured(opts, v)
	})
}

// openDisks opens the sources in order; on an error those that are open are
// returned with it.
func openDisks(opts captureOptions) ([]capture.Input, error) {
	var inputs []capture.Input
	for _, d := range opts.Disks {
		opened, err := image.Open(d.Path, source.Options{Format: opts.Format, FollowBacking: opts.FollowBacking})
		if err != nil {
			err = fmt.Errorf("capture %s: open disk %s: %w", nameText(opts.VM), nameText(d.Name), err)
			if errors.Is(err, iofs.ErrNotExist) {
				err = withStatus(exitNotFound, err)
			}
			return inputs, err
		}
		path := d.Path
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		inputs = append(inputs, capture.Input{Name: d.Name, Path: path, Source: opened})
	}
	return inputs, nil
}

func closeDisks(inputs []capture.Input) {
	for _, in := range inputs {
		in.Source.Close()
	}
}

// capture is what the command line asks for.
func (o captureOptions) capture(inputs []capture.Input) capture.Options {
	host, _ := os.Hostname() // it is a remark in the version, no more
	c := capture.Options{
		VM: o.VM, At: o.At, Host: host, Program: programName + " " + programVersion(),
		Disks: inputs, Progress: new(capture.Progress), Log: o.Log,
		Cutter: o.cutter(), KeepFree: o.KeepFree, KeepSwap: o.KeepSwap,
	}
	if c.At.IsZero() {
		c.At = time.Now()
	}
	return c
}

// captureDisks captures, and begins anew when the store's owner is lost: what
// the lost try has stored is found again.
func captureDisks(ctx context.Context, h *owner.Handle, opts captureOptions, c capture.Options) (*catalog.Version, error) {
	end := opts.Console.watch(gauge{
		what:  "capturing " + nameText(opts.VM),
		bytes: func() (int64, int64) { return c.Progress.Done.Load(), c.Progress.Total.Load() },
		moved: c.Progress.Read.Load,
	})
	defer end()
	for try := 1; ; try++ {
		v, err := capture.Run(ctx, h, c)
		if err == nil || !errors.Is(err, owner.ErrOwnerLost) || try == captureTries || ctx.Err() != nil {
			return v, err
		}
		c.Early = nil // the guest may have written since
		opts.Console.note("the process that owned the store is gone; capturing again (try %d of %d)", try+1, captureTries)
	}
}

// captureResult is what capture --json prints.
type captureResult struct {
	Version versionView `json:"version"`
	Ref     string      `json:"ref"` // VM@VERSION, for other commands
}

func printCaptured(opts captureOptions, v *catalog.Version) error {
	if opts.JSON {
		return printJSON(opts.Out, captureResult{viewVersion(v, nil), v.VM + "@" + v.ID})
	}
	c := v.Counts
	fmt.Fprintf(opts.Out, "Captured %s@%s: %s, %s\n", nameText(v.VM), v.ID, countText(int64(len(v.Disks)), "disk"), sizeText(c.LogicalBytes))
	err := printPairs(opts.Out, "  ", countPairs(c))
	return err
}

// noteCaptured shows what only the capture itself brought up; the source's own
// notices were shown before.
func noteCaptured(opts captureOptions, v *catalog.Version, inputs []capture.Input) {
	for i, d := range v.Disks {
		for _, n := range d.Notices {
			if slices.Contains(inputs[i].Source.Notices, n) {
				continue
			}
			kind := "note"
			if strings.Contains(n, "changed while it was read") {
				kind = "warning"
			}
			opts.Console.note("%s: %s", kind, oneLine(n))
		}
	}
}

// leftOutText words what a capture left out; "" leaves the line out.
func leftOutText(c catalog.Counts) string {
	if c.LeftOutBytes == 0 {
		return ""
	}
	return fmt.Sprintf("%s that the guest does not use; reads as zeros", sizeText(c.LeftOutBytes))
}

// countPairs words what a capture did.
func countPairs(c catalog.Counts) []pair {
	compressed := ""
	if c.NewBytes > 0 {
		compressed = ", compressed " + ratioText(c.NewBytes, c.StoredBytes, "-")
	}
	return []pair{
		{"read", fmt.Sprintf("%s at %s", sizeText(c.ReadBytes), rateText(c.ReadBytes, c.Duration))},
		{"holes", fmt.Sprintf("%s not read, %s read and found to be zeros", sizeText(c.HoleBytes), sizeText(c.ZeroBytes))},
		{"left out", leftOutText(c)},
		{"new", fmt.Sprintf("%s in %s of %s", sizeText(c.NewBytes), thousands(c.NewChunks), countText(c.Chunks, "chunk"))},
		{"stored", fmt.Sprintf("%s with maps%s", sizeText(c.StoredBytes), compressed)},
		{"dedup", ratioText(dataBytes(c), c.NewBytes, "everything was in the store")},
		{"took", durationText(c.Duration)},
	}
}
