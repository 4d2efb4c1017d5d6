package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
)

type forgetOptions struct {
	common
	Refs   []string
	Keep   keepOptions
	All    bool
	DryRun bool
}

func forgetCommand() *cli.Command {
	return &cli.Command{
		Name:      "forget",
		Usage:     "forget versions, by name or by policy",
		UsageText: "holdfast forget VM@VERSION... | [VM...] [--keep-... N] | VM... --all  [--dry-run]",
		Description: `VM@VERSION, with an id or latest, forgets that version. VM alone, or no VM for all of
them, forgets what the rules given here do not keep, or where none are given what the
VM's policy in the store does not keep (see holdfast policy). A stored minimum age
counts also for rules given here.

A forgotten version vanishes at once from everything but list --forgotten. Its space
comes back with a pruning; until then undelete brings it back.`,
		BashComplete: completeVMs,
		CustomHelpTemplate: commandHelp(`
holdfast forget web@2026-11-20T02-00-00Z
holdfast forget --dry-run
holdfast forget web --keep-daily 7 --keep-weekly 4 --keep-yearly all --dry-run
holdfast forget old --all
`, exitOK, exitFailure, exitUsage, exitNotFound, exitStore, exitInterrupted),
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "all", DisableDefaultText: true, Usage: "forget every version of the VMs that are named"},
			&cli.BoolFlag{Name: "dry-run", DisableDefaultText: true, Usage: "only say what would be forgotten, and what keeps the others"},
		}, keepFlags()...),
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			o := forgetOptions{common: opts, Refs: c.Args().Slice(), All: c.Bool("all"), DryRun: c.Bool("dry-run")}
			if o.Keep, err = parseKeep(c); err != nil {
				return err
			}
			switch {
			case o.All && o.Keep.any():
				return usagef("--all forgets every version; it goes with no rule")
			case o.All && len(o.Refs) == 0:
				return withHint(usagef("--all needs the VMs by name"), "holdfast forget VM --all")
			}
			return runForget(c.Context, o)
		},
	}
}

// forgetPlan is what a command line asks for, looked up before anything is done.
type forgetPlan struct {
	named []vmVersions
	rules []vmRules
}

type vmRules struct {
	vm     string
	of     string // vm, default or command line
	policy catalog.Policy
}

// runForget forgets.
func runForget(ctx context.Context, opts forgetOptions) error {
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		plan, err := planForget(ctx, h, opts)
		if err != nil {
			return err
		}
		res := forgetResult{DryRun: opts.DryRun, VMs: []forgottenVM{}}
		for _, n := range plan.named {
			vm, err := forgetNamed(ctx, h, opts, n)
			if err != nil {
				return err
			}
			res.VMs = append(res.VMs, vm)
		}
		for _, r := range plan.rules {
			vm, err := forgetByRules(ctx, h, opts, r)
			if err != nil {
				return fmt.Errorf("VM %s: %w", nameText(r.vm), err)
			}
			res.VMs = append(res.VMs, vm)
		}
		return printForgotten(opts, res)
	})
}

func planForget(ctx context.Context, h *owner.Handle, opts forgetOptions) (plan forgetPlan, err error) {
	var vms []string
	for _, ref := range opts.Refs {
		vm, version, err := catalog.SplitRef(ctx, h, ref)
		switch {
		case err != nil:
			return plan, err
		case version == "":
			vms = append(vms, vm)
			continue
		case opts.All || opts.Keep.any():
			return plan, withHint(usagef("%s is one version, whatever rules say", nameText(ref)), "rules and --all go with VMs: holdfast forget "+shellWord(vm))
		}
		id, err := exactVersion(ctx, h, vm, version)
		if err != nil {
			return plan, err
		}
		plan.named = addNamed(plan.named, vm, id)
	}
	for _, vm := range vms {
		if _, err := catalog.Latest(ctx, h, vm); err != nil {
			return plan, err
		}
	}
	if opts.All {
		for _, vm := range vms {
			ids, err := catalog.IDs(ctx, h, vm)
			if err != nil {
				return plan, err
			}
			plan.named = addNamed(plan.named, vm, ids...)
		}
		return plan, nil
	}
	if len(opts.Refs) == 0 {
		if vms, err = catalog.VMs(ctx, h); err != nil {
			return plan, err
		}
	}
	return plan, plan.addRules(ctx, h, opts, vms)
}

// addRules finds the policy of each VM. That a VM has none is an error where it
// was named, and where nobody has one.
func (plan *forgetPlan) addRules(ctx context.Context, h *owner.Handle, opts forgetOptions, vms []string) error {
	for _, vm := range vms {
		stored, err := findPolicy(ctx, h, vm)
		if err != nil {
			return err
		}
		r := vmRules{vm, stored.Of, opts.Keep.over(stored.policy)}
		if opts.Keep.given() {
			r.of = "command line"
		}
		if r.of != "none" {
			plan.rules = append(plan.rules, r)
			continue
		}
		if len(opts.Refs) > 0 {
			return withHint(usagef("%s has no policy, and no version and no rule was named: nothing was forgotten", nameText(vm)),
				"rules for this time: holdfast forget "+shellWord(vm)+" --keep-daily 7 --dry-run",
				"a policy: holdfast policy set "+shellWord(vm)+" --keep-daily 7",
				"every version: holdfast forget "+shellWord(vm)+" --all")
		}
		opts.Console.note("%s has no policy; nothing of it is forgotten", nameText(vm))
	}
	if len(opts.Refs) == 0 && len(vms) > 0 && len(plan.rules) == 0 {
		return withHint(usagef("no VM has a policy, and no version and no rule was named: nothing was forgotten"), "a policy for all: holdfast policy set --keep-daily 7 --keep-weekly 4")
	}
	return nil
}

// forgetNamed forgets the versions that were named.
func forgetNamed(ctx context.Context, h *owner.Handle, opts forgetOptions, n vmVersions) (forgottenVM, error) {
	res := forgottenVM{nameView: viewName(n.vm), Of: "none", Versions: []forgottenVersion{}}
	states := statesOf(ctx, h, n.vm)
	for _, id := range n.ids {
		mark, err := catalog.Marking(ctx, h, n.vm, id)
		if err != nil {
			return res, err
		}
		if mark == catalog.Pinned {
			return res, fmt.Errorf("forget version %s of %s: %w", id, nameText(n.vm), catalog.ErrPinned)
		}
		v := forgottenVersion{ID: id, State: statePending, Forget: true, Keep: []string{}}
		if mark.Has(catalog.Forgotten) {
			v.State = stateForgotten
		} else if st, ok := states[id]; ok {
			v.State = st
		}
		res.Versions = append(res.Versions, v)
	}
	res.Forgotten = len(n.ids)
	if opts.DryRun {
		return res, nil
	}
	return res, again(ctx, opts.common, func() error {
		_, err := catalog.Forget(ctx, h, n.vm, n.ids...)
		return err
	})
}

// forgetByRules forgets what a policy does not keep.
func forgetByRules(ctx context.Context, h *owner.Handle, opts forgetOptions, r vmRules) (forgottenVM, error) {
	var verdicts []catalog.Verdict
	err := again(ctx, opts.common, func() error {
		// Without the states the last good version would not be known.
		states, err := validations(ctx, h, r.vm)
		if err != nil {
			return err
		}
		verdicts, err = catalog.Retain(ctx, h, r.vm, catalog.RetainOptions{Policy: r.policy, Now: time.Now(), States: states, DryRun: opts.DryRun})
		return err
	})
	if err != nil {
		return forgottenVM{}, err
	}
	return viewVerdicts(r, verdicts), nil
}

// validations asks the owner for the states of a VM's versions.
func validations(ctx context.Context, h *owner.Handle, vm string) (map[string]chunkstore.Validation, error) {
	var words map[string]string
	if err := h.Call(ctx, pathStates, versionRef{VM: []byte(vm)}, &words); err != nil {
		return nil, err
	}
	states := map[string]chunkstore.Validation{}
	for id, word := range words {
		for _, st := range []chunkstore.Validation{chunkstore.Valid, chunkstore.Hurt, chunkstore.Incomplete} {
			if st.String() == word {
				states[id] = st
			}
		}
	}
	return states, nil
}
