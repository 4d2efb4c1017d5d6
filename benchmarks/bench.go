package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/tests/vm"
)

// Data says what was captured and read.
type Data struct {
	What  string `json:"what"`
	Bytes int64  `json:"bytes"`
}

// bench is a directory with the data, the stores and the mounts of a run.
type bench struct {
	options
	data    Data
	image   string // the raw disk: the data of a real VM without its holes
	sparse  string // the VM's disk as it is
	missing []string
	closers []func() error
}

func newBench(ctx context.Context, o options) (*bench, error) {
	b := &bench{options: o, image: filepath.Join(o.dir, "disk.raw")}
	kind := vm.KindDebian
	if o.quick {
		kind = vm.KindSmall
	}
	src, err := vm.Build(kind)
	if err != nil {
		return nil, err
	}
	b.sparse = src.Path
	n, err := dense(b.image, src.Path)
	if err != nil {
		return nil, fmt.Errorf("make the disk to measure: %w", err)
	}
	b.data = Data{What: fmt.Sprintf("the data of a real VM disk (%s), holes left out", kind), Bytes: n}
	if !o.quick {
		for _, peer := range []string{"restic", "borg"} {
			if _, err := exec.LookPath(peer); err != nil {
				b.missing = append(b.missing, peer+": not installed")
			}
		}
	}
	return b, ctx.Err()
}

// close undoes what the run mounted, the last first.
func (b *bench) close() {
	for i := len(b.closers) - 1; i >= 0; i-- {
		if err := b.closers[i](); err != nil {
			fmt.Fprintln(os.Stderr, "benchmarks: clean up:", err)
		}
	}
}

func (b *bench) has(peer string) bool {
	if b.quick {
		return false
	}
	for _, m := range b.missing {
		if strings.HasPrefix(m, peer+":") {
			return false
		}
	}
	return true
}

// dense copies the data extents of a sparse file, one behind the other, so that
// no rate counts holes.
func dense(dst, src string) (int64, error) {
	in, err := os.Open(src)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.Create(dst)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	var total int64
	for off := int64(0); ; {
		from, err := unix.Seek(int(in.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return total, out.Sync()
		}
		if err != nil {
			return 0, err
		}
		to, err := unix.Seek(int(in.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			return 0, err
		}
		n, err := io.Copy(out, io.NewSectionReader(in, from, to-from))
		if err != nil {
			return 0, err
		}
		total, off = total+n, to
	}
}

// path returns a path in the run's directory.
func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.dir}, parts...)...)
}

func (b *bench) holdfast(ctx context.Context, store string, args ...string) (Sample, error) {
	return command(ctx, b.data.Bytes, []string{"HOLDFAST_STORE=" + store}, b.binary, args...)
}

// freshStore makes an empty store, in place of one that is there.
func (b *bench) freshStore(ctx context.Context, name string) (string, error) {
	store := b.path(name)
	if err := os.RemoveAll(store); err != nil {
		return "", err
	}
	_, err := command(ctx, 0, nil, b.binary, "init", store)
	return store, err
}
