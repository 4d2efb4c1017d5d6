package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore/catalog"
	"holdfast/fs/files"
	"holdfast/fs/guest"
)

// maxFound bounds the paths of one search: each is kept.
const maxFound = 1 << 20

type findOptions struct {
	common
	Ref    guestRef
	Volume string
	Match  files.Match
}

func findCommand() *cli.Command {
	return &cli.Command{
		Name:      "find",
		Usage:     "find a guest's files: in which versions, and when they changed",
		UsageText: "holdfast find VM[@VERSION][:/PATH] [--name PATTERN] ...",
		Description: guestHelp + `

Without @VERSION all versions of the VM are searched: each path is printed once, and below it
a line for each state that it was in: the first and the last version that have it so, its size
and its time. With @VERSION the paths of that version are printed. All conditions must hold.
SIZE is as 64K or 1M, TIME a date or an age as 7d.`,
		BashComplete: completeVMs,
		CustomHelpTemplate: commandHelp(`
holdfast find web --name nginx.conf
holdfast find web:/home --type f --larger 100M --newer 7d
holdfast find web@2026-11-20:/etc --name '*.conf' --json
`, exitOK, exitFailure, exitUsage, exitDamage, exitNotFound, exitStore, exitInterrupted),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "the last part of the path fits `PATTERN` (* ? [a-z])"},
			&cli.StringFlag{Name: "type", Usage: "of these `TYPES`: f, d, l, c, b, p, s"},
			&cli.StringFlag{Name: "larger", Usage: "of at least `SIZE`"},
			&cli.StringFlag{Name: "smaller", Usage: "of less than `SIZE`"},
			&cli.StringFlag{Name: "newer", Usage: "changed at `TIME` or later"},
			&cli.StringFlag{Name: "older", Usage: "changed before `TIME`"},
			volumeFlag(),
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() != 1 {
				return withHint(usagef("find needs one VM or version"), "holdfast find VM[@VERSION][:/PATH] --name PATTERN")
			}
			o := findOptions{common: opts, Volume: c.String("volume")}
			o.Ref, _ = parseGuestRef(c.Args().First())
			if o.Match, err = parseMatch(c.String, time.Now()); err != nil {
				return err
			}
			return runFind(c.Context, o)
		},
	}
}

// parseMatch reads the conditions.
func parseMatch(value func(option string) string, now time.Time) (m files.Match, err error) {
	m.Name = value("name")
	if _, err := path.Match(m.Name, ""); err != nil {
		return m, usagef("--name %q: %v", m.Name, err)
	}
	for _, letter := range strings.ReplaceAll(value("type"), ",", "") {
		found := false
		for t, l := range typeLetters {
			if l == string(letter) {
				m.Types, found = append(m.Types, t), true
			}
		}
		if !found {
			return m, usagef("--type %q: want letters of f, d, l, c, b, p, s", value("type"))
		}
	}
	for option, to := range map[string]*int64{"larger": &m.AtLeast, "smaller": &m.Below} {
		if s := value(option); s != "" {
			if *to, err = parseSize(option, s); err != nil {
				return m, err
			}
		}
	}
	for option, to := range map[string]*time.Time{"newer": &m.Since, "older": &m.Until} {
		if s := value(option); s != "" {
			if *to, err = parseMoment(option, s, now); err != nil {
				return m, err
			}
		}
	}
	return m, nil
}

// findResult is what find --json prints.
type findResult struct {
	VM       string      `json:"vm"`
	Versions []string    `json:"versions"` // that were searched
	Files    []foundView `json:"files"`
}

// foundView is a path and the states in which versions have it.
type foundView struct {
	Path      string      `json:"path"`
	PathBytes []byte      `json:"path_bytes,omitempty"`
	States    []stateView `json:"states"`
}

type stateView struct {
	First    string   `json:"first"`
	Last     string   `json:"last"`
	Versions int      `json:"versions"`
	File     fileView `json:"file"`
}

// search is a find under way.
type search struct {
	opts    findOptions
	history files.History
	top     string // with a slash at its end
	found   int
	problem error // the first
}

// runFind searches one version, or all of a VM.
func runFind(ctx context.Context, opts findOptions) error {
	return withGuests(ctx, opts.common, opts.Volume, func(g *guests) error {
		v, err := resolve(ctx, g.h, opts.Ref.Ref)
		if err != nil {
			return err
		}
		ids := []string{v.ID}
		all := v.VM == opts.Ref.Ref
		if all {
			if ids, err = catalog.IDs(ctx, g.h, v.VM); err != nil {
				return err
			}
		}
		s := &search{opts: opts, top: strings.TrimSuffix(path.Clean(opts.Ref.Path), "/") + "/"}
		if err := s.versions(ctx, g, v.VM, ids); err != nil {
			return err
		}
		return errors.Join(s.print(v.VM, ids, all), s.problem)
	})
}

// versions searches versions in order. One whose disks are those of the version
// before is not walked through again.
func (s *search) versions(ctx context.Context, g *guests, vm string, ids []string) error {
	var before *catalog.Version
	for i, id := range ids {
		v, err := catalog.Get(ctx, g.h, vm, id)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.fail(damagedManifests(err))
			before = nil
			continue
		}
		if before != nil && sameDisks(before, v) {
			s.history.Repeat(i, id)
			continue
		}
		if err := s.version(ctx, g, i, v); err != nil {
			return err
		}
		before = v
	}
	return nil
}

// sameDisks tells whether two versions hold the same.
func sameDisks(a, b *catalog.Version) bool {
	if len(a.Disks) != len(b.Disks) {
		return false
	}
	for i := range a.Disks {
		if a.Disks[i].Name != b.Disks[i].Name || a.Disks[i].Map != b.Disks[i].Map {
			return false
		}
	}
	return true
}

// version searches one version. A version without the path, or without a system,
// has nothing of it.
func (s *search) version(ctx context.Context, g *guests, number int, v *catalog.Version) error {
	where := fmt.Sprintf("%s@%s:", nameText(v.VM), v.ID)
	space, err := g.open(ctx, v)
	var top files.Place
	if err == nil {
		top, err = space.Resolve(ctx, s.opts.Ref.Path, true)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, guest.ErrNotExist):
		return nil
	case err != nil:
		s.fail(fmt.Errorf("%s %w", where, err))
		return nil
	}
	w := files.Walker{Space: space}
	w.Problem = func(p string, err error) error {
		s.fail(fmt.Errorf("%s%s%s: %w", where, s.top, p, err))
		return nil
	}
	w.Visit = func(f files.File) (bool, error) {
		if f.Path == "" || !s.opts.Match.Fits(f) {
			return true, nil
		}
		if s.found++; s.found > maxFound {
			return false, withHint(fmt.Errorf("more than %s files fit", thousands(maxFound)), "narrow the search: a path, --name, --newer, one version")
		}
		s.history.Add(number, v.ID, f)
		return true, nil
	}
	return w.Walk(ctx, top)
}

// fail notes what could not be searched; the rest goes on.
func (s *search) fail(err error) {
	s.opts.Console.note("%v", err)
	if s.problem == nil {
		s.problem = err
	}
}

func (s *search) print(vm string, ids []string, all bool) error {
	if s.opts.JSON {
		res := findResult{VM: viewName(vm).Name, Versions: ids, Files: []foundView{}}
		for _, t := range s.history.Tracks() {
			name := viewName(s.top + t.Path)
			f := foundView{Path: name.Name, PathBytes: name.Bytes}
			for _, st := range t.States {
				f.States = append(f.States, stateView{st.First, st.Last, st.Versions, viewFile(s.top+t.Path, st.Attr)})
			}
			res.Files = append(res.Files, f)
		}
		return printJSON(s.opts.Out, res)
	}
	for _, t := range s.history.Tracks() {
		if _, err := fmt.Fprintln(s.opts.Out, printable(s.top+t.Path)); err != nil {
			return err
		}
		for _, st := range t.States {
			if !all {
				break
			}
			last := "only"
			if st.Versions > 1 {
				last = fmt.Sprintf("to %s, %d versions", st.Last, st.Versions)
			}
			fmt.Fprintf(s.opts.Out, "    %s  %10s  %s  %s %s\n", modeText(st.Attr), sizeText(st.Attr.Size), timeText(st.Attr.Mtime), st.First, last)
		}
	}
	return nil
}
