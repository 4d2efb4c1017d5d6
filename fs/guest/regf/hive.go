package regf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"holdfast/fs/guest"
)

var le = binary.LittleEndian

const (
	baseLen  = 4096
	maxBins  = 2 << 30  // bytes of a hive, as Windows bounds it
	maxRead  = 16 << 20 // bytes of cells that one call reads
	maxCell  = 1 << 20
	maxMinor = 6
)

// Hive is an open hive. It is safe for concurrent use as far as its volume is.
type Hive struct {
	v    guest.Volume
	bins int64  // bytes of all bins
	root uint32 // place of the root key
	// Dirty tells that changes may lie in the hive's log only.
	Dirty bool
}

// Open reads a hive's base block. guest.ErrNotMine for another file,
// guest.ErrCorrupt where the base block was not written to its end,
// guest.ErrUnsupported for a version that is not known.
func Open(ctx context.Context, v guest.Volume) (*Hive, error) {
	h := &Hive{v: v}
	b := make([]byte, baseLen)
	if v.Size() < baseLen {
		return nil, guest.ErrNotMine
	}
	if err := h.read(ctx, b, 0); err != nil {
		return nil, err
	}
	switch major, minor := le.Uint32(b[20:]), le.Uint32(b[24:]); {
	case string(b[:4]) != "regf":
		return nil, guest.ErrNotMine
	case checksum(b) != le.Uint32(b[508:]):
		return nil, guest.Corrupt("hive: the checksum of its base block is wrong")
	case major != 1 || minor > maxMinor || le.Uint32(b[28:]) != 0 || le.Uint32(b[32:]) != 1:
		return nil, fmt.Errorf("hive of version %d.%d, type %d, format %d: %w", major, minor, le.Uint32(b[28:]), le.Uint32(b[32:]), guest.ErrUnsupported)
	}
	h.root, h.Dirty = le.Uint32(b[36:]), le.Uint32(b[4:]) != le.Uint32(b[8:])
	h.bins = min(int64(le.Uint32(b[40:])), maxBins, v.Size()-baseLen)
	return h, nil
}

// checksum is the xor of the words before it; 0 and -1 are never used.
func checksum(base []byte) (sum uint32) {
	for i := 0; i < 508; i += 4 {
		sum ^= le.Uint32(base[i:])
	}
	switch sum {
	case 0:
		return 1
	case 0xffffffff:
		return 0xfffffffe
	}
	return sum
}

// read fills b from a place of the file.
func (h *Hive) read(ctx context.Context, b []byte, off int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := h.v.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d of the hive: %w", len(b), off, err)
}

// call is one call of a method: it may read so many bytes.
type call struct {
	h    *Hive
	ctx  context.Context
	left int64
}

func (h *Hive) begin(ctx context.Context) *call { return &call{h, ctx, maxRead} }

// cell returns the content of a cell in use, at least need bytes.
func (c *call) cell(place uint32, need int) ([]byte, error) {
	at := int64(place)
	if at > c.h.bins-4 {
		return nil, guest.Corrupt("hive: cell %d lies behind the last bin", place)
	}
	var head [4]byte
	if err := c.h.read(c.ctx, head[:], baseLen+at); err != nil {
		return nil, err
	}
	size := -int64(int32(le.Uint32(head[:])))
	switch {
	case size < 4+int64(need) || size > c.h.bins-at:
		return nil, guest.Corrupt("hive: cell %d has %d bytes, %d are needed and %d left", place, size, 4+need, c.h.bins-at)
	case size > maxCell:
		return nil, fmt.Errorf("hive: cell %d has %d bytes: %w", place, size, guest.ErrUnsupported)
	}
	if c.left -= size; c.left < 0 {
		return nil, guest.Corrupt("hive: one key takes more than %d bytes to find", maxRead)
	}
	b := make([]byte, size-4)
	return b, c.h.read(c.ctx, b, baseLen+at+4)
}
