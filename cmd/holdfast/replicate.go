package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
	"holdfast/heal"
)

type replicateOptions struct {
	common
	To     string // "": every replica
	VMs    []string
	Rate   int64
	DryRun bool
}

func replicateCommand() *cli.Command {
	return &cli.Command{
		Name:      "replicate",
		Usage:     "copy versions to the store's replicas",
		UsageText: "holdfast replicate [--to STORE2] [--rate R] [--dry-run] [VM...]",
		Description: `Copies every version, or those of the VMs named, that a replica does not have. Only
chunks that it lacks travel, as they are stored; each is proved when it is read and
again when it was written. A copy that was stopped goes on where it was. A version
with damage is not copied. Versions that were forgotten are not copied, and none is
removed from a replica.`,
		CustomHelpTemplate: commandHelp(`
holdfast replicate
holdfast replicate --to /mnt/second/holdfast --rate 50MiB/s web db
holdfast replicate --dry-run
`, exitOK, exitFailure, exitUsage, exitDamage, exitNotFound, exitStore, exitInterrupted),
		BashComplete: completeVMs,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "copy to this `STORE` only; it has the same key", TakesFile: true},
			&cli.StringFlag{Name: "rate", Usage: "copy at most `RATE`: 50MiB/s"},
			&cli.BoolFlag{Name: "dry-run", DisableDefaultText: true, Usage: "only say what would be copied"},
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			o := replicateOptions{common: opts, VMs: c.Args().Slice(), DryRun: c.Bool("dry-run")}
			if to := c.String("to"); to != "" {
				if o.To, err = pathOf(to); err != nil {
					return err
				}
			}
			if r := c.String("rate"); r != "" {
				if o.Rate, err = parseSize("rate", strings.TrimSuffix(r, "/s")); err != nil {
					return err
				}
			}
			return runReplicate(c.Context, o)
		},
	}
}

// runReplicate copies versions.
func runReplicate(ctx context.Context, opts replicateOptions) error {
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		ask := replicateAsk{To: opts.To, Rate: opts.Rate, DryRun: opts.DryRun}
		for _, vm := range opts.VMs {
			if ids, err := catalog.IDs(ctx, h, vm); err != nil {
				return err
			} else if len(ids) == 0 {
				return fmt.Errorf("VM %q: %w", vm, catalog.ErrNoVM)
			}
			ask.VMs = append(ask.VMs, []byte(vm))
		}
		if opts.To != "" {
			if _, err := replicaConfig(opts.To, h.Config()); err != nil {
				if errors.Is(err, chunkstore.ErrNoStore) {
					err = withHint(err, "make a replica: holdfast replica add STORE2")
				}
				return withStatus(exitStore, err)
			}
		}
		end := watchPath(ctx, h, opts.Console, "replicating", pathReplicateHow)
		var reports []*heal.ReplicateReport
		err := h.Call(ctx, pathReplicate, ask, &reports)
		end()
		if err != nil {
			return err
		}
		if len(reports) == 0 {
			return withHint(errors.New("the store has no replica"), "make one: holdfast replica add STORE2")
		}
		if opts.JSON {
			err = printJSON(opts.Out, struct {
				Replicas []*heal.ReplicateReport `json:"replicas"`
			}{reports})
		} else {
			err = printReplicated(opts, reports)
		}
		return errors.Join(err, replicateStatus(reports))
	})
}

// replicateStatus is the error of versions that were not copied.
func replicateStatus(reports []*heal.ReplicateReport) error {
	damaged, failed := 0, 0
	for _, r := range reports {
		damaged += r.Damaged
		failed += r.Failed
	}
	switch {
	case damaged > 0:
		err := fmt.Errorf("%s with damage could not be copied", countText(int64(damaged), "version"))
		return withStatus(exitDamage, withHint(err, "see what is hurt: holdfast damage", "mend what can be mended: holdfast scrub --repair"))
	case failed > 0:
		return fmt.Errorf("%s could not be copied", countText(int64(failed), "version"))
	}
	return nil
}

func printReplicated(opts replicateOptions, reports []*heal.ReplicateReport) error {
	var err error
	for _, r := range reports {
		fmt.Fprintf(opts.Out, "To %s\n", oneLine(r.To))
		for _, v := range r.Versions {
			fmt.Fprintf(opts.Out, "  %s@%s: %s", nameText(v.VM), v.Version, v.State)
			if v.Chunks > 0 {
				fmt.Fprintf(opts.Out, ", %s, %s", countText(v.Chunks, "chunk"), sizeText(v.Bytes))
			}
			if v.Text != "" {
				fmt.Fprintf(opts.Out, ": %s", oneLine(v.Text))
			}
			fmt.Fprintln(opts.Out)
		}
		verb := "copied"
		if opts.DryRun {
			verb = "to copy"
		}
		err = errors.Join(err, printPairs(opts.Out, "  ", []pair{
			{verb, fmt.Sprintf("%s, %s, %s; %s were there", countText(int64(r.Copied), "version"), countText(r.Chunks, "chunk"), sizeText(r.Bytes), thousands(int64(r.There)))},
			{"read back", countText(r.Verified, "chunk")},
			{"took", fmt.Sprintf("%s, %s", durationText(r.Duration), rateText(r.Bytes, r.Duration))},
		}))
	}
	return err
}
