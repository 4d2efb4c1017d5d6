package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
	"holdfast/chunkstore/pack"
	"holdfast/fs/image"
	"holdfast/fs/restore"
)

type restoreOptions struct {
	common
	Ref       string
	Disk      string // "": the only one, or all into the directory Out
	Format    image.Format
	Overwrite bool
	Skip      bool   // leave out what is damaged
	Changed   string // a list of what changed on To since it was as the version; "-": standard input
	To        string // a file, device or directory; "-": standard output
}

func restoreCommand() *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "write the disks of a version to files or block devices",
		UsageText: "holdfast restore VM[@VERSION] [--disk D] [--format F] [--overwrite [--changed LIST]] [--skip-damaged] OUT",
		Description: refHelp + `

OUT is a new file; with --overwrite it may also be a file or block device that
exists, where only the blocks that differ are written. - is standard output. A
version with several disks is restored whole into the directory OUT, unless --disk
names one. Every chunk is proved as it is read; a restore to a new file that fails or
is stopped leaves no file.

With --changed only what LIST names is read, compared and written, in a small part of
the time. LIST (- is standard input) is what was changed on OUT since it was as this version,
or more than that: a map of qemu's dirty bitmap as nbdinfo prints it, the answer of
vSphere's QueryChangedDiskAreas as JSON, or lines of offset and length in bytes. What LIST
does not name is trusted to be right and is not looked at, damage of the version there included:
holdfast verify --against proves the whole of OUT afterwards. OUT is raw and of the disk's
size, or a device. Join ranges that lie near one another: many short ones take long.

A version with damage is refused with status 3. With --skip-damaged everything else is
written: the damaged ranges are zeros, and OUT.skipped.json lists each of them and the
guest's files that lie there (for a device it is in the current directory). The status
is 3 then, too.`,
		BashComplete: completeVMs,
		CustomHelpTemplate: commandHelp(`
holdfast restore web web.raw
holdfast restore web@2026-11-20 --format qcow2 /img/web.qcow2
holdfast restore db --disk vdb --overwrite /dev/vg0/db-data
holdfast restore web@2026-11-20 --overwrite --changed dirty.json /img/web.raw
holdfast restore web - | ssh host 'dd of=/dev/vg0/web bs=4M'
holdfast restore web --skip-damaged web.raw
`, exitOK, exitFailure, exitUsage, exitDamage, exitNotFound, exitStore, exitInterrupted),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "disk", Usage: "restore only the disk of this `NAME`"},
			&cli.StringFlag{Name: "format", Usage: "write `FORMAT`: raw, qcow2, vhd, vhdx or vmdk", Value: "raw"},
			&cli.BoolFlag{Name: "skip-damaged", DisableDefaultText: true, Usage: "write zeros where the version is damaged, and a map of it"},
			&cli.BoolFlag{Name: "overwrite", DisableDefaultText: true, Usage: "OUT may exist; write only what differs"},
			&cli.StringFlag{Name: "changed", Usage: "with --overwrite: deal only with what `LIST` says was changed on OUT, and trust the rest"},
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() != 2 {
				return withHint(usagef("restore needs a version and where to write it"), "holdfast restore VM[@VERSION] OUT")
			}
			o := restoreOptions{common: opts, Ref: c.Args().Get(0), To: c.Args().Get(1), Disk: c.String("disk"), Overwrite: c.Bool("overwrite"), Skip: c.Bool("skip-damaged"), Changed: c.String("changed")}
			if c.IsSet("changed") && o.Changed == "" {
				return usagef("--changed \"\": name a file, or - for standard input")
			}
			if o.Skip && o.To == "-" {
				return usagef("--skip-damaged writes a map beside OUT, and standard output has no place beside it")
			}
			if o.Format, err = image.ParseFormat(c.String("format")); err != nil {
				return usagef("--format %q: want raw, qcow2, vhd, vhdx or vmdk", c.String("format"))
			}
			if err := o.checkChanged(); err != nil {
				return err
			}
			return runRestore(c.Context, o)
		},
	}
}

// restoreResult is what restore --json prints.
type restoreResult struct {
	VM      string         `json:"vm"`
	Version string         `json:"version"`
	Format  string         `json:"format"`
	Disks   []restoredView `json:"disks"`
}

type restoredView struct {
	nameView
	Out             string  `json:"out"`
	SizeBytes       int64   `json:"size_bytes"`    // of the image file
	WrittenBytes    int64   `json:"written_bytes"` // to it
	SameBytes       int64   `json:"same_bytes"`    // found as they should be
	HoleBytes       int64   `json:"hole_bytes"`    // zeros that needed no writing
	DurationSeconds float64 `json:"duration_seconds"`
	TrustedBytes    int64   `json:"trusted_bytes,omitempty"` // not among what changed: neither read nor written
	SkippedBytes    int64   `json:"skipped_bytes,omitempty"` // damaged: zeros in the image
	SkippedMap      string  `json:"skipped_map,omitempty"`   // the file that lists them
}

// runRestore restores one disk to a file, or all into a directory.
func runRestore(ctx context.Context, opts restoreOptions) error {
	if f, ok := opts.Out.(*os.File); ok && opts.To == "-" && isTTY(int(f.Fd())) {
		return withHint(usagef("standard output is a terminal, and a disk would spoil it"), "holdfast restore "+shellWord(opts.Ref)+" - > FILE")
	}
	spreadThreads()
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		v, err := resolve(ctx, h, opts.Ref)
		if err != nil {
			return err
		}
		if err := opts.oneDisk(v); err != nil {
			return err
		}
		targets, err := restoreTargets(opts, v)
		if err != nil {
			return err
		}
		res := restoreResult{VM: v.VM, Version: v.ID, Format: string(opts.Format), Disks: []restoredView{}}
		for _, t := range targets {
			r, err := restoreDisk(ctx, h, opts, v, t)
			if err != nil {
				return fmt.Errorf("disk %s of %s@%s: %w", nameText(t.disk.Name), nameText(v.VM), v.ID, err)
			}
			res.Disks = append(res.Disks, r)
		}
		return errors.Join(printRestored(opts, res), skippedStatus(res))
	})
}

// restoreTarget is a disk and where it goes.
type restoreTarget struct {
	disk catalog.Disk
	out  string
}

// restoreTargets says which disks go where, before anything is written.
func restoreTargets(opts restoreOptions, v *catalog.Version) ([]restoreTarget, error) {
	if opts.Disk != "" {
		d, ok := v.Disk(opts.Disk)
		if !ok {
			err := fmt.Errorf("%s@%s has no disk %q", nameText(v.VM), v.ID, opts.Disk)
			return nil, withStatus(exitNotFound, withHint(err, "its disks: "+diskList(v)))
		}
		return []restoreTarget{{*d, opts.To}}, nil
	}
	if len(v.Disks) == 1 {
		return []restoreTarget{{v.Disks[0], opts.To}}, nil
	}
	if opts.To == "-" {
		return nil, withHint(usagef("%s@%s has %d disks, standard output takes one", nameText(v.VM), v.ID, len(v.Disks)), "name one with --disk: "+diskList(v))
	}
	if st, err := os.Stat(opts.To); err == nil && !st.IsDir() {
		return nil, withHint(usagef("%s@%s has %d disks, and %s is not a directory", nameText(v.VM), v.ID, len(v.Disks), opts.To), "name one with --disk: "+diskList(v))
	}
	if err := os.MkdirAll(opts.To, 0o755); err != nil {
		return nil, err
	}
	var targets []restoreTarget
	for _, d := range v.Disks {
		targets = append(targets, restoreTarget{d, filepath.Join(opts.To, diskFile(d.Name, opts.Format.Ext()))})
	}
	return targets, nil
}

func diskList(v *catalog.Version) string {
	var names []string
	for _, d := range v.Disks {
		names = append(names, nameText(d.Name))
	}
	return strings.Join(names, ", ")
}

// restoreDisk restores one disk and shows how far it is.
func restoreDisk(ctx context.Context, h *owner.Handle, opts restoreOptions, v *catalog.Version, t restoreTarget) (restoredView, error) {
	changed, err := opts.changedOn(ctx, t.disk)
	if err != nil {
		return restoredView{}, err
	}
	progress := new(restore.Progress)
	end := opts.Console.watch(gauge{
		what:  "restoring " + nameText(t.disk.Name),
		bytes: func() (int64, int64) { return progress.Done.Load(), progress.Total.Load() },
		moved: progress.Done.Load,
	})
	defer end()
	mapPath := ""
	ro := restore.Options{Disk: t.disk, Time: v.Time, Format: opts.Format, Out: t.out, Overwrite: opts.Overwrite, Changed: changed, Progress: progress}
	if opts.Skip {
		ro.Skip = func(list []restore.Skipped) (err error) {
			m := skippedMap{VM: v.VM, VMBytes: viewName(v.VM).Bytes, Version: v.ID, Disk: t.disk.Name, DiskRaw: viewName(t.disk.Name).Bytes, Out: t.out, Format: string(opts.Format), Ranges: list}
			if err := m.nameFiles(ctx, h); err != nil {
				return err
			}
			mapPath, err = writeSkipped(m)
			return err
		}
	}
	var res restore.Result
	if t.out == "-" {
		res, err = restore.Stream(ctx, h, ro, opts.Out)
	} else {
		res, err = restore.Run(ctx, h, ro)
	}
	if errors.Is(err, image.ErrTooLarge) {
		err = withHint(err, "--format raw has no limit")
	}
	if d, damaged := errors.AsType[*pack.Damage](err); damaged && d.Kind != pack.Unreadable && !opts.Skip {
		err = withHint(err, "mend what can be mended: holdfast scrub --repair", "write all else, and zeros here: --skip-damaged")
	}
	return viewRestored(t, res, mapPath), err
}

func viewRestored(t restoreTarget, r restore.Result, mapPath string) restoredView {
	v := restoredView{nameView: viewName(t.disk.Name), Out: t.out, SizeBytes: r.Size, WrittenBytes: r.Written, SameBytes: r.Same, HoleBytes: r.Holes, TrustedBytes: r.Trusted, DurationSeconds: r.Duration.Seconds(), SkippedMap: mapPath}
	for _, s := range r.Skipped {
		v.SkippedBytes += s.Length
	}
	return v
}

// results is where the summary goes: not between the bytes of a disk.
func (o restoreOptions) results() io.Writer {
	if o.To == "-" {
		return o.Console
	}
	return o.Out
}

func printRestored(opts restoreOptions, res restoreResult) error {
	out := opts.results()
	if opts.JSON {
		return printJSON(out, res)
	}
	if opts.To == "-" && opts.Quiet {
		return nil
	}
	for _, d := range res.Disks {
		took := time.Duration(d.DurationSeconds * float64(time.Second))
		fmt.Fprintf(out, "Restored %s of %s@%s to %s (%s, %s)\n", nameText(vmName(d.nameView)), nameText(res.VM), res.Version, oneLine(d.Out), res.Format, sizeText(d.SizeBytes))
		same := ""
		if opts.Overwrite {
			same = fmt.Sprintf(", %s were right already", sizeText(d.SameBytes))
		}
		if d.SkippedBytes > 0 {
			fmt.Fprintf(out, "  DAMAGED: %s could not be read and are zeros in it; %s lists where\n", sizeText(d.SkippedBytes), oneLine(d.SkippedMap))
		}
		pairs := []pair{
			{"written", fmt.Sprintf("%s%s", sizeText(d.WrittenBytes), same)},
			{"holes", sizeText(d.HoleBytes)},
			{"took", fmt.Sprintf("%s, %s", durationText(took), rateText(d.SizeBytes-d.TrustedBytes, took))},
		}
		if opts.Changed != "" {
			pairs = append(pairs, pair{"trusted", sizeText(d.TrustedBytes) + " that the list does not name, not looked at"})
		}
		if err := printPairs(out, "  ", pairs); err != nil {
			return err
		}
	}
	return nil
}
