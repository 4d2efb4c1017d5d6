package fs

import (
	"context"
	"runtime"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"holdfast/chunkstore/disk"
	"holdfast/fs/image"
)

// zeros is what holes are answered from.
var zeros [maxRead]byte

// maxSlices bounds what goes to the kernel in one writev (its own limit is
// 1024); a reply of more pieces, of a disk in small shreds, is copied.
const maxSlices = 512

// reply is the answer to a read: pieces of chunks that it holds until the
// kernel has them. go-fuse sends Slices with one writev, and calls Done once.
type reply struct {
	slices [][]byte
	segs   []disk.Segment
	size   int
	passes bool  // it belongs to a stream, which does not come back
	of     *tree // of which the kernel asked, and go-fuse answers it; nil: nobody did
	push   push  // to be queued when the kernel has the answer; n is nil: nothing
}

var _ fuse.ReadResult = (*reply)(nil)

var replies = sync.Pool{New: func() any { return new(reply) }}

// Slices is what go-fuse looks for to write without a copy.
func (r *reply) Slices() ([][]byte, fuse.Status) { return r.slices, fuse.OK }

// Size implements fuse.ReadResult.
func (r *reply) Size() int { return r.size }

// Bytes implements fuse.ReadResult; go-fuse has no need of it where it knows
// Slices.
func (r *reply) Bytes(buf []byte) ([]byte, fuse.Status) {
	buf = buf[:0]
	for _, s := range r.slices {
		buf = append(buf, s...)
	}
	return buf, fuse.OK
}

// Done implements fuse.ReadResult. What else there is to do for a request is done
// here, when its reader goes on already: a goroutine that is woken before runs first,
// and he would wait for it (measured: 0.2 to 0.4 ms for a push).
func (r *reply) Done() {
	r.release()
	of, push := r.of, r.push
	r.of, r.push = nil, nothing
	replies.Put(r)
	if push.n != nil {
		push.n.t.push.ask(push)
	}
	if of != nil {
		// Decoding is work for the CPU, and the goroutine that reads /dev/fuse
		// hardly ever blocks: without this, others wait for its time slice.
		runtime.Gosched()
		of.chunks.Ready()
	}
}

func (r *reply) release() {
	if r.passes {
		disk.Pass(r.segs)
	} else {
		disk.Release(r.segs)
	}
	clear(r.slices)
	r.slices, r.segs, r.size, r.passes = r.slices[:0], r.segs[:0], 0, false
}

// flatten copies a reply of many pieces into dest, which has room for it.
func (r *reply) flatten(dest []byte) {
	if len(r.slices) <= maxSlices {
		return
	}
	n := 0
	for _, s := range r.slices {
		n += copy(dest[n:], s)
	}
	r.release()
	r.slices, r.size = append(r.slices, dest[:n]), n
}

// collect gathers n bytes of the image from off, which lie inside it. The
// caller must call Done. Alone says that reads around it are not expected.
func (im *imageNode) collect(ctx context.Context, off int64, n int, alone bool) (*reply, error) {
	r := replies.Get().(*reply)
	for r.size < n {
		s, err := im.segment(ctx, off+int64(r.size), int64(n-r.size))
		if err == nil && s.Kind == image.Guest {
			err = r.addGuest(ctx, im.data, s, alone)
		}
		if err != nil {
			r.Done()
			return nil, err
		}
		switch s.Kind {
		case image.Made:
			r.slices = append(r.slices, s.Bytes)
		case image.Zeros:
			r.addZeros(int(s.Length))
		}
		r.size += int(s.Length)
	}
	return r, nil
}

// segment is the image's Segment. The raw image is the disk, byte for byte, and
// View knows its holes: asking the image would measure the extent at off first,
// through the maps of up to 256 MiB behind it.
func (im *imageNode) segment(ctx context.Context, off, max int64) (image.Segment, error) {
	if im.format == image.Raw {
		return image.Segment{Kind: image.Guest, Length: max, GuestOff: off}, nil
	}
	return im.img.Segment(ctx, off, max)
}

func (r *reply) addGuest(ctx context.Context, from *disk.Reader, s image.Segment, alone bool) (err error) {
	first := len(r.segs)
	view := from.View
	if alone {
		view = from.ViewAlone
	}
	if r.segs, err = view(ctx, s.GuestOff, int(s.Length), r.segs); err != nil {
		return err
	}
	for i := first; i < len(r.segs); i++ {
		if b := r.segs[i].Bytes(); b != nil {
			r.slices = append(r.slices, b)
		} else {
			r.addZeros(r.segs[i].Len)
		}
	}
	return nil
}

func (r *reply) addZeros(n int) {
	for n > 0 {
		part := min(n, len(zeros))
		r.slices = append(r.slices, zeros[:part])
		n -= part
	}
}
