package lvm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sync"

	"holdfast/fs/guest"
	"holdfast/fs/guest/volume/mapped"
)

const (
	sectorSize  = 512
	mdaHeader   = 512 // bytes of a metadata area before its ring
	maxText     = 4 << 20
	maxAreas    = 4 // LVM makes two at most
	mdaMagic    = " LVM2 x[5A%r0N*>"
	flagIgnored = 1
)

// PV is a physical volume.
type PV struct {
	UUID string // as lvm prints it, in groups
	Size int64  // as its header says
	On   *mapped.Device
	// Group is the name of its volume group, "" when its metadata areas are
	// empty or hold no readable text. Note says why.
	Group string
	Note  string

	group string // the group's id
	text  []byte // the newest text in its areas
	seqno int64
}

// heads are buffers for the sectors in which a label may be. Most devices are probed for
// one, and have none.
var heads = sync.Pool{New: func() any { return new([4 * sectorSize]byte) }}

// Probe reads the label, and the metadata text, of a physical volume.
// guest.ErrNotMine when the device is none.
func Probe(ctx context.Context, d *mapped.Device) (*PV, error) {
	head := heads.Get().(*[4 * sectorSize]byte)[:]
	defer heads.Put((*[4 * sectorSize]byte)(head))
	if _, err := readAt(ctx, d, head, 0); err != nil {
		if d.Size() < int64(len(head)) {
			return nil, guest.ErrNotMine
		}
		return nil, err
	}
	for i := range int64(4) {
		sector := head[i*sectorSize:][:sectorSize]
		if string(sector[:8]) != "LABELONE" || string(sector[24:32]) != "LVM2 001" {
			continue
		}
		le := binary.LittleEndian
		if le.Uint64(sector[8:]) != uint64(i) || le.Uint32(sector[16:]) != checksum(sector[20:]) {
			continue
		}
		if off := le.Uint32(sector[20:]); off >= 32 && off <= sectorSize-64 {
			return readPV(ctx, d, sector[off:])
		}
	}
	return nil, guest.ErrNotMine
}

// readPV reads a PV header and the areas that it lists.
func readPV(ctx context.Context, d *mapped.Device, b []byte) (*PV, error) {
	pv := &PV{On: d, UUID: groupID(string(b[:32])), Size: clampInt64(binary.LittleEndian.Uint64(b[32:]))}
	b = b[40:]
	_, b = areas(b)
	mdas, _ := areas(b)
	for _, a := range mdas {
		text, err := readText(ctx, d, a)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			pv.Note = err.Error()
			continue
		}
		if name, id, seqno, ok := peek(text); ok && (pv.text == nil || seqno > pv.seqno) {
			pv.text, pv.seqno, pv.Group, pv.group = text, seqno, name, id
		}
	}
	return pv, nil
}

// areas reads a list of areas; it gives what follows the list.
func areas(b []byte) (list []guest.Range, rest []byte) {
	le := binary.LittleEndian
	for len(b) >= 16 {
		off, size := le.Uint64(b), le.Uint64(b[8:])
		b = b[16:]
		if off == 0 {
			break
		}
		if len(list) < maxAreas {
			list = append(list, guest.Range{Offset: clampInt64(off), Length: clampInt64(size)})
		}
	}
	return list, b
}

// readText reads the committed text of a metadata area; nil when it is empty
// or set to be ignored.
func readText(ctx context.Context, d *mapped.Device, area guest.Range) ([]byte, error) {
	h := make([]byte, mdaHeader)
	if _, err := readAt(ctx, d, h, area.Offset); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if le.Uint32(h) != checksum(h[4:]) || string(h[4:20]) != mdaMagic || le.Uint32(h[20:]) != 1 {
		return nil, guest.Corrupt("metadata area at byte %d of a physical volume", area.Offset)
	}
	start, size := clampInt64(le.Uint64(h[24:])), clampInt64(le.Uint64(h[32:]))
	off, length := clampInt64(le.Uint64(h[40:])), clampInt64(le.Uint64(h[48:]))
	if off == 0 || length == 0 || le.Uint32(h[60:])&flagIgnored != 0 {
		return nil, nil
	}
	if start != area.Offset || size > d.Size()-start || size <= mdaHeader || off < mdaHeader || off >= size || length > min(maxText, size-mdaHeader) {
		return nil, guest.Corrupt("metadata area at byte %d: text of %d bytes at %d in %d bytes", area.Offset, length, off, size)
	}
	text := make([]byte, length)
	first := min(length, size-off)
	if _, err := readAt(ctx, d, text[:first], start+off); err != nil {
		return nil, err
	}
	if _, err := readAt(ctx, d, text[first:], start+mdaHeader); err != nil {
		return nil, err
	}
	if checksum(text) != le.Uint32(h[56:]) {
		return nil, guest.Corrupt("metadata text at byte %d has a wrong checksum", start+off)
	}
	return text, nil
}

// checksum is LVM's: a CRC-32 with a start of its own and no last inversion.
func checksum(b []byte) uint32 {
	const start = 0xf597a6cf
	return ^crc32.Update(^uint32(start), crc32.IEEETable, b)
}

// groupID sets an id of 32 letters in groups, as LVM prints it.
func groupID(id string) string {
	if len(id) != 32 {
		return id
	}
	return fmt.Sprintf("%s-%s-%s-%s-%s-%s-%s", id[:6], id[6:10], id[10:14], id[14:18], id[18:22], id[22:26], id[26:])
}

// readAt fills p, or fails.
func readAt(ctx context.Context, r io.ReaderAt, p []byte, off int64) (int, error) {
	if err := ctx.Err(); err != nil || len(p) == 0 {
		return 0, err
	}
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func clampInt64(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
