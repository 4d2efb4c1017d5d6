package xfs

import (
	"context"
	"fmt"

	"holdfast/fs/guest"
)

// The format of a changed buffer (Buffer Log Item): type 2, regions 2, flags 2,
// length in sectors 2, place in sectors 8, words of a bit map 4, and those
// words: a bit for each 128 bytes. Each run of bits is a region, or several.
const (
	bufferHead   = 20
	bufferChunk  = 128
	bufferInodes = 0x01 // only links of the list of unlinked inodes
	bufferCancel = 0x02
	bufferQuota  = 0x1c // user, project, group

	maxBuffer = maxBlockSize / sector
)

// logBuffer is such a format.
type logBuffer struct {
	extent
	flags   uint16
	changed []byte // words of the bit map
}

// parseBuffer reads a buffer's format.
func parseBuffer(it *item) (logBuffer, error) {
	b := it.regions[0]
	if len(b) < bufferHead {
		return logBuffer{}, fmt.Errorf("a changed buffer of %d bytes", len(b))
	}
	out := logBuffer{
		extent: extent{place: int64(le.Uint64(b[8:])), count: uint32(le.Uint16(b[6:]))},
		flags:  le.Uint16(b[4:]), changed: b[bufferHead:],
	}
	if words := uint64(le.Uint32(b[16:])); words < uint64(len(out.changed)/4) {
		out.changed = out.changed[:words*4]
	}
	out.changed = out.changed[:len(out.changed)&^3]
	return out, nil
}

// run gives the next run of changed parts from one on.
func (b *logBuffer) run(from int) (first, n int) {
	bit := func(i int) bool { return i < len(b.changed)*8 && le.Uint32(b.changed[i/32*4:])>>(i%32)&1 != 0 }
	for first = from; first < len(b.changed)*8 && !bit(first); first++ {
	}
	for bit(first + n) {
		n++
	}
	return first, n
}

// checkExtent bounds the places that the log may change: those of the volume,
// since the filesystem may have grown in the log itself.
func (f *FS) checkExtent(e extent) error {
	if e.place < 0 || e.count == 0 || e.count > maxBuffer || e.place > f.volume.Size()/sector-int64(e.count) {
		return guest.Corrupt("xfs log: it changes %d sectors at %d of %d", e.count, e.place, f.volume.Size()/sector)
	}
	return nil
}

// buffer replays a changed buffer: unless it was cancelled later, is newer on
// disk, or holds nothing that is read here.
func (r *replayer) buffer(ctx context.Context, it *item, lsn uint64) error {
	b, err := parseBuffer(it)
	if err != nil {
		return err
	}
	if b.flags&bufferCancel != 0 {
		r.cancels.passed(b.extent)
		return nil
	}
	if r.cancels.counts[b.extent] > 0 || b.flags&(bufferInodes|bufferQuota) != 0 {
		return nil
	}
	if err := r.fs.checkExtent(b.extent); err != nil {
		return err
	}
	newer, err := r.newerOnDisk(ctx, b.extent, lsn)
	if err != nil || newer {
		return err
	}
	return r.writeRuns(ctx, &b, it.regions[1:])
}

// writeRuns writes the changed parts.
func (r *replayer) writeRuns(ctx context.Context, b *logBuffer, regions [][]byte) error {
	for at := 0; ; {
		first, n := b.run(at)
		if n == 0 {
			return nil
		}
		if len(regions) == 0 {
			return guest.Corrupt("xfs log: the buffer at sector %d has too few regions", b.place)
		}
		n = min(n, len(regions[0])/bufferChunk)
		if n == 0 || int64(first+n)*bufferChunk > int64(b.count)*sector {
			return guest.Corrupt("xfs log: the buffer at sector %d has a region of %d bytes for part %d", b.place, len(regions[0]), first)
		}
		if err := r.fs.change(ctx, regions[0][:n*bufferChunk], b.place*sector+int64(first)*bufferChunk); err != nil {
			return err
		}
		at, regions = first+n, regions[1:]
	}
}

// newerOnDisk says that a buffer of version 5 holds the change already. One
// without an LSN of its own, or with another filesystem's, is older.
func (r *replayer) newerOnDisk(ctx context.Context, e extent, lsn uint64) (bool, error) {
	if !r.fs.sb.v5 {
		return false, nil
	}
	b, err := r.fs.current(ctx, e.place*sector, sector)
	if err != nil {
		return false, err
	}
	lsnAt, uuidAt := lsnPlaces(b)
	if lsnAt == 0 || [16]byte(b[uuidAt:]) != r.fs.sb.metaUUID && (lsnAt != superLSN || [16]byte(b[uuidAt:]) != r.fs.sb.uuid) {
		return false, nil
	}
	onDisk := be.Uint64(b[lsnAt:])
	return onDisk != 0 && onDisk != ^uint64(0) && onDisk >= lsn, nil
}

// Places of the LSN where there is no seal.
const (
	superLSN  = 240
	agfLSN    = 208
	agiLSN    = 320
	agflLSN   = 24
	agflUUID  = 8
	superUUID = 32
	agflMagic = 0x5841464c
)

// sealOf maps the magic number that a structure of version 5 begins with.
var sealOf = map[uint32]seal{
	0x41423342: sealShortTree, 0x41423343: sealShortTree, 0x49414233: sealShortTree, 0x46494233: sealShortTree,
	0x524d4233: sealShortTree, 0x52334643: sealShortTree, bmapMagicV5: sealLongTree,
	dirBlockMagicV5: sealDirData, dirDataMagicV5: sealDirData, 0x58444633: sealDirData, linkMagic: sealRemote,
	superMagic: {lsn: superLSN, uuid: superUUID}, agfMagic: {lsn: agfLSN, uuid: agfUUID},
	agiMagic: {lsn: agiLSN, uuid: agiUUID}, agflMagic: {lsn: agflLSN, uuid: agflUUID},
}

// lsnPlaces gives where a structure keeps its LSN and uuid, or zeros.
func lsnPlaces(b []byte) (lsn, uuid int) {
	s, ok := sealOf[be.Uint32(b)]
	if !ok {
		switch be.Uint16(b[8:]) {
		case nodeMagicV5, leaf1V5, leafNV5, attrLeafV5:
			s = sealDa
		}
	}
	return s.lsn, s.uuid
}
