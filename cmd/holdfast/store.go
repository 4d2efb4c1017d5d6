package main

import (
	"context"
	"errors"
	iofs "io/fs"
	"os"
	"strings"

	"holdfast/chunkstore"
	"holdfast/chunkstore/owner"
)

// withStore opens the store, as its owner or through it, for the time of fn.
func withStore(ctx context.Context, opts common, fn func(*owner.Handle) error) error {
	h, err := openStore(ctx, opts)
	if err != nil {
		return err
	}
	err = fn(h)
	if cerr := h.Close(); cerr != nil && err == nil {
		err = cerr
	}
	return err
}

func openStore(ctx context.Context, opts common) (*owner.Handle, error) {
	if opts.Store == "" {
		return nil, noStore()
	}
	h, err := owner.Open(ctx, opts.Store, owner.Options{
		Store: chunkstore.Options{
			Log: opts.Log, Fatal: func(err error) { fatal(opts.Console, err) },
			Rebuild: opts.rebuild, IndexCache: opts.indexCache,
			Donor: func(r chunkstore.Replica) chunkstore.Donor { return newPeer(opts, r.Path, r.StoreID) },
		},
		Log: opts.Log,
	})
	if err != nil && ctx.Err() == nil {
		return nil, unusable(err)
	}
	if err == nil {
		serveHealing(h, opts)
		serveReplicas(h, opts)
		serveJobs(h, opts)
		servePruning(h, opts)
	}
	return h, err
}

// unusable gives the errors of opening a store their status and a remedy.
func unusable(err error) error {
	switch {
	case errors.Is(err, chunkstore.ErrNoStore):
		err = withHint(err, "is --store or HOLDFAST_STORE right?")
	case errors.Is(err, iofs.ErrPermission):
		err = withHint(err, "the store belongs to another user: run this as that user or as root")
	case strings.Contains(err.Error(), "use a newer holdfast"):
		err = withHint(err, "this is holdfast "+programVersion()+"; the store was made by a newer one and was not touched")
	}
	return withStatus(exitStore, err)
}

// fatal ends the process when the store's index can't go on: to go on would
// risk what is stored. The next owner recovers.
func fatal(con *console, err error) {
	con.endProgress()
	hints := []string{"what was committed is safe; mend the cause (is the disk full?) and start again"}
	if errors.Is(err, chunkstore.ErrFull) {
		hints = []string{"what was committed is safe; the disk is full, and so is what the store had kept for this: make some room beside it first", fullHints()[0]}
	}
	report(con, withHint(err, hints...), exitFailure)
	os.Exit(int(exitFailure))
}
