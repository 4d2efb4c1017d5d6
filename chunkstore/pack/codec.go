package pack

import (
	"fmt"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
)

// Slack is how much more capacity than the plain length a buffer needs for
// the decoder's fast path: klauspost/compress leaves its bounds-checked loop
// only when it may overwrite (measured: x1.4).
const Slack = 64

// Codec turns plain bytes into records and back, and proves what comes back.
// It is safe for concurrent use.
type Codec struct {
	ids       *hashers
	frameSums *hashers
	frameLog  uint8 // of records that Encode makes; 0: one frame
	enc       *zstd.Encoder
	dec       *zstd.Decoder
}

// NewCodec returns a codec for chunks named under key. frameSize is the plain
// bytes that decode alone in records it makes: a power of two from 4 KiB to
// MaxChunk; MaxChunk, or 0, means one frame a chunk. Reading knows every size.
func NewCodec(key Key, frameSize int) (*Codec, error) {
	var frameKey [32]byte
	blake3.DeriveKey("holdfast 2026-11-21 frame sum", key[:], frameKey[:])
	c := &Codec{ids: newHashers(key[:]), frameSums: newHashers(frameKey[:])}
	if frameSize != 0 && frameSize != MaxChunk {
		log, err := frameLogOf(frameSize)
		if err != nil {
			return nil, err
		}
		c.frameLog = log
	}
	var err error
	c.enc, err = zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithEncoderCRC(false), // the record's sum and the chunk id check more
		zstd.WithWindowSize(MaxChunk),
		zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("start compressor: %w", err)
	}
	c.dec, err = zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithDecoderMaxMemory(2*MaxChunk),
		zstd.WithDecodeAllCapLimit(true)) // a hostile frame can't grow past the buffer
	if err != nil {
		return nil, fmt.Errorf("start decompressor: %w", err)
	}
	return c, nil
}

// ID names plain bytes under the codec's key.
func (c *Codec) ID(plain []byte) ID { return c.ids.sum(plain) }

// Encode appends the record of plain, whose id the caller has computed, to
// buf and returns it. Bytes that don't shrink by at least a 32nd are stored as
// they are, frame by frame where there are frames. len(plain) must be 1 to
// MaxChunk.
func (c *Codec) Encode(buf []byte, kind Kind, id ID, plain []byte) Record {
	start := len(buf)
	h := header{kind: kind, codec: CodecZstd, plainLen: len(plain), id: id}
	buf = append(buf, make([]byte, RecordHeaderLen)...)
	if c.frameLog != 0 && len(plain) > 1<<c.frameLog {
		h.frameLog = c.frameLog
		buf = c.appendFrames(buf, id, plain)
	} else {
		buf = c.enc.EncodeAll(plain, buf)
	}
	if h.frameLog == 0 && tooLong(len(buf)-start-RecordHeaderLen, len(plain)) {
		h.codec = CodecRaw
		buf = append(buf[:start+RecordHeaderLen], plain...)
	}
	rec := buf[start:]
	h.payloadLen = len(rec) - RecordHeaderLen
	h.put(rec)
	h.sum = Sum(rec[:recordSumOff], rec[RecordHeaderLen:])
	copy(rec[recordSumOff:], h.sum[:])
	return Record{ID: id, Kind: kind, PlainLen: len(plain), Bytes: rec}
}

// tooLong reports whether a compressed length is not worth its decoding.
func tooLong(stored, plain int) bool { return stored > plain-plain/32 }

// Decode returns the plain bytes of the record at the start of rec, proved to
// be chunk want. It uses buf's capacity when that is at least the plain length
// plus Slack.
func (c *Codec) Decode(buf, rec []byte, want ID) ([]byte, error) {
	h, payload, err := openRecord(rec, want)
	if err != nil {
		return nil, err
	}
	return c.decodeWhole(buf, &h, payload)
}

// openRecord reads the header of the record at the start of rec, which must
// name chunk want, and returns it with the payload. It proves neither.
func openRecord(rec []byte, want ID) (h header, payload []byte, err error) {
	if h, err = openHeader(rec, want); err != nil {
		return header{}, nil, err
	}
	if len(rec) < RecordHeaderLen+h.payloadLen {
		return header{}, nil, fmt.Errorf("%w: %d of %d bytes", ErrCutOff, len(rec), RecordHeaderLen+h.payloadLen)
	}
	return h, rec[RecordHeaderLen : RecordHeaderLen+h.payloadLen], nil
}

// openHeader reads the header of a record of chunk want.
func openHeader(rec []byte, want ID) (header, error) {
	h, err := parseHeader(rec)
	if err == nil && h.id != want {
		err = fmt.Errorf("record is of chunk %v", h.id)
	}
	return h, err
}

// decodeWhole decodes a payload and proves it against the header's id.
func (c *Codec) decodeWhole(buf []byte, h *header, payload []byte) ([]byte, error) {
	plain, err := c.decodePayload(buf, h, payload)
	if err != nil {
		return nil, err
	}
	if id := c.ID(plain); id != h.id {
		return nil, fmt.Errorf("plain bytes have id %v", id)
	}
	return plain, nil
}

func (c *Codec) decodePayload(buf []byte, h *header, payload []byte) ([]byte, error) {
	if cap(buf) < h.plainLen+Slack {
		buf = make([]byte, 0, h.plainLen+Slack)
	}
	buf = buf[:0]
	switch {
	case h.codec == CodecRaw:
		return append(buf, payload...), nil
	case h.frameLog != 0:
		return c.decodeFrames(buf, h, payload)
	}
	return c.inflate(buf, payload, h.plainLen)
}

// inflate appends one zstd frame that must hold exactly n plain bytes. buf has
// the capacity for them.
func (c *Codec) inflate(buf, frame []byte, n int) (out []byte, err error) {
	defer func() {
		// The decoder is a library that reads stored bytes, which may be
		// anything: a fault in it must not end the process.
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("decompress: the decoder failed: %v", r)
		}
	}()
	start := len(buf)
	out, err = c.dec.DecodeAll(frame, buf)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if len(out)-start != n {
		return nil, fmt.Errorf("decompress: got %d bytes, want %d", len(out)-start, n)
	}
	return out, nil
}
