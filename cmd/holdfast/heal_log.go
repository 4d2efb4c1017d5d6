package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
)

// logPage is how many events the owner sends at once.
const logPage = 20000

type logOptions struct {
	common
	Filter logFilter
}

// logFilter says which events are wanted; zero: all.
type logFilter struct {
	From  int // events that fit and are passed over
	Since time.Time
	Event string
	Donor string // a part of its name
	Chunk string // the beginning of its id
	Pack  string // damaged or new
}

// logEvents is a page of the log.
type logEvents struct {
	Events []chunkstore.Event `json:"events"`
	Torn   int                `json:"torn_lines,omitempty"`
}

func logCommand() *cli.Command {
	return &cli.Command{
		Name:      "log",
		Usage:     "show what was healed, where, from what and when",
		UsageText: "holdfast log [--since AGE|TIME] [--event E] [--donor D] [--chunk ID] [--pack P]",
		Description: `Everything that heals is written to log/heal.jsonl in the store before it is
reported, and stays there when the index is made anew. Events are: healed (a chunk came
back, from parity, a copy, a replica, a source or a capture), repaired (a new pack took
a damaged one's place), quarantined (the damaged one was moved away) and served (a read
was answered by help, and nothing was stored).`,
		CustomHelpTemplate: commandHelp(`
holdfast log
holdfast log --since 7d --event healed
holdfast log --donor replica --json | jq '.events[].chunk'
`, exitOK, exitFailure, exitUsage, exitStore, exitInterrupted),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "since", Usage: "only events after `WHEN`: 12h, 30d, 2026-11-20"},
			&cli.StringFlag{Name: "event", Usage: "only `EVENT`: healed, repaired, quarantined, deleted or served"},
			&cli.StringFlag{Name: "donor", Usage: "only what `DONOR` brought back: parity, capture, or a part of a path"},
			&cli.StringFlag{Name: "chunk", Usage: "only the chunk whose id begins with `ID`"},
			&cli.StringFlag{Name: "pack", Usage: "only what concerns `PACK`"},
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() > 0 {
				return usagef("log takes no arguments")
			}
			o := logOptions{opts, logFilter{Event: c.String("event"), Donor: c.String("donor"), Chunk: c.String("chunk"), Pack: strings.TrimSuffix(c.String("pack"), ".pack")}}
			switch o.Filter.Event {
			case "", chunkstore.EventHealed, chunkstore.EventRepaired, chunkstore.EventQuarantined, chunkstore.EventDeleted, chunkstore.EventServed:
			default:
				return usagef("--event %q: want healed, repaired, quarantined, deleted or served", o.Filter.Event)
			}
			if o.Filter.Since, err = parseMoment("since", c.String("since"), time.Now()); err != nil {
				return err
			}
			return runLog(c.Context, o)
		},
	}
}

// parseMoment reads an age or a time.
func parseMoment(option, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if age, err := parseAge(option, s); err == nil {
		return now.Add(-age), nil
	}
	t, err := catalog.ParseTime(s)
	if err != nil {
		return time.Time{}, usagef("--%s %q: write an age (12h, 30d) or a time (2026-11-20, \"2026-11-20 14:30\")", option, s)
	}
	return t, nil
}

// runLog shows the log of heals.
func runLog(ctx context.Context, opts logOptions) error {
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		all := logEvents{Events: []chunkstore.Event{}}
		for {
			var page struct {
				logEvents
				More bool
			}
			if err := h.Call(ctx, pathHealLog, opts.Filter, &page); err != nil {
				return err
			}
			if opts.JSON {
				all.Events = append(all.Events, page.Events...)
			} else if err := printEvents(opts, page.Events); err != nil {
				return err
			}
			all.Torn = page.Torn
			opts.Filter.From += len(page.Events)
			if !page.More {
				break
			}
		}
		if opts.JSON {
			return printJSON(opts.Out, all)
		}
		if opts.Filter.From == 0 {
			opts.Console.note("nothing was healed")
		}
		return nil
	})
}

func printEvents(opts logOptions, events []chunkstore.Event) error {
	var err error
	for _, e := range events {
		var words []string
		for _, w := range []struct{ name, value string }{
			{"chunk", e.Chunk}, {"was", e.Kind}, {"in pack", placeText(e)}, {"by", e.Donor}, {"new pack", e.New}, {"now", e.To},
		} {
			if w.value != "" {
				words = append(words, w.name+" "+oneLine(w.value))
			}
		}
		if e.Event == chunkstore.EventRepaired {
			words = append(words, fmt.Sprintf("%s whole, %s healed, %s lost", thousands(int64(e.Kept)), thousands(int64(e.Healed)), thousands(int64(e.Lost))))
		}
		_, err = fmt.Fprintf(opts.Out, "%s  %s: %s\n", timeText(e.Time), oneLine(e.Event), strings.Join(words, ", "))
	}
	return err
}

// placeText says where a chunk lay.
func placeText(e chunkstore.Event) string {
	if e.Pack == "" || e.Chunk == "" {
		return e.Pack
	}
	return fmt.Sprintf("%s at %d", e.Pack, e.Offset)
}

// errPage ends the reading of a log when a page is full.
var errPage = errors.New("the page is full")

// serveHealLog lets the owner show the log of heals.
func serveHealLog(h *owner.Handle) {
	h.Handle("POST "+pathHealLog, answering(h, func(ctx context.Context, s *chunkstore.Store, f logFilter) (any, error) {
		var page struct {
			logEvents
			More bool
		}
		skip := f.From
		torn, err := s.HealLog(func(e chunkstore.Event) error {
			if !f.fits(e) {
				return ctx.Err()
			}
			if skip--; skip >= 0 {
				return ctx.Err()
			}
			if len(page.Events) == logPage {
				page.More = true
				return errPage
			}
			page.Events = append(page.Events, e)
			return ctx.Err()
		})
		page.Torn = torn
		if errors.Is(err, errPage) {
			err = nil
		}
		return page, err
	}))
}

func (f *logFilter) fits(e chunkstore.Event) bool {
	return !e.Time.Before(f.Since) && (f.Event == "" || e.Event == f.Event) &&
		strings.Contains(e.Donor, f.Donor) && strings.HasPrefix(e.Chunk, f.Chunk) &&
		(f.Pack == "" || e.Pack == f.Pack || e.New == f.Pack)
}
