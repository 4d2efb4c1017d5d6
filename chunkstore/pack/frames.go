package pack

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"

	"holdfast/chunkstore/blake"
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

// frameSums are frames whose sums are computed together.
type frameSums struct {
	messages [maxFrames]blake.Message
	bound    [maxFrames][len(Chain{}) + len(ID{})]byte // what binds a frame to its chunk
	chains   [maxFrames]Chain
	full     [maxFrames][32]byte
}

var frameSumsPool = sync.Pool{New: func() any { return new(frameSums) }}

// sumFrames calls do with the sum of each frame of plain, which begins with
// frame first of chunk id, in a record of version v; do stops it by returning false.
// plain is not the whole chunk where there is one frame. chains are the frames', or nil.
func (c *Codec) sumFrames(v recordVersion, plain []byte, chains []Chain, id *ID, first int, log uint8, do func(i int, sum []byte) bool) {
	f := frameSumsPool.Get().(*frameSums)
	n := frameCount(len(plain), log)
	if v == recordV1 {
		f.bindPlaces(plain, id, first, log)
	} else {
		if len(chains) != n {
			chains = f.chains[:n]
			c.ids.Nodes(chains, plain, log, first)
		}
		f.bindChains(chains, id)
	}
	blake.SumMany(c.frames, f.full[:], f.messages[:n])
	clear(f.messages[:n])
	for k := range n {
		if !do(first+k, f.full[k][:sumLen]) {
			break
		}
	}
	frameSumsPool.Put(f)
}

// bindPlaces sets the messages of frames: their bytes, the chunk and their numbers.
func (f *frameSums) bindPlaces(plain []byte, id *ID, first int, log uint8) {
	for k := range frameCount(len(plain), log) {
		from, to := framePlain(len(plain), log, k)
		copy(f.bound[k][:], id[:])
		f.bound[k][len(id)] = byte(first + k)
		f.messages[k] = blake.Message{plain[from:to], f.bound[k][:len(id)+1]}
	}
}

// bindChains sets the messages of frames: their chaining values, in which their places
// are, and the chunk.
func (f *frameSums) bindChains(chains []Chain, id *ID) {
	for k := range chains {
		copy(f.bound[k][copy(f.bound[k][:], chains[k][:]):], id[:])
		f.messages[k] = blake.Message{f.bound[k][:]}
	}
}

// appendFrames appends the frame table and the frames of plain. chains are the frames', or nil.
func (c *Codec) appendFrames(buf []byte, id ID, chains []Chain, plain []byte) []byte {
	n := frameCount(len(plain), c.frameLog)
	table := len(buf)
	buf = append(buf, make([]byte, n*frameEntryLen)...)
	for i := range n {
		from, to := framePlain(len(plain), c.frameLog, i)
		start := len(buf)
		buf, _ = c.deflate(buf, plain[from:to], frameLevel(i, n))
		binary.LittleEndian.PutUint32(buf[table+i*frameEntryLen:], uint32(len(buf)-start))
	}
	c.sumFrames(c.version, plain, chains, &id, 0, c.frameLog, func(i int, sum []byte) bool {
		copy(buf[table+i*frameEntryLen+4:], sum)
		return true
	})
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
