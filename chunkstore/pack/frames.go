package pack

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

const (
	minFrameLog   = 12
	maxFrameLog   = 15
	maxFrames     = MaxChunk >> minFrameLog
	frameEntryLen = 4 + sumLen
)

func frameLogOf(size int) (uint8, error) {
	log := bits.Len(uint(size)) - 1
	if size <= 0 || size != 1<<log || log < minFrameLog || log > maxFrameLog {
		return 0, fmt.Errorf("frame size %d: want a power of two from %d to %d", size, 1<<minFrameLog, MaxChunk)
	}
	return uint8(log), nil
}

func frameCount(plainLen int, log uint8) int { return (plainLen + 1<<log - 1) >> log }

// framePlain returns the plain range [from, to) of frame i.
func framePlain(plainLen int, log uint8, i int) (from, to int) {
	return i << log, min(plainLen, (i+1)<<log)
}

func (c *Codec) frameSum(plain []byte, id ID, i int) (s [sumLen]byte) {
	full := c.frames.Sum(plain, id[:], []byte{byte(i)})
	copy(s[:], full[:])
	return s
}

// appendFrames appends the frame table and the frames of plain.
func (c *Codec) appendFrames(buf []byte, id ID, plain []byte) []byte {
	n := frameCount(len(plain), c.frameLog)
	table := len(buf)
	buf = append(buf, make([]byte, n*frameEntryLen)...)
	for i := range n {
		from, to := framePlain(len(plain), c.frameLog, i)
		start := len(buf)
		buf, _ = c.deflate(buf, plain[from:to])
		e := buf[table+i*frameEntryLen:]
		binary.LittleEndian.PutUint32(e, uint32(len(buf)-start))
		s := c.frameSum(plain[from:to], id, i)
		copy(e[4:], s[:])
	}
	return buf
}

// decodeFrames decodes every frame. The caller checks the whole against the
// chunk id, which says more than the frames' own sums.
func (c *Codec) decodeFrames(buf []byte, h *header, payload []byte) ([]byte, error) {
	n := frameCount(h.plainLen, h.frameLog)
	off := n * frameEntryLen
	for i := range n {
		from, to := framePlain(h.plainLen, h.frameLog, i)
		stored, err := frameAt(payload, i, off)
		if err != nil {
			return nil, err
		}
		off += len(stored)
		if buf, err = c.decodeFrame(buf, h, stored, i, to-from); err != nil {
			return nil, err
		}
	}
	if off != len(payload) {
		return nil, fmt.Errorf("frames end at byte %d of a payload of %d", off, len(payload))
	}
	return buf, nil
}

// decodeFrame appends the n plain bytes of frame i of record h, and proves nothing.
func (c *Codec) decodeFrame(buf []byte, h *header, stored []byte, i, n int) ([]byte, error) {
	if len(stored) == n {
		return append(buf, stored...), nil
	}
	buf, err := c.inflate(buf, stored, n, h.codec)
	if err != nil {
		return nil, fmt.Errorf("frame %d: %w", i, err)
	}
	return buf, nil
}

// frameAt returns the stored bytes of frame i, which begin at off.
func frameAt(payload []byte, i, off int) ([]byte, error) {
	n, err := frameLen(payload, i, off, len(payload))
	if err != nil {
		return nil, err
	}
	return payload[off : off+n], nil
}

// frameLen returns the stored length of frame i, which begins at off of a payload of
// all bytes. payload may be its first bytes alone.
func frameLen(payload []byte, i, off, all int) (int, error) {
	switch end := (i + 1) * frameEntryLen; {
	case end > all:
		return 0, fmt.Errorf("frame table is cut off at entry %d", i)
	case end > len(payload):
		return 0, ErrCutOff
	}
	n := int64(binary.LittleEndian.Uint32(payload[i*frameEntryLen:]))
	if n == 0 || int64(off)+n > int64(all) {
		return 0, fmt.Errorf("frame %d: %d bytes at %d do not fit a payload of %d", i, n, off, all)
	}
	return int(n), nil
}
