package fs

import (
	"context"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"holdfast/fs/image"
)

// openImage is an image that somebody has open.
type openImage struct {
	n       *imageNode
	direct  bool // opened with O_DIRECT: no page cache to push to
	streams streams
}

var _ fusefs.FileReader = (*openImage)(nil)

// Read implements fusefs.FileReader.
func (o *openImage) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	t := o.n.t
	t.count.reads.Add(1)
	r, err := o.read(ctx, dest, off)
	if err != nil {
		t.count.failedReads.Add(1)
		return nil, t.errno(ctx, o.n.place("read", off, int64(len(dest))), err)
	}
	t.count.readBytes.Add(int64(r.size))
	return r, 0
}

func (o *openImage) read(ctx context.Context, dest []byte, off int64) (r *reply, err error) {
	n := o.n
	length := int(min(int64(len(dest)), n.img.Size()-off))
	if off < 0 || length <= 0 {
		return replies.Get().(*reply), nil
	}
	from, to, sequential := o.streams.note(off, int64(length))
	n.prefetch(ctx, from, to)
	if !sequential {
		n.readsAllOver()
	}
	push := !sequential && !o.direct && n.wantsPush(off, int64(length))
	if !o.direct {
		n.noteFill(int64(length), sequential)
	}
	err = patiently(ctx, func(ctx context.Context) (err error) {
		r, err = n.collect(ctx, off, length, !sequential)
		return err
	})
	if err == nil {
		r.passes = sequential
		r.flatten(dest)
		r.of = n.t
		if push {
			r.push = n.grainAt(off)
		}
	}
	return r, err
}

// prefetchSteps bounds the image segments that one prefetch walks through.
const prefetchSteps = 64

// prefetch asks for the chunks behind the image's bytes [from, to). It never
// waits for data. Errors show when the bytes are read.
func (im *imageNode) prefetch(ctx context.Context, from, to int64) {
	to = min(to, im.img.Size())
	for steps := 0; from < to && steps < prefetchSteps; steps++ {
		s, err := im.segment(ctx, from, to-from)
		if err != nil {
			return
		}
		if s.Kind == image.Guest {
			im.data.Prefetch(ctx, s.GuestOff, s.Length)
		}
		from += s.Length
	}
}
