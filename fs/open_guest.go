package fs

import (
	"context"
	"errors"
	"io"
	"runtime"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"holdfast/fs/guest"
)

// openGuest is a guest's file that somebody has open.
type openGuest struct {
	n       *guestNode
	streams streams
}

var _ fusefs.FileReader = (*openGuest)(nil)

// Read implements fusefs.FileReader.
func (o *openGuest) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n := o.n
	n.t.count.reads.Add(1)
	from, to, _ := o.streams.note(off, int64(len(dest)))
	n.g.space.Prefetch(ctx, n.at, from, to)
	var got int
	errno := n.with(ctx, "read a file", func(ctx context.Context, fs guest.Filesystem) (err error) {
		got, err = fs.ReadAt(ctx, n.at.Node, dest, off)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	})
	runtime.Gosched() // as an image's Read does
	if errno != 0 {
		n.t.count.failedReads.Add(1)
		return nil, errno
	}
	n.t.count.readBytes.Add(int64(got))
	return fuse.ReadResultData(dest[:got]), 0
}
