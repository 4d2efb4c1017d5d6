package fs

import (
	"context"
	"errors"
	"io"
	"syscall"
	"time"

	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/pack"
	"holdfast/fs/guest"
)

// place is where in the tree something was asked for, for the log.
type place struct {
	op          string
	vm, version string
	disk        string
	format      string
	off, n      int64
}

func (p place) attrs() []any {
	a := []any{"op", p.op}
	for _, s := range [][2]string{{"vm", p.vm}, {"version", p.version}, {"disk", p.disk}, {"format", p.format}} {
		if s[1] != "" {
			a = append(a, s[0], s[1])
		}
	}
	if p.disk != "" {
		a = append(a, "offset", p.off, "bytes", p.n)
	}
	return a
}

// errno flattens the error of a request with context ctx to what the kernel is
// told. It is the only place that does; what is not plain goes to the log first.
func (t *tree) errno(ctx context.Context, at place, err error) syscall.Errno {
	if err == nil {
		return 0
	}
	var d *pack.Damage
	damaged := errors.As(err, &d) // whatever caused it
	switch {
	case damaged:
	case errors.Is(err, catalog.ErrNoVM), errors.Is(err, catalog.ErrNoVersion), errors.Is(err, errNoName), errors.Is(err, guest.ErrNotExist):
		return syscall.ENOENT
	case at.op == opSeek && errors.Is(err, io.EOF):
		return syscall.ENXIO
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		return syscall.EINTR
	case errors.Is(err, cache.ErrClosed), errors.Is(err, errClosing):
		return syscall.ESHUTDOWN
	}
	attrs := at.attrs()
	if damaged {
		attrs = append(attrs, "chunk", d.ID.String(), "damage", d.Kind.String())
	}
	t.log.Error("a request failed", append(attrs, "err", err)...)
	switch {
	case errors.Is(err, guest.ErrUnsupported):
		return syscall.EOPNOTSUPP
	case errors.Is(err, guest.ErrCorrupt) && !damaged:
		return syscall.EUCLEAN // the guest's filesystem was damaged when it was captured
	}
	return syscall.EIO
}

// opSeek is the one operation for which the end of a file is an error.
const opSeek = "seek"

var (
	errNoName  = errors.New("no such name")
	errClosing = errors.New("the mount is being taken down")
)

// interruptPatience is how long a request goes on after the kernel says that
// its caller got a signal. Most signals kill nobody, and few programs expect a
// read of a file to fail with EINTR; who was killed waits no longer than this.
const interruptPatience = time.Second

// patiently runs op, and once more with a deadline when ctx ended it: what it
// waited for goes on loading, so the second run joins it.
func patiently(ctx context.Context, op func(context.Context) error) error {
	err := op(ctx)
	if err == nil || ctx.Err() == nil {
		return err
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), interruptPatience)
	defer cancel()
	return op(late)
}
