package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/owner"
	"holdfast/heal"
	"holdfast/heal/background"
)

// pathJobs is where the owner tells what it does in the background.
const pathJobs = "/v1/x/jobs"

// jobs are those of this process; nil where none run in it.
type jobs struct {
	atomic.Pointer[background.Runner]
	prune pruneTurn
}

// jobOptions say what a process that stays up does in the background.
type jobOptions struct {
	NoScrub bool
	Rate    int64 // bytes a second; 0: no bound
}

// runJobs begins the work in the background of a process that stays up, and
// returns how to end it. It works while this process owns the store.
func runJobs(h *owner.Handle, opts common, o jobOptions) (stop func()) {
	var list []background.Job
	if !o.NoScrub {
		list = append(list, heal.NewBackgroundScrub(h.Local, o.Rate, opts.Log))
	}
	list = append(list, newBackgroundPrune(h, &opts.Jobs.prune, opts.Log))
	r := background.Start(background.Options{
		Rate: o.Rate, Log: opts.Log,
		Working: func() (bool, time.Time) {
			if s := h.Local(); s != nil {
				return s.Working()
			}
			return false, time.Time{}
		},
	}, list...)
	opts.Jobs.Store(r)
	return func() {
		opts.Jobs.Store(nil)
		r.Stop()
	}
}

// jobsResult is what the owner tells.
type jobsResult struct {
	Jobs []background.Status `json:"jobs"`
}

// serveJobs lets the owner tell of its work in the background.
func serveJobs(h *owner.Handle, opts common) {
	h.Handle("POST "+pathJobs, answering(h, func(ctx context.Context, s *chunkstore.Store, _ struct{}) (any, error) {
		var list []background.Status
		if r := opts.Jobs.Load(); r != nil {
			list = r.Status()
		}
		return allJobs(ctx, s, list)
	}))
}

// allJobs adds to what runs what is remembered of the jobs that do not, in a
// fixed order.
func allJobs(ctx context.Context, s *chunkstore.Store, running []background.Status) (jobsResult, error) {
	scrub, err := heal.LastScrub(s)
	if err != nil {
		return jobsResult{}, err
	}
	prune, err := lastPrune(ctx, s)
	if err != nil {
		return jobsResult{}, err
	}
	all := []background.Status{scrub, prune}
	for i := range all {
		for _, j := range running {
			if j.Job == all[i].Job {
				all[i] = j
			}
		}
	}
	return jobsResult{all}, nil
}

// jobsOf asks the owner; nothing where it is of another version.
func jobsOf(ctx context.Context, h *owner.Handle) []background.Status {
	var res jobsResult
	if h.Call(ctx, pathJobs, struct{}{}, &res) != nil {
		return nil
	}
	return res.Jobs
}

// jobText says in one line what a job does.
func jobText(j background.Status) string {
	if j.Job == pruneJobName {
		return pruneJobText(j)
	}
	text := string(j.State)
	switch {
	case j.State == background.Stopped:
		text = "no process runs it"
	case j.State == background.Failed:
		text = "failed: " + oneLine(j.Error)
	case j.Began != nil && j.Total > 0:
		text += fmt.Sprintf(", %d %% of the cycle begun %s", 100*j.Done/j.Total, timeText(*j.Began))
	}
	if j.Queue > 0 {
		text += fmt.Sprintf(", %s wait", thousands(int64(j.Queue)))
	}
	if j.LastFull != nil {
		text += ", last whole cycle " + timeText(*j.LastFull)
	} else {
		text += ", no whole cycle yet"
	}
	if j.Next != nil && j.State != background.Stopped {
		text += ", works again " + timeText(*j.Next)
	}
	if j.Note != "" {
		text += "; " + oneLine(j.Note)
	}
	return text
}
