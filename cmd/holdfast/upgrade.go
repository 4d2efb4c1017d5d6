package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore"
	"holdfast/chunkstore/owner"
	"holdfast/chunkstore/pack"
)

type upgradeOptions struct {
	common
	Compress pack.CodecID
	DryRun   bool
}

// compressionFlag chooses how new records are compressed.
func compressionFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "compression", Value: pack.CodecMinLZ.String(),
		Usage: "`CODEC` of chunks to come: minlz (decodes twice as fast), or zstd (a sixth smaller)",
	}
}

func compressionOf(c *cli.Context) (pack.CodecID, error) {
	by, err := pack.ParseCompression(c.String("compression"))
	if err != nil {
		return 0, usagef("%v", err)
	}
	return by, nil
}

func upgradeCommand() *cli.Command {
	return &cli.Command{
		Name:      "upgrade",
		Usage:     "let an older store have what newer ones have",
		UsageText: "holdfast upgrade [--compression CODEC] [--dry-run]",
		Description: `Has chunks to come compressed and summed as in new stores. What is stored stays as it is
and is read as before. A store that was upgraded can't be opened by a holdfast that is older
than its format, and no store goes back to an older format. End what else has the store open
first, as status tells: a mount by an older holdfast could read no more. Upgrade the replicas
too; until then they take nothing.`,
		CustomHelpTemplate: commandHelp(`
holdfast upgrade --dry-run
holdfast upgrade
`, exitOK, exitFailure, exitUsage, exitStore, exitInterrupted),
		Flags: []cli.Flag{
			compressionFlag(),
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would change"},
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() > 0 {
				return usagef("upgrade takes no arguments")
			}
			by, err := compressionOf(c)
			if err != nil {
				return err
			}
			return runUpgrade(c.Context, upgradeOptions{common: opts, Compress: by, DryRun: c.Bool("dry-run")})
		},
	}
}

// upgradeResult is what upgrade --json prints.
type upgradeResult struct {
	Store          string `json:"store"`
	OldFormat      int    `json:"old_format_version"`
	Format         int    `json:"format_version"`
	OldCompression string `json:"old_compression"`
	Compression    string `json:"compression"`
	Changed        bool   `json:"changed"`
	DryRun         bool   `json:"dry_run"`

	Replicas []string `json:"replicas"` // that have to be upgraded too
}

// runUpgrade changes how chunks to come are stored.
func runUpgrade(ctx context.Context, opts upgradeOptions) error {
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		pid, self := h.Owner()
		s := h.Local()
		if !self || s == nil {
			return withStatus(exitStore, withHint(fmt.Errorf("process %d has the store open; it can't be upgraded meanwhile", pid), "end it first: holdfast status says what it is"))
		}
		old := s.Config()
		now, err := s.Upgraded(opts.Compress), error(nil)
		if !opts.DryRun {
			now, err = s.Upgrade(opts.Compress)
		}
		if err != nil {
			return err
		}
		res := upgradeResult{
			Store: opts.Store, OldFormat: old.FormatVersion, Format: now.FormatVersion,
			OldCompression: old.Compression.String(), Compression: now.Compression.String(), Changed: now != old, DryRun: opts.DryRun,
		}
		if res.Replicas, err = olderReplicas(s, now); err != nil {
			return err
		}
		if opts.JSON {
			return printJSON(opts.Out, res)
		}
		return printUpgrade(opts.common, res)
	})
}

// olderReplicas returns the replicas whose format is known to be older.
func olderReplicas(s *chunkstore.Store, now chunkstore.Config) ([]string, error) {
	all, err := s.Replicas()
	list := []string{}
	for _, r := range all {
		if cfg, err := chunkstore.ReadConfig(r.Path); err == nil && !r.Origin && cfg.FormatVersion < now.FormatVersion {
			list = append(list, r.Path)
		}
	}
	return list, err
}

func printUpgrade(opts common, r upgradeResult) error {
	has := "has"
	if r.DryRun {
		has = "would have"
	}
	text := fmt.Sprintf("%s has format %d and compression %s already.\n", oneLine(r.Store), r.Format, r.Compression)
	if r.Changed {
		text = fmt.Sprintf("%s %s format %d (had %d) and compression %s (had %s).\n", oneLine(r.Store), has, r.Format, r.OldFormat, r.Compression, r.OldCompression)
	}
	for _, path := range r.Replicas {
		text += fmt.Sprintf("Its replica takes nothing until it is upgraded: holdfast --store %s upgrade\n", shellWord(path))
	}
	_, err := fmt.Fprint(opts.Out, text)
	return err
}
