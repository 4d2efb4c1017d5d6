package guesttest

import (
	"errors"
	"io"
	"sync/atomic"

	"holdfast/fs/guest"
)

// ErrDisk is what a Failing volume says.
var ErrDisk = errors.New("the disk says no")

// Failing is a volume whose reads fail, or are short, while it is broken. Safe
// for concurrent use.
type Failing struct {
	guest.Volume
	Short  bool // reads give half of what is asked for, and io.EOF
	Broken atomic.Bool
}

// ReadAt implements guest.Volume.
func (v *Failing) ReadAt(p []byte, off int64) (int, error) {
	if !v.Broken.Load() {
		return v.Volume.ReadAt(p, off)
	}
	if v.Short {
		n, _ := v.Volume.ReadAt(p[:len(p)/2], off)
		return n, io.EOF
	}
	return 0, ErrDisk
}
