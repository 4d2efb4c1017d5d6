package xfs

import (
	"context"
	"fmt"
	"hash/crc32"
)

// A record's header (Log Records) fills a sector, and in logs of version 2
// another for each 32 KiB beyond the first that a record could have:
//
//	0 magic  4 cycle  8 version  12 data length  16 LSN  24 LSN of the tail
//	32 checksum  40 operations  44 first words of 64 sectors of data
//	300 format  304 uuid  320 size that a record could have
//	further ones: 0 cycle  4 first words of 64 sectors
//
// The checksum covers the header's 328 bytes (324 where a kernel of 32 bits
// wrote it), 260 of each further one that the data need, and the data as they
// lie on disk. Where a
// record goes around the end of the ring, the cycles in its second part are
// one higher.
const (
	recordMagic   = 0xfeedbabe
	recordSum     = 32
	recordWords   = 44
	recordLen64   = 328
	recordLen32   = 324
	extraLen      = 260
	wordsPer      = 64
	headerCovers  = 32 << 10
	formatLinuxLE = 1
)

// record is one record, verified; data has its first words back.
type record struct {
	lsn, tail  uint64
	cycle      uint32
	place      int64 // of the header
	sectors    int64 // with the headers
	operations uint32
	data       []byte
}

func lsnOf(cycle uint32, place int64) uint64 { return uint64(cycle)<<32 | uint64(place) }

// lsnPlace is the sector that an LSN names.
func lsnPlace(lsn uint64) int64 { return int64(uint32(lsn)) }

// record reads and verifies the record at a place.
func (l *log) record(ctx context.Context, place int64) (*record, error) {
	h, err := l.read(ctx, place, 1)
	if err != nil {
		return nil, err
	}
	r := &record{lsn: be.Uint64(h[16:]), tail: be.Uint64(h[24:]), cycle: be.Uint32(h[4:]), place: place, operations: be.Uint32(h[40:])}
	length, headers := int64(be.Uint32(h[12:])), int64(1)
	if size := int64(be.Uint32(h[320:])); be.Uint32(h[8:])&2 != 0 && size > headerCovers {
		headers = (size + headerCovers - 1) / headerCovers
	}
	r.sectors = headers + (length+sector-1)/sector
	bad := func(what string) error { return fmt.Errorf("log record at sector %d: %s", place, what) }
	switch {
	case be.Uint32(h) != recordMagic || r.lsn != lsnOf(r.cycle, place):
		return nil, bad("there is none")
	case headers > 8 || r.sectors > min(maxRecordSectors, l.sectors):
		return nil, bad(fmt.Sprintf("%d bytes behind %d headers", length, headers))
	case headers < (length+headerCovers-1)/headerCovers:
		return nil, bad("more data than its headers cover")
	case be.Uint32(h[300:]) != formatLinuxLE:
		return nil, bad(fmt.Sprintf("format %d, not that of a little-endian Linux", be.Uint32(h[300:])))
	case !l.ours([16]byte(h[304:])):
		return nil, bad("it is another filesystem's")
	}
	b, err := l.read(ctx, place, r.sectors)
	if err != nil {
		return nil, err
	}
	if !l.recordSumOK(b, headers, length) {
		return nil, bad("its checksum is wrong")
	}
	if !r.restoreWords(b, headers, l.sectors) {
		return nil, bad("it was not written whole")
	}
	r.data = b[headers*sector:][:length]
	return r, nil
}

// ours says that a record's uuid is that of the filesystem; an old log has none.
func (l *log) ours(uuid [16]byte) bool {
	return uuid == l.fs.sb.uuid || uuid == l.fs.sb.metaUUID || !l.fs.sb.v5 && uuid == [16]byte{}
}

// recordSumOK verifies a record's checksum. Old logs have none, nor has the
// record that mkfs.xfs writes.
func (l *log) recordSumOK(b []byte, headers, length int64) bool {
	want := le.Uint32(b[recordSum:])
	if want == 0 || l.fs.lax {
		return true
	}
	for _, first := range []int{recordLen64, recordLen32} {
		sum := sumWithout(b[:first], recordSum)
		for i := int64(1); i < (length+headerCovers-1)/headerCovers; i++ {
			sum = crc32.Update(sum, castagnoli, b[i*sector:][:extraLen])
		}
		if crc32.Update(sum, castagnoli, b[headers*sector:][:length]) == want {
			return true
		}
	}
	return false
}

// restoreWords checks the cycle of each sector and puts the data's first words
// back. ring is the log's length in sectors.
func (r *record) restoreWords(b []byte, headers, ring int64) bool {
	for i := int64(1); i < r.sectors; i++ {
		want := r.cycle
		if r.place+i >= ring {
			if want++; want == recordMagic {
				want++
			}
		}
		at := b[i*sector:]
		if be.Uint32(at) != want {
			return false
		}
		nth := i - headers
		switch {
		case nth < 0:
		case nth < wordsPer:
			copy(at[:4], b[recordWords+4*nth:])
		default:
			copy(at[:4], b[nth/wordsPer*sector+4+4*(nth%wordsPer):])
		}
	}
	return true
}
