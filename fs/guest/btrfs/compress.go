package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	lzo "github.com/anchore/go-lzo"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"holdfast/fs/guest"
)

// decoders decode a compressed extent into out, by the number of the
// compression. What the stream leaves of out stays as it is; what follows it
// is padding.
var decoders = [...]func(out, b []byte, sector int) error{
	1: decodeZlib, 2: decodeLZO, 3: decodeZstd,
}

// decode decodes an extent of length bytes.
func (f *FS) decode(compression byte, b []byte, length uint64) ([]byte, error) {
	out := make([]byte, length)
	if err := decoders[compression](out, b, int(f.sb.sectorSize)); err != nil {
		return nil, guest.Corrupt("btrfs: a compressed extent: %v", err)
	}
	return out, nil
}

// full fills out from r; a stream that ends well before leaves the rest.
func full(r io.Reader, out []byte) error {
	for n := 0; n < len(out); {
		m, err := r.Read(out[n:])
		n += m
		if errors.Is(err, io.EOF) || n > 0 && errors.Is(err, zstd.ErrMagicMismatch) { // padding
			return nil
		}
		if err != nil && n < len(out) {
			return err
		}
	}
	return nil
}

var zlibReaders sync.Pool

func decodeZlib(out, b []byte, _ int) error {
	r, _ := zlibReaders.Get().(io.ReadCloser)
	if r == nil {
		var err error
		if r, err = zlib.NewReader(bytes.NewReader(b)); err != nil {
			return err
		}
	} else if err := r.(zlib.Resetter).Reset(bytes.NewReader(b), nil); err != nil {
		return err
	}
	err := full(r, out)
	zlibReaders.Put(r)
	return err
}

var zstdReaders sync.Pool

// zstdWindow is the largest window that is decoded; the kernel makes none
// above 128 KiB.
const zstdWindow = 1 << 20

func decodeZstd(out, b []byte, _ int) error {
	r, _ := zstdReaders.Get().(*zstd.Decoder)
	if r == nil {
		var err error
		r, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return err
		}
	}
	err := r.Reset(bytes.NewReader(b))
	if err == nil {
		err = full(r, out)
	}
	zstdReaders.Put(r)
	return err
}

// decodeLZO decodes segments of a sector each. All of it begins with its length
// in 4 bytes, and so does each segment; such a length never lies across the end
// of a sector, what would be its place there is padding (fs/btrfs/lzo.c).
func decodeLZO(out, b []byte, sector int) error {
	const lengthLen = 4
	if len(b) < lengthLen {
		return io.ErrUnexpectedEOF
	}
	total := uint64(le.Uint32(b))
	if total < lengthLen || total > uint64(len(b)) {
		return fmt.Errorf("lzo of %d bytes in %d", total, len(b))
	}
	b = b[:total]
	segment := make([]byte, sector)
	for at := lengthLen; at < len(b) && len(out) > 0; {
		if left := sector - at%sector; left < lengthLen {
			at += left
		}
		if at+lengthLen > len(b) {
			break
		}
		n := uint64(le.Uint32(b[at:]))
		at += lengthLen
		if n > uint64(len(b)-at) || n > uint64(2*sector) {
			return fmt.Errorf("an lzo segment of %d bytes at %d of %d", n, at, len(b))
		}
		m, err := lzo.Decompress(b[at:at+int(n)], segment)
		if err != nil {
			return err
		}
		at += int(n)
		out = out[copy(out, segment[:m]):]
	}
	return nil
}
