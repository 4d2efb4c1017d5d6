package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"holdfast/chunkstore/owner"
	"holdfast/heal"
)

// planMargin is how much older than its repair a plan's proofs may be, beside
// the time that the plan took: times of proofs are whole seconds.
const planMargin = 2 * time.Second

// scrubAndRepair scrubs; before it repairs it scrubs without repairing and shows
// what it is going to do. The repair passes over what was just proved whole.
func scrubAndRepair(ctx context.Context, h *owner.Handle, opts scrubOptions) (*heal.Report, error) {
	if !opts.Repair || opts.DryRun {
		return callScrub(ctx, h, opts, opts.Options, "scrubbing")
	}
	began := time.Now()
	o := opts.Options
	o.DryRun = true
	plan, err := callScrub(ctx, h, opts, o, "scrubbing")
	if err != nil {
		return nil, err
	}
	if !opts.JSON {
		printFound(opts, plan)
		printPlan(opts, plan)
	}
	o.DryRun = false
	o.OlderThan = max(o.OlderThan, time.Since(began)+planMargin)
	done, err := callScrub(ctx, h, opts, o, "repairing")
	if err != nil {
		return nil, err
	}
	// The repair looked again at what was not whole; the whole was proved before.
	done.Packs, done.Skipped = plan.Packs, plan.Skipped
	done.Bytes, done.Records = plan.Bytes, plan.Records
	done.Began, done.Duration = plan.Began, time.Since(began)
	return done, nil
}

func callScrub(ctx context.Context, h *owner.Handle, opts scrubOptions, o heal.Options, what string) (*heal.Report, error) {
	end := watchOwner(ctx, h, opts.Console, what)
	defer end()
	r := new(heal.Report)
	return r, h.Call(ctx, pathScrub, o, r)
}

// printPlan says what a repair is going to do.
func printPlan(opts scrubOptions, plan *heal.Report) {
	if opts.Quiet || plan.Clean() && len(plan.Repairs) == 0 {
		return
	}
	donated := 0
	for _, d := range plan.Donors {
		donated += d.Chunks
	}
	fmt.Fprintf(opts.Out, "plan: write %s anew, heal %s by parity; %s beyond parity: %s from outside, %s not known to come back\n",
		countText(int64(len(plan.Repairs)), "pack"), countText(int64(byParity(plan)), "chunk"), thousands(int64(plan.Lost)),
		thousands(int64(min(donated, plan.Lost))), thousands(int64(max(plan.Lost-donated, 0))))
}

// byParity counts the chunks that parity brought back, or would.
func byParity(r *heal.Report) (n int) {
	for _, p := range r.Repairs {
		n += p.Healed
	}
	return n
}

// healedText says how many chunks came back, and from where.
func healedText(r *heal.Report) string {
	n := byParity(r)
	all, from := n+r.Copies+r.Donated, []string{}
	add := func(n int, where string) {
		if n > 0 {
			from = append(from, thousands(int64(n))+" "+where)
		}
	}
	add(n, "by parity")
	add(r.Copies, "from other packs")
	for _, d := range r.Donors {
		add(d.Chunks, "from "+d.Kind+" "+oneLine(d.Donor))
	}
	if all == 0 {
		return "nothing"
	}
	return countText(int64(all), "chunk") + ": " + strings.Join(from, ", ")
}

// printDonors says what came from outside the packs.
func printDonors(opts scrubOptions, r *heal.Report) {
	verb := "healed"
	if opts.DryRun {
		verb = "would heal"
	}
	for _, d := range r.Donors {
		switch {
		case d.Error != "":
			opts.Console.note("%s %s: %s", d.Kind, d.Donor, d.Error)
			if d.Chunks == 0 {
				continue
			}
			fallthrough
		default:
			fmt.Fprintf(opts.Out, "%s %s (%s) from %s %s\n", verb, countText(int64(d.Chunks), "chunk"), sizeText(d.Bytes), d.Kind, oneLine(d.Donor))
		}
	}
}

// parseSources reads [DISK=]PATH. The owner opens them, so that their paths must
// not depend on where this process is.
func parseSources(args []string) (list []heal.LiveSource, err error) {
	for _, arg := range args {
		from := heal.LiveSource{Path: arg}
		if name, path, ok := strings.Cut(arg, "="); ok && name != "" && !strings.Contains(name, "/") {
			from = heal.LiveSource{Disk: name, Path: path}
		}
		if from.Path == "" {
			return nil, usagef("--from-source %q: want [DISK=]PATH", arg)
		}
		if from.Path, err = pathOf(from.Path); err != nil {
			return nil, err
		}
		if _, err := os.Stat(from.Path); err != nil {
			return nil, withStatus(exitNotFound, err)
		}
		list = append(list, from)
	}
	return list, nil
}
