package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/urfave/cli/v2"

	"holdfast/fs/files"
	"holdfast/fs/guest"
)

// maxSorted entries of one directory are sorted; what is beyond is not shown and
// told.
const maxSorted = 1 << 20

type lsOptions struct {
	common
	Ref             guestRef
	Volume          string
	Long, Recursive bool
}

func lsCommand() *cli.Command {
	return &cli.Command{
		Name:      "ls",
		Usage:     "list a guest's files, without a mount",
		UsageText: "holdfast ls [-l] [-R] VM[@VERSION]:/PATH",
		Description: guestHelp + `

Without a colon this is holdfast list: the VMs, or the versions of one.`,
		BashComplete: completeVMs,
		CustomHelpTemplate: commandHelp(`
holdfast ls web:/etc
holdfast ls -l web@2026-11-20:/home
holdfast ls -R --volume vda/p1 web:/ --json
`, exitOK, exitFailure, exitUsage, exitDamage, exitNotFound, exitStore, exitInterrupted),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, DisableDefaultText: true, Usage: "with modes, owners, sizes and times"},
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"R"}, DisableDefaultText: true, Usage: "and what is in the directories"},
			volumeFlag(),
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() > 1 {
				return usagef("ls takes one path, but %d were named", c.NArg())
			}
			ref, ok := parseGuestRef(c.Args().First())
			if !ok {
				return runList(c.Context, listOptions{common: opts, VM: c.Args().First()})
			}
			return runLs(c.Context, lsOptions{opts, ref, c.String("volume"), c.Bool("long"), c.Bool("recursive")})
		},
	}
}

// lsResult is what ls --json prints.
type lsResult struct {
	VM      string     `json:"vm"`
	Version string     `json:"version"`
	Path    string     `json:"path"`
	Files   []fileView `json:"files"`
}

// runLs lists a directory, or one file.
func runLs(ctx context.Context, opts lsOptions) error {
	return withGuests(ctx, opts.common, opts.Volume, func(g *guests) error {
		space, p, v, err := g.at(ctx, opts.Ref, true)
		if err != nil {
			return err
		}
		l := &lister{opts: opts, s: space, res: lsResult{viewName(v.VM).Name, v.ID, opts.Ref.Path, []fileView{}}}
		a, err := space.Stat(ctx, p)
		if err != nil {
			return err
		}
		if a.Type == guest.Directory {
			err = l.dir(ctx, "", p, 0)
		} else {
			err = l.file(ctx, path.Base(opts.Ref.Path), p, a)
		}
		if err == nil && opts.JSON {
			err = printJSON(opts.Out, l.res)
		}
		return errors.Join(err, l.problem)
	})
}

// lister prints as it goes.
type lister struct {
	opts    lsOptions
	s       *files.Space
	seen    map[files.Place]bool
	res     lsResult
	problem error // the first
}

// dir lists a directory sorted by name, then those in it.
func (l *lister) dir(ctx context.Context, name string, p files.Place, depth int) error {
	if l.seen == nil {
		l.seen = map[files.Place]bool{}
	}
	if l.seen[p] || depth > 512 {
		l.fail(name, guest.Corrupt("the directory is in two places, or too deep"))
		return nil
	}
	l.seen[p] = true
	entries, more, err := l.s.List(ctx, p, maxSorted)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.fail(name, err)
	}
	if more {
		l.fail(name, fmt.Errorf("more than %d names: the rest is left out", maxSorted))
	}
	if l.opts.Recursive && !l.opts.JSON {
		fmt.Fprintf(l.opts.Out, "%s:\n", printable(path.Join(l.opts.Ref.Path, name)))
	}
	var dirs []files.Entry
	for _, e := range entries {
		a, err := l.s.Stat(ctx, e.Place)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			l.fail(path.Join(name, e.Name), err)
			continue
		}
		if err := l.file(ctx, l.shown(name, e.Name), e.Place, a); err != nil {
			return err
		}
		if a.Type == guest.Directory {
			dirs = append(dirs, e)
		}
	}
	return l.below(ctx, name, dirs, depth)
}

// below lists the directories of a directory.
func (l *lister) below(ctx context.Context, name string, dirs []files.Entry, depth int) error {
	if !l.opts.Recursive {
		return nil
	}
	for _, e := range dirs {
		if !l.opts.JSON {
			fmt.Fprintln(l.opts.Out)
		}
		if err := l.dir(ctx, path.Join(name, e.Name), e.Place, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// shown is how a name is printed: scripts get the path.
func (l *lister) shown(dir, name string) string {
	if l.opts.JSON {
		return strings.TrimPrefix(dir+"/"+name, "/")
	}
	return name
}

// fail notes what could not be listed; the rest goes on.
func (l *lister) fail(name string, err error) {
	err = fmt.Errorf("%s: %w", path.Join(l.opts.Ref.Path, name), err)
	l.opts.Console.note("%v", err)
	if l.problem == nil {
		l.problem = err
	}
}

// file prints one line, or keeps it for the document.
func (l *lister) file(ctx context.Context, name string, p files.Place, a guest.Attr) error {
	target := ""
	if a.Type == guest.Symlink && (l.opts.Long || l.opts.JSON) {
		if fs, err := l.s.Open(ctx, p); err == nil {
			target, _ = fs.Readlink(ctx, p.Node) // a damaged link has none
		}
	}
	if l.opts.JSON {
		v := viewFile(name, a)
		v.Target = target
		l.res.Files = append(l.res.Files, v)
		return nil
	}
	line := printable(name)
	if l.opts.Long {
		line = longLine(name, target, a)
	}
	_, err := fmt.Fprintln(l.opts.Out, line)
	return err
}

// longLine is a line of ls -l.
func longLine(name, target string, a guest.Attr) string {
	size := fmt.Sprint(a.Size)
	if a.Type == guest.CharDevice || a.Type == guest.BlockDevice {
		size = fmt.Sprintf("%d, %d", a.Rdev>>8&0xfff, a.Rdev&0xff|a.Rdev>>12&^0xff)
	}
	line := fmt.Sprintf("%s %3d %6d %6d %12s %s %s", modeText(a), a.Links, a.UID, a.GID, size, timeText(a.Mtime), printable(name))
	if target != "" {
		line += " -> " + printable(target)
	}
	return line
}

// modeText prints type and mode as ls -l does.
func modeText(a guest.Attr) string {
	letter := typeLetters[a.Type]
	if a.Type == guest.Regular || letter == "" {
		letter = "-"
	}
	b := []byte(letter + "rwxrwxrwx")
	for i := range 9 {
		if a.Perm&(1<<(8-i)) == 0 {
			b[1+i] = '-'
		}
	}
	for i, c := range []struct {
		bit  uint16
		mark byte
	}{{0o4000, 's'}, {0o2000, 's'}, {0o1000, 't'}} {
		if a.Perm&c.bit == 0 {
			continue
		}
		at := 3 + 3*i
		if b[at] == '-' {
			c.mark -= 'a' - 'A'
		}
		b[at] = c.mark
	}
	return string(b)
}
