package pack

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/minio/minlz"
	"github.com/zeebo/blake3"

	"holdfast/chunkstore/blake"
)

// Codec turns plain bytes into records and back, and proves what comes back.
// It is safe for concurrent use.
type Codec struct {
	ids      *blake.Hasher
	frames   *blake.Hasher // their sums
	version  recordVersion // of records that Encode makes
	frameLog uint8         // of records that Encode makes; 0: one frame
	compress CodecID       // of records that Encode makes
	zstdEnc  *zstd.Encoder // of a codec that makes such records
	zstdDec  *zstd.Decoder
}

// NewCodec returns a codec for chunks named under key. frameSize is the plain
// bytes that decode alone in records it makes: a power of two from 4 KiB to
// MaxChunk; MaxChunk, or 0, means one frame a chunk. compress is CodecMinLZ or
// CodecZstd. The records are those of a store of this format, 1 or more. Reading knows
// every size, both codecs and the records of every format.
func NewCodec(key Key, frameSize int, compress CodecID, format int) (*Codec, error) {
	switch {
	case compress != CodecMinLZ && compress != CodecZstd:
		return nil, fmt.Errorf("%v does not compress", compress)
	case format < compress.Format():
		return nil, fmt.Errorf("a store of format %d has no records by %v", format, compress)
	}
	var frameKey [32]byte
	blake3.DeriveKey("holdfast 2026-11-21 frame sum", key[:], frameKey[:])
	c := &Codec{ids: blake.New(key[:]), frames: blake.New(frameKey[:]), compress: compress, version: versionFor(format)}
	if frameSize != 0 && frameSize != MaxChunk {
		log, err := frameLogOf(frameSize)
		if err != nil {
			return nil, err
		}
		c.frameLog = log
	}
	var err error
	if compress == CodecZstd {
		if c.zstdEnc, err = newZstdEncoder(); err != nil {
			return nil, fmt.Errorf("start compressor: %w", err)
		}
	}
	if c.zstdDec, err = newZstdDecoder(); err != nil {
		return nil, fmt.Errorf("start decompressor: %w", err)
	}
	return c, nil
}

// Encode appends the record of plain, whose id the caller has computed, to
// buf and returns it. Bytes that don't shrink by at least a 32nd are stored as
// they are, frame by frame where there are frames. len(plain) must be 1 to
// MaxChunk.
func (c *Codec) Encode(buf []byte, kind Kind, id ID, plain []byte) Record {
	return c.EncodeNamed(buf, kind, id, nil, plain)
}

// EncodeNamed is Encode for who has named plain by [Codec.NameMany] and kept the chains
// that came with its id: plain is not hashed again.
func (c *Codec) EncodeNamed(buf []byte, kind Kind, id ID, chains []Chain, plain []byte) Record {
	start := len(buf)
	h := header{version: c.version, kind: kind, codec: c.compress, plainLen: len(plain), id: id}
	buf = append(buf, make([]byte, RecordHeaderLen)...)
	if c.frameLog != 0 && len(plain) > 1<<c.frameLog {
		h.frameLog = c.frameLog
		buf = c.appendFrames(buf, id, chains, plain)
	} else {
		var shrunk bool
		if buf, shrunk = c.deflate(buf, plain, minlz.LevelBalanced); !shrunk {
			h.codec = CodecRaw
		}
	}
	rec := buf[start:]
	h.payloadLen = len(rec) - RecordHeaderLen
	h.put(rec)
	h.sum = h.version.sum(rec)
	copy(rec[recordSumOff:], h.sum[:])
	return Record{ID: id, Kind: kind, PlainLen: len(plain), Bytes: rec}
}

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
	return c.inflate(buf, payload, h.plainLen, h.codec)
}
