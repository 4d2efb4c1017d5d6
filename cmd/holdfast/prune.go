package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore"
	"holdfast/chunkstore/owner"
)

type pruneOptions struct {
	common
	chunkstore.PruneOptions
}

func pruneCommand() *cli.Command {
	return &cli.Command{
		Name:      "prune",
		Usage:     "free the space of forgotten versions",
		UsageText: "holdfast prune [--dry-run] [--max-repack SIZE] [--max-unused 5%] [--grace 24h] [--max-duration D]",
		Description: `Finds what no version needs any more and frees it: packs without anything in use go to
the trash, packs with much that is unused are written anew, small packs are merged. The
trash is emptied of what has been there for the grace. Captures, mounts and scrubs go on
beside it. A prune that was stopped, by Ctrl-C, its time or a crash, has lost nothing,
and the next one goes on where it was.`,
		CustomHelpTemplate: commandHelp(`
holdfast prune --dry-run
holdfast prune
holdfast prune --grace 0s                        # free the space at once
holdfast prune --max-duration 1h --max-repack 50GiB
`, exitOK, exitFailure, exitUsage, exitDamage, exitStore, exitInterrupted),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", DisableDefaultText: true, Usage: "only say what would be freed"},
			&cli.StringFlag{Name: "max-repack", Usage: "copy at most `SIZE` to new packs"},
			&cli.StringFlag{Name: "max-unused", Value: "5%", Usage: "leave up to `SHARE` of the store unused rather than copy more"},
			&cli.StringFlag{Name: "grace", Value: "24h", Usage: "keep packs in the trash for `AGE`; 0s empties it at once"},
			&cli.BoolFlag{Name: "give-up-lost", DisableDefaultText: true, Usage: "free also what versions need whose records can't be read"},
			&cli.StringFlag{Name: "max-duration", Usage: "stop after `TIME`; the next prune goes on"},
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() > 0 {
				return withHint(usagef("prune takes no arguments"), "say what is to go: holdfast forget VM@VERSION")
			}
			o := pruneOptions{opts, chunkstore.PruneOptions{DryRun: c.Bool("dry-run"), GiveUpLost: c.Bool("give-up-lost")}}
			if s := c.String("max-repack"); s != "" {
				if o.MaxRepack, err = parseSize("max-repack", s); err != nil {
					return err
				}
			}
			if o.MaxUnused, err = parseShare("max-unused", c.String("max-unused")); err != nil {
				return err
			}
			if o.Grace, err = parseAge("grace", c.String("grace")); err != nil {
				return err
			}
			if o.MaxDuration, err = parseAge("max-duration", c.String("max-duration")); err != nil {
				return err
			}
			return runPrune(c.Context, o)
		},
	}
}

// parseShare reads 5% or 0.5%.
func parseShare(option, s string) (float64, error) {
	number, ok := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(f >= 0 && f <= 100) {
		return 0, usagef("--%s %q: write a share as 5%%", option, s)
	}
	return f / 100, nil
}

// runPrune prunes.
func runPrune(ctx context.Context, opts pruneOptions) error {
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		end := watchPrune(ctx, h, opts.Console)
		var r chunkstore.PruneReport
		err := h.Call(ctx, pathPrune, opts.PruneOptions, &r)
		end()
		if err != nil {
			return err
		}
		if opts.JSON {
			err = printJSON(opts.Out, r)
		} else {
			err = printPrune(opts, &r)
		}
		if err == nil && r.DiskFull {
			err = noRoomFor(&r)
		}
		return err
	})
}

// noRoomFor says what to do where packs could not be written anew.
func noRoomFor(r *chunkstore.PruneReport) error {
	err := fmt.Errorf("%w: there was no room to write %s anew", chunkstore.ErrFull, countText(int64(r.PutOff), "pack"))
	if r.TrashPacks > 0 {
		return withHint(err, fmt.Sprintf("free the %s in the trash at once, and go on: holdfast prune --grace 0s", sizeText(r.TrashBytes)))
	}
	return withHint(err, "forget more, so that whole packs become free: holdfast forget VM@VERSION, then holdfast prune --grace 0s", "or make some room on the store's disk")
}

func printPrune(opts pruneOptions, r *chunkstore.PruneReport) error {
	would := ""
	if r.DryRun {
		would = "would be "
	}
	pairs := []pair{
		{"dropped", fmt.Sprintf("%s, %s with %s %sunused", countText(int64(r.Roots), "root"), countText(r.DeadChunks, "chunk"), sizeText(r.DeadBytes), would)},
		{"removed", fmt.Sprintf("%s with %s; %s copied to %s", countText(int64(r.Packs), "pack"), sizeText(r.PackBytes), sizeText(r.NewBytes), countText(int64(r.NewPacks), "new pack"))},
		{"freed", fmt.Sprintf("%s, by the deletion of %s from the trash", sizeText(r.FreedBytes), countText(int64(r.DeletedPacks), "pack"))},
		{"trash", fmt.Sprintf("%s in %s", sizeText(r.TrashBytes), countText(int64(r.TrashPacks), "pack"))},
	}
	if r.PutOff > 0 {
		pairs = append(pairs, pair{"put off", countText(int64(r.PutOff), "pack") + " in use or damaged"})
	}
	if n := len(r.Kept); n > 0 {
		pairs = append(pairs, pair{"kept", fmt.Sprintf("%s in which not all can be read, %s first; mend or set aside: holdfast scrub --repair", countText(int64(n), "pack"), r.Kept[0])})
	}
	if !r.Complete {
		pairs = append(pairs, pair{"stopped", r.Why + "; the next prune goes on"})
	}
	return printPairs(opts.Out, "", append(pairs, pair{"took", durationText(r.Duration)}))
}
