package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
	"holdfast/heal"
)

func rebuildIndexCommand() *cli.Command {
	return &cli.Command{
		Name:      "rebuild-index",
		Usage:     "make the index anew from the packs",
		UsageText: "holdfast rebuild-index",
		Description: `Reads what each pack holds and puts a new index in the place of the old one, which
is renamed and not deleted. Everything that lies in packs comes back: all versions, and
what was forgotten or pinned. Of damaged packs all comes back that can be brought back;
the rest is listed. What is known of damage and of proofs is lost with the old index: a
scrub, or a mount in its time, proves everything again.

An index that is lost or damaged is made anew without being asked. This is for one that
is of another state of the packs, such as one that was restored from another backup. No
other process may have the store open.`,
		CustomHelpTemplate: commandHelp(`
holdfast rebuild-index
holdfast rebuild-index --json | jq .broken_packs
`, exitOK, exitFailure, exitUsage, exitDamage, exitStore, exitInterrupted),
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() > 0 {
				return usagef("rebuild-index takes no arguments")
			}
			return runRebuildIndex(c.Context, opts)
		},
	}
}

// rebuildResult is what rebuild-index --json prints.
type rebuildResult struct {
	Packs    int          `json:"packs"`
	Records  int64        `json:"records"`
	Versions int64        `json:"versions"`
	Scanned  []string     `json:"scanned_packs"` // of which the footer is lost
	Broken   []brokenPack `json:"broken_packs"`
	Roots    []brokenPack `json:"broken_roots"` // records that can't be read
	Kept     []string     `json:"kept"`         // VM@VERSION that only the old index had
	// KeptBytes are the same names where one of them is not UTF-8, which JSON
	// can't hold.
	KeptBytes [][]byte         `json:"kept_bytes,omitempty"`
	Aside     string           `json:"old_index,omitempty"`
	Left      *heal.HurtReport `json:"left"`
}

type brokenPack struct {
	Pack   string `json:"pack"`
	Offset int64  `json:"offset,omitempty"`
	Error  string `json:"error"`
}

// runRebuildIndex makes the index anew.
func runRebuildIndex(ctx context.Context, opts common) error {
	var rep *chunkstore.RebuildReport
	opts.rebuild = func(r *chunkstore.RebuildReport) { rep = r }
	return withStore(ctx, opts, func(h *owner.Handle) error {
		pid, self := h.Owner()
		s := h.Local()
		if !self || s == nil || rep == nil {
			return withStatus(exitStore, withHint(fmt.Errorf("process %d has the store open; its index can't be replaced meanwhile", pid), "end it first: holdfast status says what it is"))
		}
		left, err := heal.Resolve(ctx, s)
		if err != nil {
			return err
		}
		res, err := viewRebuild(ctx, h, rep, left)
		if err != nil {
			return err
		}
		if opts.JSON {
			err = printJSON(opts.Out, res)
		} else {
			err = printRebuild(opts, res)
		}
		if err == nil && len(res.Broken)+len(res.Roots)+len(res.Scanned) > 0 || left.Exists() {
			err = withStatus(exitDamage, withHint(errors.New("not everything could be brought back"), "mend what can be mended: holdfast scrub --repair", "see what is hurt: holdfast damage"))
		}
		return err
	})
}

func viewRebuild(ctx context.Context, h *owner.Handle, rep *chunkstore.RebuildReport, left *heal.HurtReport) (rebuildResult, error) {
	res := rebuildResult{
		Packs: rep.Packs, Records: rep.Chunks, Aside: rep.Aside, Left: left,
		Scanned: []string{}, Broken: []brokenPack{}, Roots: []brokenPack{}, Kept: []string{},
	}
	for _, n := range rep.Scanned {
		res.Scanned = append(res.Scanned, fmt.Sprintf("%016x", n))
	}
	for _, b := range rep.Broken {
		res.Broken = append(res.Broken, brokenPack{Pack: fmt.Sprintf("%016x", b.Pack), Error: b.Err.Error()})
	}
	for _, b := range rep.Lost {
		res.Roots = append(res.Roots, brokenPack{Pack: fmt.Sprintf("%016x", b.Pack), Offset: b.Offset, Error: b.Err.Error()})
	}
	for _, name := range rep.Kept {
		if vm, id, err := catalog.ParseRootName(name); err == nil {
			res.Kept = append(res.Kept, vm+"@"+id)
		}
	}
	res.KeptBytes = nameBytes(res.Kept)
	vms, err := catalog.VMs(ctx, h)
	for _, vm := range vms {
		ids, ierr := catalog.IDs(ctx, h, vm)
		err = errors.Join(err, ierr)
		res.Versions += int64(len(ids))
	}
	return res, err
}

// nameBytes returns the bytes of all names, if one of them is not UTF-8.
func nameBytes(names []string) (all [][]byte) {
	if !slices.ContainsFunc(names, func(n string) bool { return !utf8.ValidString(n) }) {
		return nil
	}
	for _, n := range names {
		all = append(all, []byte(n))
	}
	return all
}

func printRebuild(opts common, r rebuildResult) error {
	for _, p := range r.Broken {
		fmt.Fprintf(opts.Out, "pack %s can't be read: %s\n", p.Pack, oneLine(p.Error))
	}
	for _, p := range r.Scanned {
		fmt.Fprintf(opts.Out, "pack %s has no footer any more: it was read record by record\n", p)
	}
	for _, p := range r.Roots {
		fmt.Fprintf(opts.Out, "pack %s: the record of a version at %d can't be read: %s\n", p.Pack, p.Offset, oneLine(p.Error))
	}
	for _, v := range r.Kept {
		fmt.Fprintf(opts.Out, "version %s lies in no pack: it was taken from the old index\n", oneLine(v))
	}
	left := leftText(r.Left)
	if !r.Left.Exists() {
		left = "no damage is known, but what packs hold was not proved: holdfast scrub"
	}
	pairs := []pair{
		{"indexed", fmt.Sprintf("%s with %s", countText(int64(r.Packs), "pack"), countText(r.Records, "record"))},
		{"versions", thousands(r.Versions)},
		{"left", left},
	}
	if r.Aside != "" {
		pairs = append(pairs, pair{"old index", oneLine(r.Aside) + " (delete it when all is well)"})
	}
	return printPairs(opts.Out, "", pairs)
}
