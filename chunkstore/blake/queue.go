package blake

import "unsafe"

// queue collects inputs until a pass is full.
type queue struct {
	lanes
	n        int          // lanes taken
	portable bool         // pass by pass in Go
	unused   [sumLen]byte // takes what idle lanes make
	room     [width]chunk // for inputs that had to be put together, one a lane
}

type chunk [chunkLen]byte

// begin makes q take inputs whose blocks have flags, and start on the first.
func (q *queue) begin(h *Hasher, flags, start uint32) {
	q.key, q.flags, q.startFlags, q.n, q.last = h.key, flags, start, 0, 0
	q.portable = h.kernel == portable
}

// add queues an input of size bytes, which must be readable in whole blocks,
// with zeros behind size. A full pass is done at once. Both pointers are kept
// until then.
func (q *queue) add(in unsafe.Pointer, out *[sumLen]byte, counter, size, finalFlags uint32) {
	final := max(size, 1)
	final = (final - 1) / blockLen
	i := q.n
	q.in[i], q.out[i], q.counter[i] = in, unsafe.Pointer(out), counter
	q.final[i], q.finalLen[i], q.finalFlags[i] = final, size-final*blockLen, finalFlags
	q.last = max(q.last, final)
	if q.n++; q.n == width {
		q.flush()
	}
}

// take moves the inputs of from, which must fit, to q. from is not to be used again
// before q is flushed.
func (q *queue) take(from *queue) {
	for i := range from.n {
		size := from.final[i]*blockLen + from.finalLen[i]
		q.add(from.in[i], (*[sumLen]byte)(from.out[i]), from.counter[i], size, from.finalFlags[i])
	}
	from.n, from.last = 0, 0
}

// flush does the pass of what is queued.
func (q *queue) flush() {
	if q.n == 0 {
		return
	}
	all := width / 2
	if q.n > all {
		all = width
	}
	for i := q.n; i < all; i++ { // idle lanes do what the first one does
		q.in[i], q.out[i], q.final[i] = q.in[0], unsafe.Pointer(&q.unused), q.final[0]
	}
	switch {
	case q.portable:
		compressPortable(&q.lanes, all)
	case all == width:
		compress16(&q.lanes)
	default:
		compress8(&q.lanes)
	}
	q.n, q.last = 0, 0
}

// forget lets go of the inputs.
func (q *queue) forget() {
	clear(q.in[:])
	clear(q.out[:])
}
