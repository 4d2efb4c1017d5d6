package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
)

type policyOptions struct {
	common
	Do   string // set, show or unset
	VM   string // "": the default
	Keep keepOptions

	Pruning *catalog.Pruning // nil: it stays as it is
}

func policyCommand() *cli.Command {
	return &cli.Command{
		Name:      "policy",
		Usage:     "say which versions are kept, for each VM or for all, and when space is freed",
		UsageText: "holdfast policy set|show|unset [VM] [--keep-... N]",
		Description: `A policy is kept in the store, for a VM or, without VM, for all that have none of
their own. A VM's own policy replaces the default as a whole. Policies forget nothing
by themselves: holdfast forget carries them out, or with --auto-forget a mount does
before it prunes. Unless --prune says when, nothing is pruned but by holdfast prune.

Each rule keeps what it keeps, whatever the others say. A rule for hours, days, weeks,
months or years keeps the newest version of each of the last N such periods that have
one. A version that is known to be damaged stands for its period only where there is no
other. Pinned versions, versions dated in the future, a VM's last version and its last
good one are always kept.`,
		BashComplete: completeWords([]string{"set", "show", "unset"}, completeVMs),
		CustomHelpTemplate: commandHelp(`
holdfast policy set --keep-daily 7 --keep-weekly 4 --keep-monthly 12
holdfast policy set web --keep-last 3 --keep-within 30d --min-age 1d --zone Europe/Berlin
holdfast policy set --prune weekly --prune-for 2h --auto-forget
holdfast policy show
holdfast policy unset web
`, exitOK, exitFailure, exitUsage, exitStore, exitInterrupted),
		Flags: append(keepFlags(), pruneFlags()...),
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			o := policyOptions{common: opts, Do: c.Args().First(), VM: c.Args().Get(1)}
			if c.NArg() < 1 || c.NArg() > 2 || o.Do != "set" && o.Do != "show" && o.Do != "unset" {
				return withHint(usagef("policy needs set, show or unset, and one VM at most"), "holdfast policy show")
			}
			if c.NArg() == 2 {
				if err := catalog.CheckName("VM", o.VM); err != nil {
					return usagef("%v", err)
				}
			}
			if o.Keep, err = parseKeep(c); err != nil {
				return err
			}
			if o.Pruning, err = parsePruning(c); err != nil {
				return err
			}
			switch {
			case o.Pruning != nil && o.VM != "":
				return withHint(usagef("--prune is for the whole store, and no VM goes with it"), "holdfast policy set --prune weekly")
			case o.Pruning != nil && o.Do == "set" && !o.Keep.any(): // the rules stay as they are
			case o.Do == "set" && !o.Keep.given():
				return withHint(usagef("a policy needs a rule"), "holdfast policy set --keep-daily 7 --keep-weekly 4")
			case o.Do != "set" && (o.Keep.any() || o.Pruning != nil):
				return usagef("rules and --prune belong to policy set")
			}
			return runPolicy(c.Context, o)
		},
	}
}

// runPolicy sets, shows or unsets.
func runPolicy(ctx context.Context, opts policyOptions) error {
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		switch opts.Do {
		case "set":
			if err := setPruning(ctx, h, opts); err != nil {
				return err
			}
			if !opts.Keep.given() {
				break
			}
			if err := again(ctx, opts.common, func() error { return catalog.SetPolicy(ctx, h, opts.VM, &opts.Keep.Policy) }); err != nil {
				return err
			}
		case "unset":
			if err := again(ctx, opts.common, func() error { return catalog.SetPolicy(ctx, h, opts.VM, nil) }); err != nil {
				return err
			}
		}
		return showPolicies(ctx, h, opts)
	})
}

func setPruning(ctx context.Context, h *owner.Handle, opts policyOptions) error {
	if opts.Pruning == nil {
		return nil
	}
	return again(ctx, opts.common, func() error { return catalog.SetPruning(ctx, h, *opts.Pruning) })
}

// policyOf is whose policy it is.
type policyOf struct {
	nameView             // the VM; "" for the default
	Of       string      `json:"policy_of"` // vm, default or none
	Policy   *policyView `json:"policy"`

	policy catalog.Policy
}

type policiesResult struct {
	Policies []policyOf   `json:"policies"`
	Pruning  *pruningView `json:"pruning"` // null: never by itself
}

func findPolicy(ctx context.Context, h *owner.Handle, vm string) (policyOf, error) {
	p, own, ok, err := catalog.PolicyOf(ctx, h, vm)
	res := policyOf{nameView: viewName(vm), Of: "none", policy: p}
	if ok {
		res.Of, res.Policy = "default", viewPolicy(p)
	}
	if ok && own && vm != "" {
		res.Of = "vm"
	}
	return res, err
}

// showPolicies shows what counts for a VM, or all policies.
func showPolicies(ctx context.Context, h *owner.Handle, opts policyOptions) error {
	vms := []string{opts.VM}
	if opts.VM == "" {
		own, err := catalog.Policies(ctx, h)
		if err != nil {
			return err
		}
		if vms = own; len(own) == 0 || own[0] != "" {
			vms = append([]string{""}, own...)
		}
	}
	var res policiesResult
	for _, vm := range vms {
		p, err := findPolicy(ctx, h, vm)
		if err != nil {
			return err
		}
		res.Policies = append(res.Policies, p)
	}
	text, pruning, err := findPruning(ctx, h)
	if err != nil {
		return err
	}
	if res.Pruning = pruning; opts.JSON {
		return printJSON(opts.Out, res)
	}
	for _, p := range res.Policies {
		if _, err := fmt.Fprintf(opts.Out, "%s: %s\n", p.who(), p.text()); err != nil {
			return err
		}
	}
	if opts.VM != "" {
		return nil
	}
	_, err = fmt.Fprintf(opts.Out, "prune: %s\n", text)
	return err
}

func (p policyOf) who() string {
	if vmName(p.nameView) == "" {
		return "default"
	}
	return nameText(vmName(p.nameView))
}

func (p policyOf) text() string {
	switch p.Of {
	case "none":
		return "no policy; nothing is forgotten"
	case "default":
		if vmName(p.nameView) != "" {
			return policyText(p.policy) + " (the default)"
		}
	}
	return policyText(p.policy)
}
