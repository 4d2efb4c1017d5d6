package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"holdfast/fs/guest"
)

type catOptions struct {
	common
	Refs   []guestRef
	Volume string
}

func catCommand() *cli.Command {
	return &cli.Command{
		Name:         "cat",
		Usage:        "print a guest's files, without a mount",
		UsageText:    "holdfast cat VM[@VERSION]:/PATH ...",
		Description:  guestHelp,
		BashComplete: completeVMs,
		CustomHelpTemplate: commandHelp(`
holdfast cat web:/etc/fstab
holdfast cat web@2026-11-20:/var/log/syslog | grep error
`, exitOK, exitFailure, exitUsage, exitDamage, exitNotFound, exitStore, exitInterrupted),
		Flags: []cli.Flag{volumeFlag()},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			o := catOptions{common: opts, Volume: c.String("volume")}
			for _, arg := range c.Args().Slice() {
				ref, ok := parseGuestRef(arg)
				if !ok {
					return withHint(usagef("%s names no file of a guest", arg), "holdfast cat VM[@VERSION]:/PATH")
				}
				o.Refs = append(o.Refs, ref)
			}
			if len(o.Refs) == 0 {
				return withHint(usagef("cat needs a file"), "holdfast cat VM[@VERSION]:/PATH")
			}
			return runCat(c.Context, o)
		},
	}
}

// runCat prints files, one after another.
func runCat(ctx context.Context, opts catOptions) error {
	return withGuests(ctx, opts.common, opts.Volume, func(g *guests) error {
		for _, ref := range opts.Refs {
			space, p, _, err := g.at(ctx, ref, true)
			if err != nil {
				return err
			}
			a, err := space.Stat(ctx, p)
			if err == nil && a.Type != guest.Regular {
				err = fmt.Errorf("it is no regular file (%s)", typeLetters[a.Type])
			}
			if err == nil {
				err = space.Stream(ctx, p, a.Size, opts.Out)
			}
			if err != nil {
				return fmt.Errorf("%s:%s: %w", ref.Ref, ref.Path, err)
			}
		}
		return nil
	})
}
