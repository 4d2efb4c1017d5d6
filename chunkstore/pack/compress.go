package pack

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/klauspost/compress/zstd"
	"github.com/minio/minlz"
)

// Slack is how much more capacity than the plain length a buffer needs for
// zstd's fast path: klauspost/compress leaves its bounds-checked loop only when
// it may overwrite (measured: x1.4).
const Slack = 64

// frameLevel is the level of MinLZ for frame i of n in a record: the first half is
// compressed at the fastest level, the others, and records of one frame, at the
// balanced one. A first capture takes 0.91 of the CPU time for 4.8 % more space than
// at the balanced level alone; choosing by what the bytes are lies on the same line.
// Disks of a Debian in frames of 16 KiB, bytes stored, and plain MB a second of one core
// (2 × AMD EPYC):
//
//	               stored  encode  decode
//	zstd, fastest    1.00     250     835
//	MinLZ, balanced  1.15     420   1,650
//	MinLZ, fastest   1.26     740   1,900
func frameLevel(i, n int) int {
	if 2*i < n {
		return minlz.LevelFastest
	}
	return minlz.LevelBalanced
}

func newZstdEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithEncoderCRC(false), // the record's sum and the chunk id check more
		zstd.WithWindowSize(MaxChunk),
		zstd.WithLowerEncoderMem(true))
}

func newZstdDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithDecoderMaxMemory(2*MaxChunk),
		zstd.WithDecodeAllCapLimit(true)) // a hostile frame can't grow past the buffer
}

// deflate appends one frame of plain to buf. Bytes that don't shrink by at least
// a 32nd are not worth their decoding and are appended as they are; shrunk is then
// false, and else the frame is shorter than plain. level is MinLZ's, where that compresses.
func (c *Codec) deflate(buf, plain []byte, level int) (out []byte, shrunk bool) {
	start := len(buf)
	if c.compress == CodecZstd {
		buf = c.zstdEnc.EncodeAll(plain, buf)
	} else {
		buf = slices.Grow(buf, minlz.MaxEncodedLen(len(plain)))
		buf = buf[:start+len(minlz.TryEncode(buf[start:], plain, level))]
	}
	// Few bytes may become as many, which the share allows below 32.
	if n := len(buf) - start; n == 0 || n >= len(plain) || n > len(plain)-len(plain)/32 {
		return append(buf[:start], plain...), false
	}
	return buf, true
}

// inflate appends one frame that must hold exactly n plain bytes. buf has the
// capacity for them.
func (c *Codec) inflate(buf, frame []byte, n int, by CodecID) (out []byte, err error) {
	defer func() {
		// The decoders are libraries that read stored bytes, which may be
		// anything: a panic in them must not end the process.
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("decompress: the decoder failed: %v", r)
		}
	}()
	start := len(buf)
	if by == CodecMinLZ {
		out, err = inflateMinLZ(buf, frame, n)
	} else {
		out, err = c.zstdDec.DecodeAll(frame, buf)
	}
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if len(out)-start != n {
		return nil, fmt.Errorf("decompress: got %d bytes, want %d", len(out)-start, n)
	}
	return out, nil
}

// inflateMinLZ appends one block, which says itself how long it will be, to buf.
func inflateMinLZ(buf, block []byte, n int) ([]byte, error) {
	switch is, size, err := minlz.IsMinLZ(block); {
	case err != nil:
		return nil, err
	case !is || size != n: // the library would also read S2 and Snappy
		return nil, fmt.Errorf("not a block of %d bytes", n)
	}
	plain, err := minlz.Decode(buf[len(buf):], block)
	if err != nil {
		return nil, err
	}
	return buf[:len(buf)+len(plain)], nil
}
