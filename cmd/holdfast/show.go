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

type showOptions struct {
	common
	Ref string
}

// refHelp explains VM[@VERSION] in the help of each command that takes one.
const refHelp = `VERSION is an id as list shows it, latest (the default), or a time, which means the
newest version at or before it: web@2026-11-21, "web@2026-11-21 14:30".`

func showCommand() *cli.Command {
	return &cli.Command{
		Name:         "show",
		Usage:        "show one version and its disks",
		UsageText:    "holdfast show VM[@VERSION]",
		Description:  refHelp,
		BashComplete: completeVMs,
		CustomHelpTemplate: commandHelp(`
holdfast show web
holdfast show web@2026-11-21T02-00-00Z
holdfast show web@2026-11-20 --json
`, exitOK, exitFailure, exitUsage, exitDamage, exitNotFound, exitStore, exitInterrupted),
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() != 1 {
				return withHint(usagef("show needs one VM or version"), "holdfast show VM[@VERSION]", "see what is there: holdfast list")
			}
			return runShow(c.Context, showOptions{opts, c.Args().First()})
		},
	}
}

// runShow shows one version.
func runShow(ctx context.Context, opts showOptions) error {
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		v, err := resolve(ctx, h, opts.Ref)
		if err != nil {
			return err
		}
		mark, err := catalog.Marking(ctx, h, v.VM, v.ID)
		if err != nil {
			return err
		}
		view := withState(viewVersion(v, nil), statesOf(ctx, h, v.VM)).marked(mark)
		if opts.JSON {
			return printJSON(opts.Out, view)
		}
		return printVersion(opts, v, view.stateText())
	})
}

// resolve finds a version. One that is there and can't be read is damage.
func resolve(ctx context.Context, h *owner.Handle, ref string) (*catalog.Version, error) {
	v, err := catalog.Resolve(ctx, h, ref)
	switch {
	case err == nil, ctx.Err() != nil:
		return v, err
	case errors.Is(err, catalog.ErrNoVM), errors.Is(err, catalog.ErrNoVersion), errors.Is(err, owner.ErrOwnerLost):
		return nil, err
	}
	return nil, damagedManifests(err)
}

func printVersion(opts showOptions, v *catalog.Version, state string) error {
	fmt.Fprintf(opts.Out, "%s@%s\n", nameText(v.VM), v.ID)
	err := printPairs(opts.Out, "  ", append([]pair{
		{"time", timeText(v.Time)},
		{"captured", fmt.Sprintf("%s on %s by %s", timeText(v.Captured), orUnknown(v.Host), orUnknown(v.Program))},
		{"state", state},
		{"size", sizeText(v.Counts.LogicalBytes)},
		{"cut", cutText(v)},
	}, countPairs(v.Counts)...))
	for _, d := range v.Disks {
		fmt.Fprintf(opts.Out, "\n  disk %s\n", nameText(d.Name))
		err = errors.Join(err, printPairs(opts.Out, "    ", []pair{
			{"source", fmt.Sprintf("%s (%s)", oneLine(d.Source), oneLine(d.Format))},
			{"size", fmt.Sprintf("%s (%s bytes)", sizeText(d.Map.Size), thousands(d.Map.Size))},
			{"data", sizeText(d.Map.DataBytes)},
			{"new", fmt.Sprintf("%s, stored in %s", sizeText(d.Counts.NewBytes), sizeText(d.Counts.StoredBytes))},
		}))
		for _, n := range d.Notices {
			fmt.Fprintf(opts.Out, "    note: %s\n", oneLine(n))
		}
	}
	return err
}

// cutText words how a version was cut and what it does not hold.
func cutText(v *catalog.Version) string {
	text := "on the grid"
	if v.Cut == cutFiles {
		text = "along the guest's files"
	}
	words := map[string]string{"free": "free space", "swap": "swap"}
	var out []string
	for _, what := range v.LeftOut {
		out = append(out, words[what])
	}
	if len(out) == 0 {
		return text + "; free space and swap are kept"
	}
	return text + "; left out: " + strings.Join(out, ", ")
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return oneLine(s)
}
