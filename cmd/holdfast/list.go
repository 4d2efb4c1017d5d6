package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
)

type listOptions struct {
	common
	VM        string // "": the VMs
	Forgotten bool   // the versions that are forgotten
}

func listCommand() *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "list the VMs, or the versions of one",
		UsageText:   "holdfast list [--forgotten] [VM]",
		Description: `Without VM the VMs are listed, with VM its versions, oldest first.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "forgotten", DisableDefaultText: true, Usage: "list the versions that are forgotten and can be undeleted, of one VM or of all"},
		},
		BashComplete: completeVMs,
		CustomHelpTemplate: commandHelp(`
holdfast list
holdfast list web
holdfast list web --json | jq -r .versions[].id
holdfast list --forgotten
`, exitOK, exitFailure, exitUsage, exitDamage, exitNotFound, exitStore, exitInterrupted),
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() > 1 {
				return usagef("list takes one VM at most, but %d were named", c.NArg())
			}
			return runList(c.Context, listOptions{opts, c.Args().First(), c.Bool("forgotten")})
		},
	}
}

// runList lists.
func runList(ctx context.Context, opts listOptions) error {
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		if opts.Forgotten {
			return listForgotten(ctx, h, opts)
		}
		if opts.VM == "" {
			return listVMs(ctx, h, opts)
		}
		return listVersions(ctx, h, opts)
	})
}

// vmView is a VM in list --json.
type vmView struct {
	nameView
	Versions int64        `json:"versions"`
	Latest   *versionView `json:"latest"`
}

type vmsResult struct {
	VMs []vmView `json:"vms"`
}

func listVMs(ctx context.Context, h *owner.Handle, opts listOptions) error {
	names, err := catalog.VMs(ctx, h)
	if err != nil {
		return err
	}
	res := vmsResult{VMs: []vmView{}}
	var damaged error
	for _, name := range names {
		ids, err := catalog.IDs(ctx, h, name)
		if err != nil {
			return err
		}
		vm := vmView{nameView: viewName(name), Versions: int64(len(ids))}
		if len(ids) > 0 {
			id := ids[len(ids)-1]
			v, err := catalog.Get(ctx, h, name, id)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				damaged = errors.Join(damaged, err)
				v = &catalog.Version{VM: name, ID: id}
			}
			view := withState(viewVersion(v, err), statesOf(ctx, h, name))
			vm.Latest = &view
		}
		res.VMs = append(res.VMs, vm)
	}
	if opts.JSON {
		err = printJSON(opts.Out, res)
	} else {
		err = printVMs(opts, res.VMs)
	}
	return errors.Join(err, damagedManifests(damaged))
}

func printVMs(opts listOptions, vms []vmView) error {
	if len(vms) == 0 {
		opts.Console.note("the store has no versions yet; make one: holdfast capture --vm NAME DISK...")
		return nil
	}
	var rows [][]string
	for _, vm := range vms {
		row := []string{nameText(vmName(vm.nameView)), thousands(vm.Versions), "", "", "", ""}
		if l := vm.Latest; l != nil {
			row[2], row[5] = l.ID, l.stateText()
			if l.countsView != nil {
				row[3], row[4] = thousands(int64(len(l.Disks))), sizeText(l.LogicalBytes)
			}
		}
		rows = append(rows, row)
	}
	return printTable(opts.Out, []column{{title: "VM"}, {"versions", true}, {title: "latest"}, {"disks", true}, {"size", true}, {title: "state"}}, rows)
}

// vmName is the name that a view was made of.
func vmName(n nameView) string {
	if n.Bytes != nil {
		return string(n.Bytes)
	}
	return n.Name
}

type versionsResult struct {
	nameView
	Versions []versionView `json:"versions"`
}

func listVersions(ctx context.Context, h *owner.Handle, opts listOptions) error {
	res := versionsResult{nameView: viewName(opts.VM), Versions: []versionView{}}
	var damaged error
	forgotten := 0
	states := statesOf(ctx, h, opts.VM)
	err := catalog.Marked(ctx, h, opts.VM, func(v *catalog.Version, m catalog.Mark, err error) {
		if m.Has(catalog.Forgotten) {
			forgotten++
			return
		}
		damaged = errors.Join(damaged, err)
		res.Versions = append(res.Versions, withState(viewVersion(v, err), states).marked(m))
	})
	if err != nil {
		return err
	}
	if len(res.Versions) == 0 {
		err := fmt.Errorf("VM %q: %w", opts.VM, catalog.ErrNoVM)
		if forgotten > 0 {
			err = withHint(err, "all its versions are forgotten: holdfast list --forgotten "+shellWord(opts.VM))
		}
		return err
	}
	if opts.JSON {
		err = printJSON(opts.Out, res)
	} else {
		err = printVersions(opts, res.Versions)
	}
	return errors.Join(err, damagedManifests(damaged))
}

func printVersions(opts listOptions, versions []versionView) error {
	var rows [][]string
	for _, v := range versions {
		if v.countsView == nil {
			rows = append(rows, []string{v.ID, "", "", "", "", v.stateText()})
			continue
		}
		var disks []string
		for _, d := range v.Disks {
			disks = append(disks, nameText(vmName(d.nameView)))
		}
		rows = append(rows, []string{v.ID, v.Time.Local().Format("2006-01-02 15:04"), strings.Join(disks, " "),
			sizeText(v.LogicalBytes), sizeText(v.NewBytes), v.stateText()})
	}
	return printTable(opts.Out, []column{{title: "version"}, {title: "time"}, {title: "disks"}, {"size", true}, {"new", true}, {title: "state"}}, rows)
}

// damagedManifests is the error for versions that are there and can't be read.
func damagedManifests(err error) error {
	if err == nil {
		return nil
	}
	return withStatus(exitDamage, err)
}
