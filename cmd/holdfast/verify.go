package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"holdfast/capture"
	"holdfast/capture/source"
	"holdfast/capture/source/image"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
	"holdfast/fs/guest/layout"
	"holdfast/fs/guest/volume"
	"holdfast/heal"
)

type verifyOptions struct {
	common
	Ref     string
	Deep    bool
	Against []namedPath
}

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "prove one version, or compare it with its source",
		UsageText: "holdfast verify VM[@VERSION] [--deep] [--against [DISK=]PATH]",
		Description: refHelp + `

Every map of the version is followed and every pack that it uses is proved, unless it
was since the version was captured; with --deep each is decoded anew. Where the index
leads to each chunk is held against what was proved. With --against
each byte of a disk is compared with an image file or a block device, too; what the
version left out, and the guest on the source does not use, is no difference. What of
the version does not come back is named with what differs, and ends nothing. Give all
disks of a VM whose volumes lie on several. A version of which everything comes back is
valid; where that takes the parity of a pack, or the record of the version itself is lost
and only the index still has it, the status is 3 and what is to be repaired is named.`,
		BashComplete: completeVMs,
		CustomHelpTemplate: commandHelp(`
holdfast verify web
holdfast verify web@2026-11-20 --deep
holdfast verify db --against vda=/img/db.raw --against vdb=/dev/vg0/data
`, exitOK, exitFailure, exitUsage, exitDamage, exitNotFound, exitStore, exitInterrupted),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "deep", DisableDefaultText: true, Usage: "decode every chunk and compute its id"},
			&cli.StringSliceFlag{Name: "against", Usage: "compare with this image or device, `[DISK=]PATH` (may be repeated)"},
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() != 1 {
				return withHint(usagef("verify needs one VM or version"), "holdfast verify VM[@VERSION]")
			}
			o := verifyOptions{common: opts, Ref: c.Args().First(), Deep: c.Bool("deep")}
			if o.Against, err = parseDisks(c.StringSlice("against")); err != nil {
				return err
			}
			return runVerify(c.Context, o)
		},
	}
}

// runVerify proves one version.
func runVerify(ctx context.Context, opts verifyOptions) error {
	spreadThreads()
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		v, err := resolve(ctx, h, opts.Ref)
		if err != nil {
			return err
		}
		r, err := verifyVersion(ctx, h, opts.Console, v, heal.Options{Deep: opts.Deep})
		if err != nil {
			return err
		}
		if err := compareDisks(ctx, h, opts, v, r); err != nil {
			return err
		}
		if len(opts.Against) > 0 && r.State == "valid" {
			// What was whole when it was proved may not be any more. Its reading has made
			// the damage known: the version's state follows.
			again, err := verifyVersion(ctx, h, opts.Console, v, heal.Options{})
			if err != nil {
				return err
			}
			r.State, r.Hurt, r.Problems, r.Changed = again.State, again.Hurt, again.Problems, again.Changed
		}
		if opts.JSON {
			err = printJSON(opts.Out, r)
		} else {
			err = printVerified(opts, r)
		}
		return errors.Join(err, verifyStatus(r))
	})
}

// verifyVersion lets the store's owner prove a version.
func verifyVersion(ctx context.Context, h *owner.Handle, con *console, v *catalog.Version, o heal.Options) (*heal.VerifyReport, error) {
	end := watchOwner(ctx, h, con, "verifying "+nameText(v.VM))
	defer end()
	r := new(heal.VerifyReport)
	return r, h.Call(ctx, pathVerify, versionRef{VM: []byte(v.VM), ID: v.ID, Opts: o}, r)
}

func verifyStatus(r *heal.VerifyReport) error {
	switch {
	case r.State == "damaged":
		return withStatus(exitDamage, withHint(errors.New(r.Words()), "mend what can be mended: holdfast scrub --repair"))
	case r.Changed:
		return withHint(errors.New(r.Words()), "no damage of it is proved, and what was known of it stands: try again when prune and scrub have ended")
	case r.State != "valid":
		return withHint(errors.New(r.Words()), "no damage is proved: look at the storage (dmesg, mount) and try again")
	case len(r.Lost) > 0: // and it came back when it was proved again
		err := withHint(fmt.Errorf("%s of the version did not come back", sizeText(r.LostBytes)), "compare again: they came back meanwhile")
		if r.Damaged() {
			return withStatus(exitDamage, err)
		}
		return err
	case len(r.Hurt.Packs)+len(r.Hurt.Chunks) > 0:
		what := countText(int64(len(r.Hurt.Packs)), "pack") + " that it uses"
		if len(r.Hurt.Packs) == 0 { // its pack is gone
			what = "its manifest"
		}
		what = fmt.Sprintf("version %s of %q comes back, but %s must be repaired", r.Version, r.VM, what)
		if len(r.Differ) > 0 {
			what += "; and version and source differ"
		}
		return withStatus(exitDamage, withHint(errors.New(what), "repair before more is lost: holdfast scrub --repair"))
	case len(r.Differ) > 0:
		return withHint(errors.New("version and source differ"), "the version is sound; the source has changed since, or is another disk")
	}
	return nil
}

// against is a disk of a version and what it is compared with.
type against struct {
	disk *catalog.Disk
	path string
	src  *source.Opened
}

func compareDisks(ctx context.Context, h *owner.Handle, opts verifyOptions, v *catalog.Version, r *heal.VerifyReport) error {
	pairs, err := openAgainst(opts, v)
	defer func() {
		for _, a := range pairs {
			a.src.Close()
		}
	}()
	if err != nil || len(pairs) == 0 {
		return err
	}
	var found *layout.Layout
	if len(v.LeftOut) > 0 {
		var disks []volume.Disk
		for _, a := range pairs {
			disks = append(disks, volume.Disk{Name: a.disk.Name, Volume: a.src})
		}
		if found, err = layout.Scan(ctx, disks, capture.LayoutOptions(v.LeftOut)); err != nil {
			return err
		}
		defer found.Close()
	}
	for _, a := range pairs {
		if err := compareDisk(ctx, h, opts, a, found, r); err != nil {
			return fmt.Errorf("compare disk %s with %s: %w", nameText(a.disk.Name), a.path, err)
		}
	}
	return nil
}

// openAgainst opens what the disks are compared with; on an error those that
// are open are returned with it.
func openAgainst(opts verifyOptions, v *catalog.Version) (pairs []against, err error) {
	for _, a := range opts.Against {
		d, ok := v.Disk(a.Name)
		if !ok && len(v.Disks) == 1 && len(opts.Against) == 1 {
			d, ok = &v.Disks[0], true
		}
		if !ok {
			return pairs, withStatus(exitNotFound, withHint(fmt.Errorf("version %s of %s has no disk %s", v.ID, nameText(v.VM), nameText(a.Name)), "name the disk: --against DISK=PATH"))
		}
		src, err := image.Open(a.Path, source.Options{})
		if err != nil {
			return pairs, fmt.Errorf("compare disk %s with %s: %w", nameText(d.Name), a.Path, err)
		}
		pairs = append(pairs, against{d, a.Path, src})
	}
	return pairs, nil
}

func compareDisk(ctx context.Context, h *owner.Handle, opts verifyOptions, a against, found *layout.Layout, r *heal.VerifyReport) error {
	p := new(heal.Progress)
	end := opts.Console.watch(gauge{
		what:  "comparing " + nameText(a.disk.Name),
		bytes: func() (int64, int64) { return p.Done.Load(), p.Total.Load() },
		moved: p.Done.Load,
	})
	defer end()
	src := &liveSource{Opened: a.src, disk: a.disk.Name, layout: found}
	err := heal.Compare(ctx, h, a.disk, src, p, &r.Comparison)
	r.LeftOut += src.left
	return err
}

// liveSource is a capture's source as package heal reads one.
type liveSource struct {
	*source.Opened
	disk   string
	layout *layout.Layout // nil: nothing was left out
	left   int64          // bytes that were, and differ
}

var _ heal.LeavesOut = (*liveSource)(nil)

// Extent implements heal.Source.
func (c *liveSource) Extent(off int64) (int64, bool, error) {
	e, err := c.Opened.Extent(off)
	return e.Length, e.Data, err
}

// LeftOut implements heal.LeavesOut.
func (c *liveSource) LeftOut(off, length int64) bool {
	if c.layout == nil {
		return false
	}
	const block = 4096 // where a layout may be asked from
	for _, r := range c.layout.Out(nil, c.disk, off/block*block, off+length) {
		if r.Offset <= off && r.Offset+r.Length >= off+length {
			c.left += length
			return true
		}
	}
	return false
}

// printCompared names what of a version did not come back, and where it differs
// from its source.
func printCompared(opts verifyOptions, c *heal.Comparison) {
	for _, l := range c.Lost[:min(len(c.Lost), maxPrinted)] {
		fmt.Fprintf(opts.Out, "  %s: disk %s, %s at %d (%s)\n", l.Kind, nameText(l.Disk), sizeText(l.Length), l.Offset, l.What)
	}
	for _, d := range c.Differ[:min(len(c.Differ), maxPrinted)] {
		fmt.Fprintf(opts.Out, "  differs: disk %s, %s at %d\n", nameText(d.Disk), sizeText(d.Length), d.Offset)
	}
	more := max(len(c.Lost)-maxPrinted, 0) + max(len(c.Differ)-maxPrinted, 0)
	if more > 0 {
		fmt.Fprintf(opts.Out, "  and %s more; --json lists them\n", countText(int64(more), "range"))
	}
	if c.Unlisted > 0 {
		fmt.Fprintf(opts.Out, "  and %s beyond the bound of any list; their bytes are counted\n", countText(int64(c.Unlisted), "range"))
	}
}

func printVerified(opts verifyOptions, r *heal.VerifyReport) error {
	mark := ""
	if r.State == "valid" {
		mark = " ✓"
	}
	fmt.Fprintf(opts.Out, "%s@%s: %s%s\n", nameText(r.VM), r.Version, r.State, mark)
	for _, p := range r.Problems {
		fmt.Fprintf(opts.Out, "  %s\n", oneLine(p))
	}
	printHurtPacks(opts.common, r.Hurt.Packs)
	for _, c := range r.Hurt.Chunks {
		if err := printHurtChunk(opts.common, c); err != nil {
			return err
		}
	}
	printCompared(opts, &r.Comparison)
	pairs := []pair{{"packs", fmt.Sprintf("%s proved now, %s before", thousands(int64(r.Packs)), thousands(int64(r.Proved)))}}
	if len(opts.Against) > 0 {
		compared := sizeText(r.Compared)
		if r.LeftOut > 0 {
			compared += fmt.Sprintf(", %s of it left out, which the guest does not use", sizeText(r.LeftOut))
		}
		pairs = append(pairs, pair{"compared", compared})
		if r.DifferBytes > 0 {
			pairs = append(pairs, pair{"different", sizeText(r.DifferBytes)})
		}
		if r.LostBytes > 0 {
			pairs = append(pairs, pair{"not back", sizeText(r.LostBytes) + ", which could not be compared"})
		}
	}
	return printPairs(opts.Out, "  ", pairs)
}
