package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore"
	"holdfast/chunkstore/owner"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "prove that packs, index and versions fit each other",
		UsageText: "holdfast check",
		Description: `Compares every pack's list of records with the index and the index with the packs,
follows every map of every version, and looks for leftovers. It reads no data: whether
the stored bytes are still what they were is what a scrub proves.`,
		CustomHelpTemplate: commandHelp(`
holdfast check
holdfast check --json | jq '.problems[]'
`, exitOK, exitFailure, exitUsage, exitDamage, exitStore, exitInterrupted),
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() > 0 {
				return withHint(usagef("check takes no arguments"), "one version: holdfast verify VM@VERSION")
			}
			return runCheck(c.Context, opts)
		},
	}
}

// runCheck checks.
func runCheck(ctx context.Context, opts common) error {
	return withStore(ctx, opts, func(h *owner.Handle) error {
		end := watchPrune(ctx, h, opts.Console)
		var r chunkstore.CheckReport
		err := h.Call(ctx, pathCheck, struct{}{}, &r)
		end()
		if err != nil {
			return err
		}
		if opts.JSON {
			err = printJSON(opts.Out, r)
		} else {
			err = printCheck(opts, &r)
		}
		if err == nil && !r.Sound() {
			err = withStatus(exitDamage, withHint(fmt.Errorf("%s", countText(int64(len(r.Problems)+r.Unlisted), "problem")), "see what a scrub finds and mends: holdfast scrub --repair"))
		}
		return err
	})
}

func printCheck(opts common, r *chunkstore.CheckReport) error {
	var errs error
	for _, p := range r.Problems {
		_, err := fmt.Fprintln(opts.Out, oneLine(p.String()))
		errs = errors.Join(errs, err)
	}
	if r.Unlisted > 0 {
		fmt.Fprintf(opts.Out, "and %s more\n", thousands(int64(r.Unlisted)))
	}
	pairs := []pair{
		{"compared", fmt.Sprintf("%s with %s, %s in the index, %s with %s", countText(int64(r.Packs), "pack"), countText(r.Records, "record"), countText(r.Chunks, "chunk"), countText(r.Roots, "root"), countText(r.Maps, "map"))},
		{"unused", countText(r.Unused, "chunk") + ": the next prune's"},
		{"problems", thousands(int64(len(r.Problems) + r.Unlisted))},
	}
	if r.Known > 0 {
		pairs = append(pairs, pair{"damage", countText(r.Known, "chunk") + " known to be damaged: holdfast damage"})
	}
	return errors.Join(errs, printPairs(opts.Out, "", append(pairs, pair{"took", durationText(r.Duration)})))
}
