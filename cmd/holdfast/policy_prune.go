package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
)

const (
	defaultPruneFor = "1h"
	defaultGrace    = "24h"
)

// pruneFlags say when a mount prunes the store by itself.
func pruneFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "prune", Usage: "prune in the background of a mount `WHEN`: daily, weekly, each AGE (12h, 30d) or off"},
		&cli.StringFlag{Name: "prune-for", Value: defaultPruneFor, Usage: "let such a prune work for `TIME`; the next one goes on. 0s: no bound"},
		&cli.StringFlag{Name: "prune-grace", Value: defaultGrace, Usage: "keep packs in the trash for `AGE`"},
		&cli.BoolFlag{Name: "auto-forget", DisableDefaultText: true, Usage: "forget by policy before such a prune"},
	}
}

// parsePruning reads the flags; nil where none is given.
func parsePruning(c *cli.Context) (*catalog.Pruning, error) {
	given := false
	for _, name := range []string{"prune-for", "prune-grace", "auto-forget"} {
		given = given || c.IsSet(name)
	}
	if !c.IsSet("prune") {
		if given {
			return nil, withHint(usagef("--prune-for, --prune-grace and --auto-forget go with --prune"), "holdfast policy set --prune weekly --auto-forget")
		}
		return nil, nil
	}
	p := catalog.Pruning{Forget: c.Bool("auto-forget")}
	var err error
	switch when := c.String("prune"); when {
	case "off":
		if given {
			return nil, usagef("--prune off goes with no other flag of prunes")
		}
		return &p, nil
	case "daily":
		p.Every = 24 * time.Hour
	case "weekly":
		p.Every = 7 * 24 * time.Hour
	default:
		if p.Every, err = parseAge("prune", when); err != nil || p.Every == 0 {
			return nil, usagef("--prune %q: want daily, weekly, an age such as 12h or 30d, or off", when)
		}
	}
	if p.For, err = parseAge("prune-for", c.String("prune-for")); err != nil {
		return nil, err
	}
	if p.Grace, err = parseAge("prune-grace", c.String("prune-grace")); err != nil {
		return nil, err
	}
	if err := p.Validate(); err != nil {
		return nil, usagef("%v", err)
	}
	return &p, nil
}

// pruningView is when the store is pruned, in JSON.
type pruningView struct {
	Every      int64 `json:"every_seconds"`
	For        int64 `json:"for_seconds"` // 0: no bound
	Grace      int64 `json:"grace_seconds"`
	AutoForget bool  `json:"auto_forget"`
}

// findPruning returns nil where the store is not pruned by itself.
func findPruning(ctx context.Context, h *owner.Handle) (text string, view *pruningView, err error) {
	p, err := catalog.PruningOf(ctx, h)
	if err != nil || !p.On() {
		return "off; holdfast prune frees space", nil, err
	}
	view = &pruningView{int64(p.Every / time.Second), int64(p.For / time.Second), int64(p.Grace / time.Second), p.Forget}
	text = fmt.Sprintf("every %s beside a mount", ageText(p.Every))
	if p.For > 0 {
		text += fmt.Sprintf(", for up to %s", ageText(p.For))
	}
	if p.Grace > 0 {
		text += fmt.Sprintf("; packs stay %s in the trash", ageText(p.Grace))
	}
	if p.Forget {
		text += "; policies are carried out before"
	}
	return text, view, nil
}
