package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/urfave/cli/v2"

	"holdfast/fs/files"
)

type diffOptions struct {
	common
	Old, New guestRef
	Volume   string
}

func diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "list what changed of a guest's files between two versions",
		UsageText: "holdfast diff VM@A[:/PATH] VM@B[:/PATH]",
		Description: guestHelp + `

Files are printed with + where only B has them, - where only A has, and M where they differ,
with what does: content, mode, owner, mtime, xattrs, target, device or type. Names, metadata
and maps are read: the ids of chunks prove that files are the same, or that they are not. Data
are read only of files of one size that were touched, and of these only the runs of which that
proves nothing, such as a file's last block. The status does not say whether there are
differences.`,
		BashComplete: completeVMs,
		CustomHelpTemplate: commandHelp(`
holdfast diff web@2026-11-20 web
holdfast diff web@2026-11-20:/etc web@latest:/etc --json
`, exitOK, exitFailure, exitUsage, exitDamage, exitNotFound, exitStore, exitInterrupted),
		Flags: []cli.Flag{volumeFlag()},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() != 2 {
				return withHint(usagef("diff needs two versions"), "holdfast diff VM@A VM@B")
			}
			o := diffOptions{common: opts, Volume: c.String("volume")}
			o.Old, _ = parseGuestRef(c.Args().Get(0))
			o.New, _ = parseGuestRef(c.Args().Get(1))
			return runDiff(c.Context, o)
		},
	}
}

// diffResult is what diff --json prints.
type diffResult struct {
	Old      string       `json:"old"`
	New      string       `json:"new"`
	Added    int64        `json:"added"`
	Removed  int64        `json:"removed"`
	Changed  int64        `json:"changed"`
	Compared int64        `json:"compared"`   // regular files
	Read     int64        `json:"read_bytes"` // of their data, of both versions
	Changes  []changeView `json:"changes"`
}

type changeView struct {
	Path      string    `json:"path"`
	PathBytes []byte    `json:"path_bytes,omitempty"`
	Kind      string    `json:"kind"`
	What      []string  `json:"what,omitempty"`
	Old       *fileView `json:"old,omitempty"`
	New       *fileView `json:"new,omitempty"`
}

// runDiff compares two trees.
func runDiff(ctx context.Context, opts diffOptions) error {
	return withGuests(ctx, opts.common, opts.Volume, func(g *guests) error {
		a, p, va, err := g.at(ctx, opts.Old, true)
		if err != nil {
			return err
		}
		b, q, vb, err := g.at(ctx, opts.New, true)
		if err != nil {
			return err
		}
		res := diffResult{Old: nameText(va.VM) + "@" + va.ID, New: nameText(vb.VM) + "@" + vb.ID, Changes: []changeView{}}
		var problem error
		d := files.Differ{Old: a, New: b, Report: func(c files.Change) error { return res.add(opts, c) }}
		d.Problem = func(name string, err error) error {
			err = fmt.Errorf("%s: %w", path.Join(opts.Old.Path, name), err)
			opts.Console.note("%v", err)
			if problem == nil {
				problem = err
			}
			return nil
		}
		if !sameDisks(va, vb) || opts.Old.Path != opts.New.Path {
			err = d.Diff(ctx, p, q)
		}
		if err != nil {
			return err
		}
		res.Compared, res.Read = d.Compared, d.Read
		return errors.Join(res.print(opts), problem)
	})
}

// add counts a change and prints it, or keeps it for the document.
func (r *diffResult) add(opts diffOptions, c files.Change) (err error) {
	mark := map[files.Kind]string{files.Added: "+", files.Removed: "-", files.Changed: "M"}[c.Kind]
	*map[files.Kind]*int64{files.Added: &r.Added, files.Removed: &r.Removed, files.Changed: &r.Changed}[c.Kind]++
	full := path.Join(opts.New.Path, c.Path)
	if !opts.JSON {
		what := ""
		if len(c.What) > 0 {
			what = "  (" + strings.Join(c.What, ", ") + ")"
		}
		_, err = fmt.Fprintf(opts.Out, "%s %s%s\n", mark, printable(full), what)
		return err
	}
	name := viewName(full)
	v := changeView{Path: name.Name, PathBytes: name.Bytes, Kind: string(c.Kind), What: c.What}
	if c.Old != nil {
		old := viewFile(full, *c.Old)
		v.Old = &old
	}
	if c.New != nil {
		now := viewFile(full, *c.New)
		v.New = &now
	}
	if len(r.Changes) >= maxFound {
		return withHint(fmt.Errorf("more than %s changes", thousands(maxFound)), "narrow it to a path, or leave --json out")
	}
	r.Changes = append(r.Changes, v)
	return nil
}

func (r *diffResult) print(opts diffOptions) error {
	if opts.JSON {
		return printJSON(opts.Out, r)
	}
	opts.Console.note("%s to %s: %s added, %s removed, %s changed", r.Old, r.New, thousands(r.Added), thousands(r.Removed), thousands(r.Changed))
	return nil
}
