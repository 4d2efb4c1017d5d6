package pack

import (
	"bytes"
	"errors"
	"fmt"
)

// Part is a run of a chunk's plain bytes that a reader wants by itself:
// 0 <= From < To <= Chunk.
type Part struct {
	Chunk    int // the chunk's plain length, as the map that names it says
	From, To int
	Along    bool // its neighbours are wanted too: reading ahead is of use
}

// FrameSize returns how many plain bytes decode alone in records that the codec
// makes; MaxChunk when records are one frame.
func (c *Codec) FrameSize() int {
	if c.frameLog == 0 {
		return MaxChunk
	}
	return 1 << c.frameLog
}

// ErrCutOff says that more of a record is needed.
var ErrCutOff = errors.New("record is cut off")

// prefixSpare is the share of a frame that PrefixOf adds. By the records of a Debian in
// frames of 16 KiB (MinLZ; zstd), counted for a disk that takes 1.07 µs a KiB and 45 for
// a read more: a record of which a frame is wanted has 27.5 KiB (24.3), its beginning up
// to that frame's end 18.0 (15.9). With a third 20.6 (18.5) are read and one read in 350
// is too short, at 62.2 µs (59.9); with a quarter one in 100, 62.1 (59.9); with half 63.0
// (60.6), with an eighth 64.3 (62.4). Where a KiB takes 0.65 and a read 62, a third is best.
// A sixth of the beginning, as it was, reads 20.9 (18.8) and is too short once in 16 (12)
// reads, at 65.1 µs (63.8). An exact beginning would take 59.2 (57.0).
const prefixSpare = 3

// PrefixOf returns how many bytes from a record's start probably suffice for part p,
// where the record's payload is so long: the frames' share by their plain bytes and some
// more, but never more than that, as no frame is longer than what it holds.
func (c *Codec) PrefixOf(payloadLen int, p Part) int {
	all := RecordHeaderLen + payloadLen
	if c.frameLog == 0 || p.To <= 0 || p.To >= p.Chunk || p.Chunk > MaxChunk {
		return all
	}
	table := frameCount(p.Chunk, c.frameLog) * frameEntryLen
	share := max(0, payloadLen-table) * p.To / p.Chunk
	return min(all, RecordHeaderLen+table+min(p.To, share+c.FrameSize()/prefixSpare))
}

// DecodePart is Decode for who wants a part of the chunk. When frames of the
// record begin and end where the part does, only these are decoded, and plain is
// the part, each frame of it proved by its own sum. Otherwise plain is the whole
// chunk, proved against its id, and whole is true.
//
// A sum binds a frame's bytes to its chunk and its place in it; in records of version 1
// to its number, and so to its place among frames of one size. The size is that of the
// codec, as it never changes in a store; the header, which nothing proves here, is not
// believed: a record that has frames of another size is decoded as a whole, and of
// another version, has no sum that fits.
//
// rec may be a record's first bytes alone. Where they do not suffice, the error is
// ErrCutOff.
func (c *Codec) DecodePart(buf, rec []byte, want ID, p Part) (plain []byte, whole bool, err error) {
	h, err := openHeader(rec, want)
	if err != nil {
		return nil, false, err
	}
	payload := rec[RecordHeaderLen:min(len(rec), RecordHeaderLen+h.payloadLen)]
	switch {
	case c.hasFrames(&h, p):
		plain, err = c.decodeRun(buf, &h, payload, p)
		return plain, false, err
	case len(payload) < h.payloadLen:
		return nil, false, ErrCutOff
	}
	plain, err = c.decodeWhole(buf, &h, payload)
	return plain, true, err
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
		n, err := frameLen(payload, i, off, h.payloadLen)
		if err != nil {
			return nil, err
		}
		from, to := framePlain(h.plainLen, h.frameLog, i)
		if off += n; from < p.From {
			continue
		}
		if off > len(payload) {
			return nil, ErrCutOff
		}
		stored := payload[off-n : off]
		if buf, err = c.decodeFrame(buf, h, stored, i, to-from); err != nil {
			return nil, err
		}
	}
	if err := c.proveRun(buf, h, payload, p.From>>h.frameLog); err != nil {
		return nil, err
	}
	return buf, nil
}

// proveRun proves decoded frames, the first of which has number first, by their sums.
func (c *Codec) proveRun(plain []byte, h *header, payload []byte, first int) (err error) {
	c.sumFrames(h.version, plain, nil, &h.id, first, h.frameLog, func(i int, sum []byte) bool {
		if want := payload[i*frameEntryLen+4 : (i+1)*frameEntryLen]; !bytes.Equal(sum, want) {
			err = fmt.Errorf("frame %d: plain bytes have sum %x, want %x", i, sum, want)
		}
		return err == nil
	})
	return err
}
