package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
)

// vmVersions are versions of one VM that were named.
type vmVersions struct {
	vm  string
	ids []string
}

// again runs an act once more when the owner of the store was lost meanwhile:
// what was done is found to be done.
func again(ctx context.Context, opts common, act func() error) error {
	for try := 1; ; try++ {
		err := act()
		if err == nil || !errors.Is(err, owner.ErrOwnerLost) || try == captureTries || ctx.Err() != nil {
			return err
		}
		opts.Console.note("the process that owned the store is gone; trying again (try %d of %d)", try+1, captureTries)
	}
}

// exactVersion reads VM@VERSION where VERSION decides what is lost: an id, or
// latest, and no time, which might mean another version than was thought of.
func exactVersion(ctx context.Context, h *owner.Handle, vm, version string) (string, error) {
	if catalog.IsID(version) {
		return version, nil
	}
	v, err := catalog.Resolve(ctx, h, vm+"@"+version)
	if err != nil {
		return "", err
	}
	if version != "latest" {
		return "", withHint(usagef("%s@%s is a time; name the version by its id", nameText(vm), version), "its id is "+v.ID)
	}
	return v.ID, nil
}

// namedVersions reads VM@VERSION arguments, gathered by VM in their order.
func namedVersions(ctx context.Context, h *owner.Handle, command string, refs []string) (list []vmVersions, err error) {
	for _, ref := range refs {
		vm, version, err := catalog.SplitRef(ctx, h, ref)
		if err != nil {
			return nil, err
		}
		if version == "" {
			return nil, withHint(usagef("%s names no version", nameText(ref)), "holdfast "+command+" VM@VERSION", "see what is there: holdfast list "+shellWord(vm))
		}
		id, err := exactVersion(ctx, h, vm, version)
		if err != nil {
			return nil, err
		}
		list = addNamed(list, vm, id)
	}
	return list, nil
}

func addNamed(list []vmVersions, vm string, ids ...string) []vmVersions {
	for i := range list {
		if list[i].vm == vm {
			list[i].ids = append(list[i].ids, ids...)
			return list
		}
	}
	return append(list, vmVersions{vm, ids})
}

// markedVersion is a version that an act changed, or did not.
type markedVersion struct {
	VM      string `json:"vm"`
	VMBytes []byte `json:"vm_bytes,omitempty"`
	ID      string `json:"id"`
	Changed bool   `json:"changed"` // it was otherwise before
}

type markedResult struct {
	Versions []markedVersion `json:"versions"`
}

func (r *markedResult) add(n vmVersions, changed []string) {
	name := viewName(n.vm)
	was := map[string]bool{}
	for _, id := range changed {
		was[id] = true
	}
	for _, id := range n.ids {
		r.Versions = append(r.Versions, markedVersion{name.Name, name.Bytes, id, was[id]})
	}
}

// marker is a command that says something of versions.
type marker struct {
	name, done, idle string // idle: it was so before
	do               func(ctx context.Context, h *owner.Handle, vm string, ids []string) ([]string, error)
}

// run carries an act out and says what it changed.
func (m marker) run(ctx context.Context, opts common, refs []string) error {
	return withStore(ctx, opts, func(h *owner.Handle) error {
		named, err := namedVersions(ctx, h, m.name, refs)
		if err != nil {
			return err
		}
		res := markedResult{Versions: []markedVersion{}}
		for _, n := range named {
			var changed []string
			err := again(ctx, opts, func() (err error) {
				changed, err = m.do(ctx, h, n.vm, n.ids)
				return err
			})
			if err != nil {
				return err
			}
			res.add(n, changed)
		}
		if opts.JSON {
			return printJSON(opts.Out, res)
		}
		for _, v := range res.Versions {
			text := m.done
			if !v.Changed {
				text = m.idle
			}
			if _, err := fmt.Fprintf(opts.Out, "%s %s@%s\n", text, nameText(vmName(nameView{v.VM, v.VMBytes})), v.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// action reads the command line of a marker.
func (m marker) action(c *cli.Context) error {
	opts, err := commonOf(c)
	if err != nil {
		return err
	}
	if c.NArg() == 0 {
		return withHint(usagef("%s needs versions", m.name), "holdfast "+m.name+" VM@VERSION")
	}
	return m.run(c.Context, opts, c.Args().Slice())
}

func undeleteCommand() *cli.Command {
	return &cli.Command{
		Name:      "undelete",
		Usage:     "bring forgotten versions back",
		UsageText: "holdfast undelete VM@VERSION... [--partly]",
		Description: `A version that was forgotten comes back while its chunks are still there, which is
until the next pruning. Each chunk is looked for first.`,
		BashComplete: completeMarked(catalog.Forgotten),
		CustomHelpTemplate: commandHelp(`
holdfast list --forgotten
holdfast undelete web@2026-11-20T02-00-00Z
`, exitOK, exitFailure, exitUsage, exitNotFound, exitStore, exitInterrupted),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "partly", DisableDefaultText: true, Usage: "also where parts of the version are gone or damaged: they read as I/O errors"},
		},
		Action: func(c *cli.Context) error {
			partly := c.Bool("partly")
			return marker{"undelete", "Undeleted", "Not forgotten:", func(ctx context.Context, h *owner.Handle, vm string, ids []string) ([]string, error) {
				return catalog.Undelete(ctx, h, vm, catalog.UndeleteOptions{Partly: partly}, ids...)
			}}.action(c)
		},
	}
}

func pinCommand() *cli.Command {
	m := marker{"pin", "Pinned", "Pinned before:", func(ctx context.Context, h *owner.Handle, vm string, ids []string) ([]string, error) {
		return catalog.Pin(ctx, h, vm, ids...)
	}}
	return &cli.Command{
		Name:         "pin",
		Usage:        "keep versions from being forgotten",
		UsageText:    "holdfast pin VM@VERSION...",
		Description:  `No policy forgets a pinned version, and to forget it by name is refused.`,
		BashComplete: completeVMs,
		CustomHelpTemplate: commandHelp(`
holdfast pin web@latest
holdfast pin web@2026-11-20T02-00-00Z
`, exitOK, exitFailure, exitUsage, exitNotFound, exitStore, exitInterrupted),
		Action: m.action,
	}
}

func unpinCommand() *cli.Command {
	m := marker{"unpin", "Unpinned", "Not pinned:", func(ctx context.Context, h *owner.Handle, vm string, ids []string) ([]string, error) {
		return catalog.Unpin(ctx, h, vm, ids...)
	}}
	return &cli.Command{
		Name:         "unpin",
		Usage:        "let pinned versions be forgotten again",
		UsageText:    "holdfast unpin VM@VERSION...",
		BashComplete: completeMarked(catalog.Pinned),
		CustomHelpTemplate: commandHelp(`
holdfast unpin web@2026-11-20T02-00-00Z
`, exitOK, exitFailure, exitUsage, exitNotFound, exitStore, exitInterrupted),
		Action: m.action,
	}
}

// completeMarked offers the versions that bear a mark.
func completeMarked(mark catalog.Mark) cli.BashCompleteFunc {
	return func(c *cli.Context) {
		cli.DefaultCompleteWithFlags(c.Command)(c)
		completeNames(c, func(ctx context.Context, h *owner.Handle) (names []string, err error) {
			vms, err := catalog.AllVMs(ctx, h)
			for _, vm := range vms {
				if err == nil {
					err = catalog.Marked(ctx, h, vm, func(v *catalog.Version, m catalog.Mark, _ error) {
						if m.Has(mark) {
							names = append(names, vm+"@"+v.ID)
						}
					})
				}
			}
			return names, err
		})
	}
}

// completeWords offers words for the first argument and names behind it.
func completeWords(words []string, names cli.BashCompleteFunc) cli.BashCompleteFunc {
	return func(c *cli.Context) {
		if c.NArg() == 0 {
			cli.DefaultCompleteWithFlags(c.Command)(c)
			fmt.Fprintln(c.App.Writer, strings.Join(words, "\n"))
			return
		}
		names(c)
	}
}
