package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore"
	"holdfast/chunkstore/owner"
)

type replicaOptions struct {
	common
	Verb string // add, list or remove
	Path string // of the replica
}

func replicaCommand() *cli.Command {
	return &cli.Command{
		Name:      "replica",
		Usage:     "add, list or remove second stores that hold copies",
		UsageText: "holdfast replica add|remove STORE2\n   holdfast replica list",
		Description: `A replica is a store of its own, on another disk, with the same key: what is damaged
in either is mended from the other, also in the middle of a read. add makes it in a new
or empty directory, or adopts one that was a replica of this store before; copying is
replicate's work. remove only forgets it; nothing in it is deleted.`,
		CustomHelpTemplate: commandHelp(`
holdfast replica add /mnt/second/holdfast
holdfast replica list
holdfast replica remove /mnt/second/holdfast
`, exitOK, exitFailure, exitUsage, exitNotFound, exitStore, exitInterrupted),
		BashComplete: func(c *cli.Context) {
			if c.NArg() == 0 {
				fmt.Fprint(c.App.Writer, "add\nlist\nremove\n")
			}
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			o := replicaOptions{common: opts, Verb: c.Args().First()}
			switch want := map[string]int{"add": 2, "list": 1, "remove": 2}[o.Verb]; {
			case want == 0:
				return withHint(usagef("replica needs a verb: add, list or remove"), "holdfast replica add STORE2")
			case c.NArg() != want:
				return withHint(usagef("replica %s: want %s", o.Verb, countText(int64(want-1), "directory")), "holdfast replica "+o.Verb+" STORE2")
			case want == 2:
				if o.Path, err = pathOf(c.Args().Get(1)); err != nil {
					return err
				}
			}
			return runReplica(c.Context, o)
		},
	}
}

// runReplica adds, lists or removes replicas.
func runReplica(ctx context.Context, opts replicaOptions) error {
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		switch opts.Verb {
		case "add":
			return runReplicaAdd(ctx, h, opts)
		case "remove":
			return runReplicaRemove(ctx, h, opts)
		}
		return runReplicaList(ctx, h, opts)
	})
}

func runReplicaAdd(ctx context.Context, h *owner.Handle, opts replicaOptions) error {
	var v replicaView
	if err := h.Call(ctx, pathReplicaAdd, opts.Path, &v); err != nil {
		return fmt.Errorf("add replica: %w", err)
	}
	if opts.JSON {
		return printJSON(opts.Out, v)
	}
	verb := "Adopted"
	if v.Made {
		verb = "Made"
	}
	_, err := fmt.Fprintf(opts.Out, "%s the replica in %s (id %s).\nNext:\n  holdfast replicate\n", verb, oneLine(v.Path), v.StoreID)
	return err
}

func runReplicaRemove(ctx context.Context, h *owner.Handle, opts replicaOptions) error {
	err := h.Call(ctx, pathReplicaRemove, opts.Path, nil)
	if errors.Is(err, chunkstore.ErrNotFound) {
		return withStatus(exitNotFound, withHint(fmt.Errorf("%s is no replica of this store", opts.Path), "see which are: holdfast replica list"))
	}
	if err == nil {
		opts.Console.note("%s is forgotten; what it holds stays there", opts.Path)
	}
	return err
}

func runReplicaList(ctx context.Context, h *owner.Handle, opts replicaOptions) error {
	var views []replicaView
	if err := h.Call(ctx, pathReplicaList, struct{}{}, &views); err != nil {
		return err
	}
	if opts.JSON {
		return printJSON(opts.Out, struct {
			Replicas []replicaView `json:"replicas"`
		}{views})
	}
	if len(views) == 0 {
		opts.Console.note("the store has no replica yet; make one: holdfast replica add STORE2")
		return nil
	}
	var rows [][]string
	for _, v := range views {
		row := []string{oneLine(v.Path), v.Role, "", "", "there"}
		if v.Error != "" {
			row[4] = "away: " + oneLine(v.Error)
		}
		if v.Versions != nil && v.Missing != nil {
			row[2], row[3] = thousands(*v.Versions), thousands(*v.Missing)
		}
		rows = append(rows, row)
	}
	return printTable(opts.Out, []column{{title: "store"}, {title: "role"}, {"versions", true}, {"missing", true}, {title: "state"}}, rows)
}
