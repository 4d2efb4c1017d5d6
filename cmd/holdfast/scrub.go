package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
	"holdfast/chunkstore/pack"
	"holdfast/heal"
)

type scrubOptions struct {
	common
	heal.Options
}

func scrubCommand() *cli.Command {
	return &cli.Command{
		Name:      "scrub",
		Usage:     "prove every chunk, and mend what is damaged",
		UsageText: "holdfast scrub [--deep] [--vm V] [--older-than AGE] [--rate R]\n   holdfast scrub --repair [--dry-run] [--from-source [DISK=]PATH]",
		Description: `Every pack is read from front to back. A quick scrub proves the stored bytes by
their checksums, a deep one decodes every chunk and computes its id, too. Mounts
and captures go on beside it. Each pack remembers when it was proved: with
--older-than a scrub that was stopped goes on where it was.

With --repair the store is proved, what would be done is shown, and then it is done.
Packs with damage that their parity brings back are written anew and the old ones moved
to quarantine in the store, until a later deep scrub of the whole store finds nothing
wrong. What parity does not bring back is asked for from the store's replicas, and looked for in live sources where the captured disk
still is. Every chunk from outside is hashed before it is taken. What can't be brought
back is named, and the next capture that brings the same content mends it.`,
		CustomHelpTemplate: commandHelp(`
holdfast scrub
holdfast scrub --deep --vm web --rate 200MiB/s
holdfast scrub --older-than 30d
holdfast scrub --repair --dry-run
holdfast scrub --repair
holdfast scrub --repair --from-source vda=/img/web.qcow2
`, exitOK, exitFailure, exitUsage, exitDamage, exitNotFound, exitStore, exitInterrupted),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "quick", DisableDefaultText: true, Usage: "prove the stored bytes only (the default)"},
			&cli.BoolFlag{Name: "deep", DisableDefaultText: true, Usage: "decode every chunk and compute its id"},
			&cli.StringFlag{Name: "vm", Usage: "only the packs that the versions of `VM` use"},
			&cli.StringFlag{Name: "older-than", Usage: "pass over packs that were proved and whole within `AGE`: 12h, 30d"},
			&cli.StringFlag{Name: "rate", Usage: "read at most `RATE`: 200MiB/s"},
			&cli.BoolFlag{Name: "repair", DisableDefaultText: true, Usage: "mend what can be mended"},
			&cli.StringSliceFlag{Name: "from-source", Usage: "with --repair: look for lost chunks in `[DISK=]PATH`, an image or device (may be repeated)"},
			&cli.BoolFlag{Name: "dry-run", DisableDefaultText: true, Usage: "with --repair: only say what would be done"},
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() > 0 {
				return withHint(usagef("scrub takes no arguments"), "one VM only: holdfast scrub --vm "+shellWord(c.Args().First()))
			}
			o := scrubOptions{opts, heal.Options{Deep: c.Bool("deep"), VM: c.String("vm"), Repair: c.Bool("repair"), DryRun: c.Bool("dry-run")}}
			switch {
			case o.Deep && c.Bool("quick"):
				return usagef("a scrub is --quick or --deep, not both")
			case o.DryRun && !o.Repair:
				return usagef("--dry-run belongs to --repair")
			}
			if o.From, err = parseSources(c.StringSlice("from-source")); err != nil {
				return err
			}
			if len(o.From) > 0 && !o.Repair {
				return usagef("--from-source belongs to --repair")
			}
			if o.OlderThan, err = parseAge("older-than", c.String("older-than")); err != nil {
				return err
			}
			if o.Rate, err = parseRate("rate", c.String("rate")); err != nil {
				return err
			}
			return runScrub(c.Context, o)
		},
	}
}

// parseRate reads 200MiB/s; nothing, or 0, is no bound.
func parseRate(option, s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	return parseSize(option, strings.TrimSuffix(s, "/s"))
}

// parseAge reads 90m, 12h or 30d.
func parseAge(option, s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, usagef("--%s %q: write an age as 90m, 12h or 30d", option, s)
	}
	return d, nil
}

// runScrub scrubs.
func runScrub(ctx context.Context, opts scrubOptions) error {
	spreadThreads()
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		if opts.VM != "" {
			if ids, err := catalog.IDs(ctx, h, opts.VM); err != nil {
				return err
			} else if len(ids) == 0 {
				return fmt.Errorf("VM %q: %w", opts.VM, catalog.ErrNoVM)
			}
		}
		r, err := scrubAndRepair(ctx, h, opts)
		if err != nil {
			return err
		}
		if opts.JSON {
			err = printJSON(opts.Out, r)
		} else {
			err = printScrub(opts, r)
		}
		return errors.Join(err, scrubStatus(opts, r))
	})
}

// scrubStatus is the error of a scrub that leaves something wrong.
func scrubStatus(opts scrubOptions, r *heal.Report) error {
	if r.Clean() {
		return nil
	}
	err := withStatus(exitDamage, errors.New("the store has damage"))
	if opts.Repair && !opts.DryRun {
		return withHint(err, "see what is hurt: holdfast damage", "the next capture that brings the same content mends it")
	}
	return withHint(err, "see what is hurt: holdfast damage", "mend what can be mended: holdfast scrub --repair")
}

// maxPrinted findings and chunks are printed one by one; --json has all.
const maxPrinted = 20

// printFound says what a scrub found.
func printFound(opts scrubOptions, r *heal.Report) {
	for _, f := range r.Findings[:min(len(r.Findings), maxPrinted)] {
		where := "pack " + f.Pack
		if f.Pack == "" {
			where = nameText(f.VM) + "@" + f.Version
		}
		fmt.Fprintf(opts.Out, "%s: %s: %s\n", f.Kind, where, oneLine(f.Text))
	}
	if more := len(r.Findings) - maxPrinted; more > 0 {
		fmt.Fprintf(opts.Out, "and %s more; --json lists them\n", countText(int64(more), "finding"))
	}
	for _, c := range r.Chunks[:min(len(r.Chunks), maxPrinted)] {
		how := "beyond parity"
		switch {
		case c.Healable:
			how = "parity brings it back"
		case c.Kind == pack.Unreadable.String():
			how = "no damage is proved"
		}
		fmt.Fprintf(opts.Out, "%s chunk %s, pack %s at %d: %s\n", c.Kind, c.ID[:16], c.Pack, c.Offset, how)
	}
	if more := max(len(r.Chunks)-maxPrinted, 0) + r.Unlisted; more > 0 {
		fmt.Fprintf(opts.Out, "and %s more; holdfast damage lists them until they are healed\n", thousands(int64(more)))
	}
}

func printScrub(opts scrubOptions, r *heal.Report) error {
	if !opts.Repair || opts.DryRun {
		printFound(opts, r)
	}
	verb := "repaired"
	if opts.DryRun {
		verb = "would repair"
	}
	for _, p := range r.Repairs {
		fmt.Fprintf(opts.Out, "%s pack %s: %s whole, %s healed by parity, %s beyond parity\n", verb, p.Pack, thousands(int64(p.Kept)), thousands(int64(p.Healed)), thousands(int64(p.Lost)))
	}
	printDonors(opts, r)
	for _, e := range r.RepairErrors {
		opts.Console.note("not repaired: %s", e)
	}
	how := "quick"
	if r.Deep {
		how = "deep"
	}
	if r.Dropped > 0 {
		fmt.Fprintf(opts.Out, "deleted from quarantine: %s, %s; the store is whole without them\n", countText(int64(r.Dropped), "pack"), sizeText(r.DroppedBytes))
	}
	pairs := []pair{
		{"proved", fmt.Sprintf("%s (%s), %s in %s, %s; %s passed over", countText(int64(r.Packs), "pack"), how, sizeText(r.Bytes), durationText(r.Duration), rateText(r.Bytes, r.Duration), thousands(int64(r.Skipped)))},
		{"damaged", fmt.Sprintf("%s within parity, %s beyond it", countText(int64(r.Healable), "chunk"), thousands(int64(r.Lost)))},
	}
	if opts.Repair && !opts.DryRun {
		pairs = append(pairs, pair{"healed", healedText(r)})
	}
	return printPairs(opts.Out, "", append(pairs, pair{"left", leftText(&r.Left)}))
}

func leftText(l *heal.HurtReport) string {
	if !l.Exists() {
		return "no damage"
	}
	return fmt.Sprintf("%s, %s to repair", countText(int64(len(l.Chunks)), "damaged chunk"), countText(int64(len(l.Packs)), "pack"))
}
