package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

var pruneRoads = []entry{
	{"prune of a history", "prune", false, (*bench).pruneHistory},
	{"capture beside a prune", "prune", false, (*bench).captureBesidePrune},
	{"read beside a prune", "prune", false, (*bench).readBesidePrune},
}

const (
	historyLen   = 6    // versions of the history
	historyShare = 0.15 // of a disk that each version has overwritten
	historyKept  = 2    // newest versions that are not forgotten
)

// Contestants.
const (
	ownPrune    = "holdfast forget, prune"
	resticPrune = "restic forget, prune"
	borgPrune   = "borg delete, compact"
)

// history is a program that has stored versions of a disk and can free all but
// the newest.
type history struct {
	name string
	repo string
	// start makes the empty repository, and add one more version.
	start, add func(ctx context.Context) error
	// prune forgets all but the newest versions and frees what they alone needed.
	prune func(ctx context.Context) (Sample, error)
}

// pruneHistory frees what the older versions of a disk alone needed, in holdfast and
// in the peers, from copies of the same repositories. The sizes go to
// standard error.
func (b *bench) pruneHistory(ctx context.Context) (*Road, error) {
	list, err := b.madeHistories(ctx)
	if err != nil {
		return nil, err
	}
	r := &Road{unit: timeUnit, about: fmt.Sprintf("boot in %d versions of which each has %g %% overwritten; all but %d are forgotten and freed", historyLen, 100*historyShare, historyKept)}
	for i, h := range list {
		r.contestants = append(r.contestants, contestant{name: h.name, peer: i > 0, prepare: func(ctx context.Context, _ int) error {
			return copyTree(ctx, h.repo+".full", h.repo)
		}, run: h.measure, finish: func() error { return os.RemoveAll(h.repo) }})
	}
	for _, p := range []string{resticPrune, borgPrune} {
		r.goals = append(r.goals, atLeast(ownPrune, p, byRate, 1))
	}
	return r, nil
}

func (b *bench) madeHistories(ctx context.Context) ([]history, error) {
	return once(b, "histories", func() ([]history, error) { return b.histories(ctx) })
}

// historyStore is our own store with the whole history, for others to copy.
func (b *bench) historyStore(ctx context.Context) (string, error) {
	list, err := b.madeHistories(ctx)
	if err != nil {
		return "", err
	}
	return list[0].repo + ".full", nil
}

// measure prunes and says what was given back and what is left.
func (h *history) measure(ctx context.Context, _ int) (Sample, error) {
	before, err := treeBytes(h.repo)
	if err != nil {
		return Sample{}, err
	}
	s, err := h.prune(ctx)
	if err != nil {
		return s, err
	}
	left, err := treeBytes(h.repo)
	fmt.Fprintf(os.Stderr, "%s: %d bytes before, %d given back, %d left\n", h.name, before, before-left, left)
	return s, err
}

// copyTree copies a directory in place of one that is there.
func copyTree(ctx context.Context, from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	_, err := command(ctx, 0, nil, "cp", "-a", "--reflink=auto", from, to)
	return err
}

// then is what two programs took one after the other.
func then(a, b Sample) Sample {
	return Sample{Wall: a.Wall + b.Wall, CPU: a.CPU + b.CPU, Memory: max(a.Memory, b.Memory)}
}

// histories stores the same versions in each program.
func (b *bench) histories(ctx context.Context) ([]history, error) {
	d, err := b.bootDisk()
	if err != nil {
		return nil, err
	}
	raw := b.path("history.raw")
	if _, err := command(ctx, 0, nil, "cp", "--sparse=always", d.path, raw); err != nil {
		return nil, err
	}
	if err := os.Chmod(raw, 0o600); err != nil {
		return nil, err
	}
	defer os.Remove(raw)
	list := []history{b.ownHistory(raw)}
	if b.has("restic") {
		list = append(list, b.resticHistory(raw))
	}
	if b.has("borg") {
		list = append(list, b.borgHistory(raw))
	}
	for n := range historyLen {
		if n > 0 {
			if _, err := b.changeFiles(ctx, raw, int64(historyShare*float64(d.data)), uint64(n)); err != nil {
				return nil, err
			}
		}
		for _, h := range list {
			if err := h.grow(ctx, n); err != nil {
				return nil, fmt.Errorf("%s: version %d: %w", h.name, n, err)
			}
		}
	}
	for _, h := range list {
		if err := errors.Join(os.RemoveAll(h.repo+".full"), os.Rename(h.repo, h.repo+".full")); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// grow adds version n.
func (h *history) grow(ctx context.Context, n int) error {
	if n == 0 {
		if err := errors.Join(os.RemoveAll(h.repo), h.start(ctx)); err != nil {
			return err
		}
	}
	return h.add(ctx)
}

func (b *bench) ownHistory(raw string) history {
	repo := b.path("history.store")
	run := func(ctx context.Context, args ...string) error {
		_, err := b.holdfast(ctx, 0, repo, args...)
		return err
	}
	n := 0
	return history{
		name: ownPrune, repo: repo,
		start: func(ctx context.Context) error {
			_, err := b.freshStore(ctx, filepath.Base(repo))
			return err
		},
		add: func(ctx context.Context) error {
			n++
			return run(ctx, "capture", "--vm", "boot", "--at", fmt.Sprintf("2026-01-%02d 00:00", n), "vda="+raw)
		},
		prune: func(ctx context.Context) (Sample, error) {
			forget, err := b.holdfast(ctx, 0, repo, "forget", "boot", "--keep-last", strconv.Itoa(historyKept), "--min-age", "0s")
			if err != nil {
				return forget, err
			}
			prune, err := b.holdfast(ctx, 0, repo, "prune", "--grace", "0s")
			return then(forget, prune), err
		},
	}
}

func (b *bench) resticHistory(raw string) history {
	repo := b.path("history.restic")
	run := func(ctx context.Context, args ...string) (Sample, error) {
		return command(ctx, 0, b.resticEnv(repo), "restic", append([]string{"-q"}, args...)...)
	}
	return history{
		name: resticPrune, repo: repo,
		start: func(ctx context.Context) error { _, err := run(ctx, "init"); return err },
		add:   func(ctx context.Context) error { _, err := run(ctx, "backup", "--force", raw); return err },
		prune: func(ctx context.Context) (Sample, error) {
			return run(ctx, "forget", "--prune", "--keep-last", strconv.Itoa(historyKept))
		},
	}
}

func (b *bench) borgHistory(raw string) history {
	repo := b.path("history.borg")
	// Its cache is copied with it: borg refuses a repository that is older.
	env := append(b.borgEnv(filepath.Join(repo, "repo")), "BORG_BASE_DIR="+filepath.Join(repo, "home"))
	run := func(ctx context.Context, args ...string) (Sample, error) {
		return command(ctx, 0, env, "borg", args...)
	}
	n := 0
	return history{
		name: borgPrune, repo: repo,
		start: func(ctx context.Context) error {
			_, err := run(ctx, "init", "-e", "none", "--make-parent-dirs")
			return err
		},
		add: func(ctx context.Context) error {
			n++
			_, err := run(ctx, "create", "-C", "zstd,1", "--files-cache", "disabled", fmt.Sprintf("::v%02d", n), raw)
			return err
		},
		prune: func(ctx context.Context) (Sample, error) {
			forget, err := run(ctx, "delete", "--first", strconv.Itoa(historyLen-historyKept))
			if err != nil {
				return forget, err
			}
			prune, err := run(ctx, "compact")
			return then(forget, prune), err
		},
	}
}
