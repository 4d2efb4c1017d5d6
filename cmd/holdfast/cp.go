package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"holdfast/fs"
	"holdfast/fs/files"
	"holdfast/fs/guest"
)

type cpOptions struct {
	common
	Refs                  []guestRef
	To                    string
	Volume                string
	Recursive, Privileged bool
}

func cpCommand() *cli.Command {
	return &cli.Command{
		Name:      "cp",
		Usage:     "copy a guest's files out, without a mount",
		UsageText: "holdfast cp [-r] VM[@VERSION]:/PATH ... DEST",
		Description: guestHelp + `

DEST is a directory that exists, in which the copies get their own names, or the name
of the copy. Nothing that is there is overwritten. Modes, times, hard links, symbolic links,
holes and extended attributes are kept, and owners where this runs as root. What would act on
this machine is left out unless --privileged asks for it: set-user-ID and set-group-ID bits
of files, file capabilities and device nodes. A file that can't be copied is told, the others
are copied, and the status is 1 or, where the store is damaged, 3.`,
		BashComplete: completeVMs,
		CustomHelpTemplate: commandHelp(`
holdfast cp web:/etc/fstab .
holdfast cp -r web@2026-11-20:/srv/www /var/tmp/www
`, exitOK, exitFailure, exitUsage, exitDamage, exitNotFound, exitStore, exitInterrupted),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, DisableDefaultText: true, Usage: "copy directories, and links as links"},
			&cli.BoolFlag{Name: "privileged", DisableDefaultText: true, Usage: "keep setuid bits, capabilities and device nodes"},
			volumeFlag(),
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			args := c.Args().Slice()
			if len(args) < 2 {
				return withHint(usagef("cp needs what to copy and where to"), "holdfast cp VM[@VERSION]:/PATH DEST")
			}
			o := cpOptions{common: opts, To: args[len(args)-1], Volume: c.String("volume"), Recursive: c.Bool("recursive"), Privileged: c.Bool("privileged")}
			for _, arg := range args[:len(args)-1] {
				ref, ok := parseGuestRef(arg)
				if !ok {
					return withHint(usagef("%s names no file of a guest", arg), "holdfast cp VM[@VERSION]:/PATH DEST")
				}
				o.Refs = append(o.Refs, ref)
			}
			return runCp(c.Context, o)
		},
	}
}

// cpResult is what cp --json prints.
type cpResult struct {
	Files           int64   `json:"files"`
	Directories     int64   `json:"directories"`
	Links           int64   `json:"links"`  // further names of a file
	Others          int64   `json:"others"` // fifos, sockets, device nodes
	Bytes           int64   `json:"bytes"`
	Skipped         int64   `json:"skipped"` // device nodes
	Problems        int64   `json:"problems"`
	DurationSeconds float64 `json:"duration_seconds"`
}

// runCp copies files out.
func runCp(ctx context.Context, opts cpOptions) error {
	return withGuests(ctx, opts.common, opts.Volume, func(g *guests) error {
		began := time.Now()
		var res cpResult
		var failed error
		for _, ref := range opts.Refs {
			got, err := copyOut(ctx, g, opts, ref)
			res.add(got)
			if failed == nil {
				failed = got.First
			}
			if err != nil {
				return fmt.Errorf("copy %s:%s: %w", ref.Ref, ref.Path, err)
			}
		}
		res.DurationSeconds = time.Since(began).Seconds()
		return errors.Join(printCopied(opts, res), failed)
	})
}

func (r *cpResult) add(x files.Extracted) {
	r.Files, r.Directories, r.Links, r.Others = r.Files+x.Files, r.Directories+x.Directories, r.Links+x.Links, r.Others+x.Others
	r.Bytes, r.Skipped, r.Problems = r.Bytes+x.Bytes, r.Skipped+x.Skipped, r.Problems+x.Problems
}

// copyOut copies one file or tree.
func copyOut(ctx context.Context, g *guests, opts cpOptions, ref guestRef) (none files.Extracted, err error) {
	space, p, v, err := g.at(ctx, ref, !opts.Recursive)
	if err != nil {
		return none, err
	}
	a, err := space.Stat(ctx, p)
	if err != nil {
		return none, err
	}
	if a.Type == guest.Directory && !opts.Recursive {
		return none, withHint(usagef("it is a directory"), "holdfast cp -r ...")
	}
	dir, name, err := destination(opts, ref, v.VM)
	if err != nil {
		return none, err
	}
	progress := new(files.ExtractProgress)
	progress.Total.Store(a.Size)
	if a.Type == guest.Directory && !opts.Quiet {
		if err := total(ctx, space, p, progress); err != nil {
			return none, err
		}
	}
	end := opts.Console.watch(gauge{
		what:  "copying " + ref.Path,
		bytes: func() (int64, int64) { return progress.Done.Load(), progress.Total.Load() },
		moved: progress.Done.Load,
	})
	defer end()
	return space.Extract(ctx, p, dir, name, files.ExtractOptions{
		Recursive: opts.Recursive, Privileged: opts.Privileged, Progress: progress,
		Problem: func(file string, err error) {
			opts.Console.note("%s: %v", path.Join(ref.Path, file), err)
		},
	})
}

// total adds up the sizes of what is to be copied, for the progress.
func total(ctx context.Context, s *files.Space, p files.Place, progress *files.ExtractProgress) error {
	progress.Total.Store(0)
	w := files.Walker{Space: s, Problem: func(string, error) error { return nil }, Visit: func(f files.File) (bool, error) {
		if f.Attr.Type == guest.Regular {
			progress.Total.Add(min(f.Attr.Size, f.Attr.Allocated))
		}
		return true, nil
	}}
	return w.Walk(ctx, p)
}

// destination says in which directory a copy is made, and by which name.
func destination(opts cpOptions, ref guestRef, vm string) (dir, name string, err error) {
	name = path.Base(path.Clean(ref.Path))
	if st, err := os.Stat(opts.To); err == nil && st.IsDir() {
		if name == "/" {
			name = fs.Escape(vm)
		}
		return opts.To, name, nil
	}
	if len(opts.Refs) > 1 {
		return "", "", usagef("%s is no directory, and %d files are to be copied", opts.To, len(opts.Refs))
	}
	to, err := filepath.Abs(opts.To)
	return filepath.Dir(to), filepath.Base(to), err
}

func printCopied(opts cpOptions, res cpResult) error {
	if opts.JSON {
		return printJSON(opts.Out, res)
	}
	if opts.Quiet {
		return nil
	}
	took := time.Duration(res.DurationSeconds * float64(time.Second))
	text := fmt.Sprintf("Copied %s and %d directories, %s in %s (%s)", countText(res.Files+res.Links+res.Others, "file"), res.Directories, sizeText(res.Bytes), durationText(took), rateText(res.Bytes, took))
	if res.Skipped > 0 {
		text += fmt.Sprintf("; %s left out (--privileged)", countText(res.Skipped, "device node"))
	}
	if res.Problems > 0 {
		text += fmt.Sprintf("; %s", countText(res.Problems, "problem"))
	}
	_, err := fmt.Fprintln(opts.Out, text)
	return err
}
