package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"holdfast/chunkstore/owner"
)

// captureBesidePrune captures another disk into a store with a history of which most
// is being freed.
func (b *bench) captureBesidePrune(ctx context.Context) (*Road, error) {
	full, err := b.historyStore(ctx)
	if err != nil {
		return nil, err
	}
	return b.besidePrune(full, "web, its data bytes, captured into a store whose history is pruned", func(ctx context.Context, store, _ string) (Sample, error) {
		return b.captureInto(ctx, store, b.web, b.web.name)
	})
}

// readBesidePrune reads another disk through the mount meanwhile: what the prune
// itself reads and writes would be in the page cache.
func (b *bench) readBesidePrune(ctx context.Context) (*Road, error) {
	extents, err := dataExtents(b.web.path)
	if err != nil {
		return nil, err
	}
	full, err := once(b, "history beside web", func() (string, error) {
		full, err := b.historyStore(ctx)
		if err != nil {
			return "", err
		}
		store := full + "-web"
		if err := copyTree(ctx, full, store); err != nil {
			return "", err
		}
		_, err = b.captureInto(ctx, store, b.web, b.web.name)
		return store, err
	})
	if err != nil {
		return nil, err
	}
	return b.besidePrune(full, "web, its data bytes, read from a store in which the history of another disk is pruned", func(ctx context.Context, _, mnt string) (Sample, error) {
		return readExtents(ctx, filepath.Join(mnt, b.web.name, "latest", "vda.raw"), extents)
	})
}

// besidePrune is a road of the same work without a prune and beside one. A mount has
// the store in both. A run in which the prune was not at work from the first moment to
// the last is an error.
func (b *bench) besidePrune(full, about string, work func(ctx context.Context, store, mnt string) (Sample, error)) (*Road, error) {
	alone, beside := "holdfast, no prune", "holdfast, beside a prune"
	return &Road{unit: rateUnit, about: about, contestants: []contestant{
		b.withPrune(alone, full, false, work), b.withPrune(beside, full, true, work),
	}, goals: []Goal{atLeast(beside, alone, byRate, 0.8)}}, nil
}

func (b *bench) withPrune(name, full string, prunes bool, work func(ctx context.Context, store, mnt string) (Sample, error)) contestant {
	store, mnt := b.path("pruned"), b.path("mnt-pruned")
	var m *mounted
	var p *pruning
	return contestant{name: name, prepare: func(ctx context.Context, _ int) error {
		if err := copyTree(ctx, full, store); err != nil {
			return err
		}
		if _, err := b.holdfast(ctx, 0, store, "forget", "boot", "--keep-last", strconv.Itoa(historyKept), "--min-age", "0s"); err != nil {
			return err
		}
		var err error
		m, err = serve(ctx, []string{"HOLDFAST_STORE=" + store}, mnt, mnt+"/boot", b.binary, "mount", "--no-scrub", mnt)
		return err
	}, run: func(ctx context.Context, _ int) (s Sample, err error) {
		if prunes { // not before the page cache is dropped: it would get a start
			if p, err = b.startPrune(ctx, store); err != nil {
				return s, err
			}
		}
		s, err = m.measure(func() (Sample, error) { return work(ctx, store, mnt) })
		if err == nil && p != nil {
			err = p.isRunning()
		}
		return s, err
	}, finish: func() (err error) {
		if p != nil {
			err, p = p.stop(), nil
		}
		if m != nil {
			err, m = errors.Join(err, m.stop()), nil
		}
		return errors.Join(err, b.without("pruned"))
	}}
}

// pruning is a prune that runs.
type pruning struct {
	cmd   *exec.Cmd
	ended chan error
}

// startPrune starts a prune and returns when it has begun to write packs anew.
func (b *bench) startPrune(ctx context.Context, store string) (*pruning, error) {
	h, err := owner.Open(ctx, store, owner.Options{})
	if err != nil {
		return nil, err
	}
	defer h.Close()
	p := &pruning{exec.Command(b.binary, "prune", "--grace", "0s", "--max-unused", "0%"), make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), "HOLDFAST_STORE="+store)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.ended <- p.cmd.Wait() }()
	for {
		var at struct {
			Phase string
			Done  int64
		}
		err := h.Call(ctx, "/v1/x/prune/progress", struct{}{}, &at)
		if err == nil && at.Phase == "repack" && at.Done > 0 {
			return p, nil
		}
		if err == nil {
			err = p.isRunning()
		}
		if err != nil {
			return nil, errors.Join(err, p.stop())
		}
		time.Sleep(time.Millisecond)
	}
}

// isRunning says how a prune ended that should still be at work.
func (p *pruning) isRunning() error {
	select {
	case err := <-p.ended:
		p.ended <- err
		return fmt.Errorf("the prune had ended (%v): its history is too short for this machine", err)
	default:
		return nil
	}
}

func (p *pruning) stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.ended
	return nil
}
