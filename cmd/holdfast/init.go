package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

type initOptions struct {
	common
	Dir      string
	NoParity bool
	Compress pack.CodecID
}

func initCommand() *cli.Command {
	return &cli.Command{
		Name:      "init",
		Usage:     "make a new, empty store",
		UsageText: "holdfast init STORE",
		Description: `STORE is a directory that does not exist yet, or is empty. Put it on a disk of its
own, not on the disk that it backs up.`,
		CustomHelpTemplate: commandHelp(`
holdfast init /srv/holdfast
`, exitOK, exitFailure, exitUsage, exitStore, exitInterrupted),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "no-parity", Usage: "leave out the parity of packs: 7 % smaller, but what rots does not heal by itself"},
			compressionFlag(),
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			o := initOptions{common: opts, Dir: opts.Store, NoParity: c.Bool("no-parity")}
			if o.Compress, err = compressionOf(c); err != nil {
				return err
			}
			switch c.NArg() {
			case 0:
			case 1:
				o.Dir = c.Args().First()
			default:
				return usagef("init makes one store, but %d were named", c.NArg())
			}
			return runInit(c.Context, o)
		},
	}
}

// initResult is what init --json prints.
type initResult struct {
	Store         string    `json:"store"`
	StoreID       string    `json:"store_id"`
	FormatVersion int       `json:"format_version"`
	Compression   string    `json:"compression"`
	Parity        bool      `json:"parity"`
	Created       time.Time `json:"created"`
}

// runInit makes a store.
func runInit(_ context.Context, opts initOptions) error {
	if opts.Dir == "" {
		return withHint(usagef("no directory was named"), "holdfast init /srv/holdfast")
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return err
	}
	cfg, err := chunkstore.Create(dir, chunkstore.CreateOptions{NoParity: opts.NoParity, Compress: opts.Compress})
	if errors.Is(err, chunkstore.ErrStoreExists) {
		return withStatus(exitStore, withHint(err, "use it as it is: holdfast --store "+shellWord(dir)+" status"))
	}
	if err != nil {
		return err
	}
	if opts.JSON {
		return printJSON(opts.Out, initResult{dir, cfg.StoreID, cfg.FormatVersion, cfg.Compression.String(), !cfg.NoParity, cfg.Created})
	}
	_, err = fmt.Fprintf(opts.Out, `New store in %s (id %s, format %d).
Next:
  export HOLDFAST_STORE=%s
  holdfast capture --vm NAME DISK...
`, oneLine(dir), cfg.StoreID, cfg.FormatVersion, shellWord(dir))
	return err
}
