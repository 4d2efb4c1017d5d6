package pack

import "fmt"

// Part is a run of a chunk's plain bytes that a reader wants by itself:
// 0 <= From < To <= Chunk.
type Part struct {
	Chunk    int // the chunk's plain length, as the map that names it says
	From, To int
}

// FrameSize returns how many plain bytes decode alone in records that the codec
// makes; MaxChunk when records are one frame.
func (c *Codec) FrameSize() int {
	if c.frameLog == 0 {
		return MaxChunk
	}
	return 1 << c.frameLog
}

// DecodePart is Decode for who wants a part of the chunk. When frames of the
// record begin and end where the part does, only these are decoded, and plain is
// the part, each frame of it proved by its own sum. Otherwise plain is the whole
// chunk, proved against its id, and whole is true.
//
// A sum binds a frame's bytes to its chunk and its number, and so to its place
// among frames of one size. The size is that of the codec, as it never changes
// in a store; the header, which nothing proves here, is not believed: a record
// that has frames of another size is decoded as a whole.
func (c *Codec) DecodePart(buf, rec []byte, want ID, p Part) (plain []byte, whole bool, err error) {
	h, payload, err := openRecord(rec, want)
	if err != nil {
		return nil, false, err
	}
	if !c.hasFrames(&h, p) {
		plain, err = c.decodeWhole(buf, &h, payload)
		return plain, true, err
	}
	plain, err = c.decodeRun(buf, &h, payload, p)
	return plain, false, err
}

// hasFrames reports whether part p is a run of the record's frames, and not all
// of them.
func (c *Codec) hasFrames(h *header, p Part) bool {
	if h.frameLog == 0 || h.frameLog != c.frameLog || h.plainLen != p.Chunk {
		return false
	}
	inner := 1<<h.frameLog - 1
	switch {
	case p.From < 0 || p.From >= p.To || p.To > p.Chunk || p.To-p.From == p.Chunk:
		return false
	case p.From&inner != 0 || p.To&inner != 0 && p.To != p.Chunk:
		return false
	}
	return true
}

// decodeRun decodes the frames that make up p and proves each.
func (c *Codec) decodeRun(buf []byte, h *header, payload []byte, p Part) ([]byte, error) {
	if cap(buf) < p.To-p.From+Slack {
		buf = make([]byte, 0, p.To-p.From+Slack)
	}
	buf = buf[:0]
	off := frameCount(h.plainLen, h.frameLog) * frameEntryLen
	for i := 0; i<<h.frameLog < p.To; i++ {
		stored, err := frameAt(payload, i, off)
		if err != nil {
			return nil, err
		}
		off += len(stored)
		from, to := framePlain(h.plainLen, h.frameLog, i)
		if from < p.From {
			continue
		}
		start := len(buf)
		if buf, err = c.decodeFrame(buf, stored, i, to-from); err != nil {
			return nil, err
		}
		sum := payload[i*frameEntryLen+4 : (i+1)*frameEntryLen]
		if got := c.frameSum(buf[start:], h.id, i); got != [sumLen]byte(sum) {
			return nil, fmt.Errorf("frame %d: plain bytes have sum %x, want %x", i, got, sum)
		}
	}
	return buf, nil
}
