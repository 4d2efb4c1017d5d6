package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
)

// forgetResult is what forget --json prints.
type forgetResult struct {
	DryRun bool          `json:"dry_run"`
	VMs    []forgottenVM `json:"vms"`
}

type forgottenVM struct {
	nameView
	Of        string             `json:"policy_of"` // vm, default, command line, or none where versions were named
	Policy    *policyView        `json:"policy"`
	Kept      int                `json:"kept"`
	Forgotten int                `json:"forgotten"`
	Future    int                `json:"future"` // dated in the future, and kept
	Versions  []forgottenVersion `json:"versions"`

	policy catalog.Policy
}

type forgottenVersion struct {
	ID     string     `json:"id"`
	Time   *time.Time `json:"time,omitempty"`
	State  string     `json:"state"`
	Forget bool       `json:"forget"`
	Keep   []string   `json:"keep"` // the rules that keep it
}

func viewVerdicts(r vmRules, verdicts []catalog.Verdict) forgottenVM {
	vm := forgottenVM{nameView: viewName(r.vm), Of: r.of, Policy: viewPolicy(r.policy), Versions: []forgottenVersion{}, policy: r.policy}
	for i := range verdicts {
		v := &verdicts[i]
		view := forgottenVersion{ID: v.ID, Time: &v.Time, State: statePending, Forget: len(v.Keep) == 0, Keep: append([]string{}, v.Keep...)}
		if v.State != chunkstore.Pending {
			view.State = v.State.String()
		}
		vm.Versions = append(vm.Versions, view)
		switch {
		case view.Forget:
			vm.Forgotten++
			continue
		case v.Future():
			vm.Future++
		}
		vm.Kept++
	}
	return vm
}

func printForgotten(opts forgetOptions, res forgetResult) error {
	for _, vm := range res.VMs {
		if vm.Future > 0 {
			opts.Console.note("warning: %s has %s dated in the future, kept and pushing nothing out; is a clock wrong?", nameText(vmName(vm.nameView)), countText(int64(vm.Future), "version"))
		}
	}
	if opts.JSON {
		return printJSON(opts.Out, res)
	}
	total := 0
	for i, vm := range res.VMs {
		total += vm.Forgotten
		if i > 0 {
			fmt.Fprintln(opts.Out)
		}
		if err := printForgottenVM(opts, vm); err != nil {
			return err
		}
	}
	if total > 0 && !opts.DryRun {
		opts.Console.note("the space of what is forgotten comes back with: holdfast prune; until then: holdfast undelete VM@VERSION")
	}
	return nil
}

func printForgottenVM(opts forgetOptions, vm forgottenVM) error {
	name := nameText(vmName(vm.nameView))
	verb := "Forgot"
	if opts.DryRun {
		verb = "Would forget"
	}
	if vm.Policy == nil {
		for _, v := range vm.Versions {
			if _, err := fmt.Fprintf(opts.Out, "%s %s@%s\n", verb, name, v.ID); err != nil {
				return err
			}
		}
		return nil
	}
	fmt.Fprintf(opts.Out, "%s: %s\n", name, policyText(vm.policy))
	var rows [][]string
	for _, v := range vm.Versions {
		what := "keep"
		if v.Forget {
			what = "forget"
		}
		rows = append(rows, []string{v.ID, stateText(v.State), what, strings.Join(v.Keep, ", ")})
	}
	if err := printTable(opts.Out, []column{{title: "version"}, {title: "state"}, {title: "what"}, {title: "why"}}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(opts.Out, "%s %s of %s, %s kept\n", verb, countText(int64(vm.Forgotten), "version"), name, thousands(int64(vm.Kept)))
	return err
}

// forgottenResult is what list --forgotten --json prints.
type forgottenResult struct {
	Versions []versionView `json:"versions"`
}

// listForgotten lists what undelete can bring back.
func listForgotten(ctx context.Context, h *owner.Handle, opts listOptions) error {
	vms, err := []string{opts.VM}, error(nil)
	if opts.VM == "" {
		if vms, err = catalog.AllVMs(ctx, h); err != nil {
			return err
		}
	}
	res, all := forgottenResult{Versions: []versionView{}}, 0
	var rows [][]string
	for _, vm := range vms {
		err := catalog.Marked(ctx, h, vm, func(v *catalog.Version, m catalog.Mark, err error) {
			if all++; !m.Has(catalog.Forgotten) {
				return
			}
			view := viewVersion(v, err).marked(m)
			res.Versions = append(res.Versions, view)
			row := []string{nameText(vm), v.ID, "", view.stateText()}
			if view.countsView != nil {
				row[2] = sizeText(view.LogicalBytes)
			}
			rows = append(rows, row)
		})
		if err != nil {
			return err
		}
	}
	if opts.VM != "" && all == 0 {
		return fmt.Errorf("VM %q: %w", opts.VM, catalog.ErrNoVM)
	}
	if opts.JSON {
		return printJSON(opts.Out, res)
	}
	if len(rows) == 0 {
		opts.Console.note("no version is forgotten")
		return nil
	}
	return printTable(opts.Out, []column{{title: "VM"}, {title: "version"}, {"size", true}, {title: "state"}}, rows)
}
