package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore"
)

type initOptions struct {
	common
	Dir       string
	FrameSize int64
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
			&cli.StringFlag{Name: "frame-size", Usage: "compress in frames of `SIZE` (4KiB to 64KiB): small ones make random reads faster and the store larger", Value: "64KiB"},
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			o := initOptions{common: opts, Dir: opts.Store}
			if o.FrameSize, err = parseSize("frame-size", c.String("frame-size")); err != nil {
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
	FrameSize     int       `json:"frame_size"`
	Created       time.Time `json:"created"`
}

// runInit makes a store.
func runInit(_ context.Context, opts initOptions) error {
	if opts.Dir == "" {
		return withHint(usagef("no directory was named"), "holdfast init /srv/holdfast")
	}
	if n := opts.FrameSize; n < 4<<10 || n > 64<<10 || n&(n-1) != 0 {
		return usagef("--frame-size %s: want 4KiB, 8KiB, 16KiB, 32KiB or 64KiB", sizeText(n))
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return err
	}
	cfg, err := chunkstore.Create(dir, chunkstore.CreateOptions{FrameSize: int(opts.FrameSize)})
	if errors.Is(err, chunkstore.ErrStoreExists) {
		return withStatus(exitStore, withHint(err, "use it as it is: holdfast --store "+shellWord(dir)+" status"))
	}
	if err != nil {
		return err
	}
	if opts.JSON {
		return printJSON(opts.Out, initResult{dir, cfg.StoreID, cfg.FormatVersion, cfg.FrameSize, cfg.Created})
	}
	_, err = fmt.Fprintf(opts.Out, `New store in %s (id %s, format %d).
Next:
  export HOLDFAST_STORE=%s
  holdfast capture --vm NAME DISK...
`, oneLine(dir), cfg.StoreID, cfg.FormatVersion, shellWord(dir))
	return err
}
