package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"holdfast/chunkstore/catalog"
	"holdfast/fs/image"
	"holdfast/fs/restore"
)

// checkChanged reports what --changed can't go with.
func (o restoreOptions) checkChanged() error {
	switch {
	case o.Changed == "":
		return nil
	case o.To == "-":
		return usagef("--changed is for a disk that is there, and standard output is none")
	case !o.Overwrite:
		return usagef("--changed writes onto a disk that is there: say so with --overwrite")
	case o.Format != image.Raw:
		return withHint(usagef("--changed is of a raw disk, not of %s: the list tells of the guest's disk, not of places in such a file", o.Format), "leave --format out")
	}
	return nil
}

// oneDisk refuses a list for several disks, before a directory is made for them.
func (o restoreOptions) oneDisk(v *catalog.Version) error {
	if o.Changed == "" || o.Disk != "" || len(v.Disks) == 1 {
		return nil
	}
	return withHint(usagef("%s@%s has %d disks, and --changed is of one", nameText(v.VM), v.ID, len(v.Disks)), "name it with --disk: "+diskList(v))
}

// changedOn reads the list of what changed on the target of a disk; nil without one.
// It may wait for who writes the list, until ctx ends.
func (o restoreOptions) changedOn(ctx context.Context, d catalog.Disk) (restore.Changed, error) {
	var list restore.Changed
	read := make(chan error, 1)
	go func() {
		var err error
		list, err = o.readChanged(d)
		read <- err
	}()
	select {
	case err := <-read:
		return list, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (o restoreOptions) readChanged(d catalog.Disk) (restore.Changed, error) {
	var in io.Reader
	name := o.Changed
	switch name {
	case "":
		return nil, nil
	case "-":
		in, name = os.Stdin, "standard input"
	default:
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read the list of what changed: %w", err)
		}
		defer f.Close()
		in = f
	}
	list, err := restore.ParseChanged(in, d.Map.Size)
	if pathErr := (*os.PathError)(nil); errors.As(err, &pathErr) {
		return nil, fmt.Errorf("read the list of what changed: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("the list of what changed, %s: %w", name, err)
	}
	return list, nil
}
