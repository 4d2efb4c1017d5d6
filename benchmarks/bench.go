package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// bench is a directory with the disks, the stores and the mounts of a run.
type bench struct {
	options
	web     disk           // a real VM's disk
	made    map[string]any // what was made once, by name; see once
	disks   []disk         // those that were used
	missing []string
	closers []func() error // of the road that runs
}

func newBench(o options) (*bench, error) {
	b := &bench{options: o, made: map[string]any{}}
	if err := os.MkdirAll(b.path("home"), 0o755); err != nil {
		return nil, err
	}
	var err error
	if b.web, err = b.webDisk(); err != nil {
		return nil, err
	}
	if o.withPeers {
		b.missing = missingPeers()
		for peer := range strings.SplitSeq(o.without, ",") {
			if peer != "" && b.has(peer) {
				b.missing = append(b.missing, peer+": left out by -without")
			}
		}
	}
	return b, nil
}

// close undoes what the run mounted.
func (b *bench) close() { b.unmountAll() }

// unmountAll ends what a road left mounted, the last first.
func (b *bench) unmountAll() {
	for i := len(b.closers) - 1; i >= 0; i-- {
		if err := b.closers[i](); err != nil {
			fmt.Fprintln(os.Stderr, "benchmarks: clean up:", err)
		}
	}
	b.closers = nil
}

func (b *bench) has(peer string) bool {
	if !b.withPeers {
		return false
	}
	for _, m := range b.missing {
		if strings.HasPrefix(m, peer+":") {
			return false
		}
	}
	return true
}

// path returns a path in the run's directory.
func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.dir}, parts...)...)
}

// once makes something that several roads use, and only once.
func once[T any](b *bench, name string, make func() (T, error)) (T, error) {
	if v, ok := b.made[name]; ok {
		return v.(T), nil
	}
	v, err := make()
	if err == nil {
		b.made[name] = v
	}
	return v, err
}

// holdfast runs the program on a store; the rate counts bytesDone.
func (b *bench) holdfast(ctx context.Context, bytesDone int64, store string, args ...string) (Sample, error) {
	return command(ctx, bytesDone, []string{"HOLDFAST_STORE=" + store}, b.binary, args...)
}

// freshStore makes an empty store, in place of one that is there.
func (b *bench) freshStore(ctx context.Context, name string, flags ...string) (string, error) {
	store := b.path(name)
	if err := os.RemoveAll(store); err != nil {
		return "", err
	}
	_, err := command(ctx, 0, nil, b.binary, append(append([]string{"init"}, flags...), store)...)
	return store, err
}

// captured is a store with one version of the disk, of the VM with the disk's
// name, made once.
func (b *bench) captured(ctx context.Context, d disk) (string, error) {
	return once(b, "store of "+d.name, func() (string, error) {
		store, err := b.freshStore(ctx, d.name+".store")
		if err != nil {
			return "", err
		}
		_, err = b.holdfast(ctx, d.data, store, "capture", "--vm", d.name, "vda="+d.path)
		return store, err
	})
}

// remove is a prepare that removes a file or directory of the run.
func (b *bench) remove(name string) func(context.Context, int) error {
	return func(context.Context, int) error { return os.RemoveAll(b.path(name)) }
}
