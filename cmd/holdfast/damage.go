package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore/owner"
	"holdfast/heal"
)

func damageCommand() *cli.Command {
	return &cli.Command{
		Name:      "damage",
		Usage:     "show what is damaged, and which versions it hurts",
		UsageText: "holdfast damage",
		Description: `Shows each chunk that is known to be damaged, every version, disk and byte range that
uses it, and the guests' files that lie there. Everything else reads well. A scrub finds what is not known yet.`,
		CustomHelpTemplate: commandHelp(`
holdfast damage
holdfast damage --json | jq '.chunks[].uses[]'
holdfast damage || holdfast scrub --repair
`, exitOK, exitFailure, exitUsage, exitDamage, exitStore, exitInterrupted),
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() > 0 {
				return usagef("damage takes no arguments")
			}
			return runDamage(c.Context, opts)
		},
	}
}

// runDamage shows the damage.
func runDamage(ctx context.Context, opts common) error {
	return withStore(ctx, opts, func(h *owner.Handle) error {
		var r heal.HurtReport
		err := h.Call(ctx, pathDamage, struct{}{}, &r)
		if err != nil {
			return err
		}
		if opts.JSON {
			err = printJSON(opts.Out, r)
		} else {
			err = printDamage(opts, &r)
		}
		if err == nil && r.Exists() {
			err = withStatus(exitDamage, withHint(errors.New("the store has damage"), "mend what can be mended: holdfast scrub --repair"))
		}
		return err
	})
}

func printDamage(opts common, r *heal.HurtReport) error {
	if !r.Exists() {
		opts.Console.note("no damage is known")
		return nil
	}
	printHurtPacks(opts, r.Packs)
	for _, m := range r.Manifests {
		fmt.Fprintf(opts.Out, "version %s: its manifest can't be read\n", oneLine(m))
	}
	for _, c := range r.Chunks {
		if err := printHurtChunk(opts, c); err != nil {
			return err
		}
	}
	for _, f := range r.Files {
		printHurtFile(opts, f)
	}
	if r.Unlisted > 0 {
		fmt.Fprintf(opts.Out, "and %s more\n", thousands(int64(r.Unlisted)))
	}
	return nil
}

func printHurtPacks(opts common, packs []heal.HurtPack) {
	for _, p := range packs {
		fmt.Fprintf(opts.Out, "pack %s is %s (found %s)\n", p.Pack, p.State, timeText(p.Found))
	}
}

// printHurtFile names a guest's file that is hurt.
func printHurtFile(opts common, f heal.HurtFile) {
	where := fmt.Sprintf("%s@%s %s/%s", nameText(f.VM), f.Version, nameText(f.Disk), nameText(f.Volume))
	if f.Problem != "" {
		fmt.Fprintf(opts.Out, "files of %s can't be told: %s\n", where, oneLine(f.Problem))
		return
	}
	name := oneLine(f.Path)
	if name == "" {
		name = fmt.Sprintf("node %d, whose name can't be read", f.Node)
	}
	fmt.Fprintf(opts.Out, "file %s in %s: %s from %d\n", name, where, sizeText(f.Length), f.Offset)
}

func printHurtChunk(opts common, c heal.HurtChunk) error {
	seen := ""
	if c.First != nil {
		seen = ", first seen " + timeText(*c.First)
	}
	where := "the index does not know it"
	if c.Pack != "" {
		where = fmt.Sprintf("pack %s, offset %d", c.Pack, c.Offset)
	}
	_, err := fmt.Fprintf(opts.Out, "chunk %s is %s (%s)%s\n", c.ID, c.Kind, where, seen)
	for _, u := range c.Uses {
		if u.Kind == heal.UseManifest {
			_, err = fmt.Fprintf(opts.Out, "  %s@%s: its manifest\n", nameText(u.VM), u.Version)
			continue
		}
		_, err = fmt.Fprintf(opts.Out, "  %s@%s %s: %s at %d (%s)\n", nameText(u.VM), u.Version, nameText(u.Disk), sizeText(u.Length), u.Offset, u.Kind)
	}
	if len(c.Uses) == 0 {
		_, err = fmt.Fprintln(opts.Out, "  no version uses it")
	}
	return err
}
