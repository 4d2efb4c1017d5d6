package qcow2

import (
	"encoding/binary"

	"holdfast/capture/source"
)

const (
	offsetMask     = 0x00fffffffffffe00 // bits 9-55 of an L1 or L2 entry
	flagZero       = 1 << 0
	flagCompressed = 1 << 62
	flagCopied     = 1 << 63

	tableBlock   = 16 << 10 // most bytes of a table that are read at once
	l1CacheBytes = 256 << 10
	l2CacheBytes = 2 << 20
)

// kind says where the bytes of a run come from.
type kind int

const (
	kindBacking    kind = iota // unallocated: the backing image, or zeros
	kindZero                   // zeros, whatever the backing image holds
	kindData                   // bytes of the data file
	kindCompressed             // one compressed cluster
)

// run is a stretch of guest bytes of one kind that lies in one piece.
type run struct {
	kind   kind
	length int64  // guest bytes
	host   int64  // kindData: where they begin in the data file
	entry  uint64 // kindCompressed: the L2 entry
	guest  int64  // kindCompressed: the first guest byte of the cluster
}

// tables finds runs. Safe for concurrent use.
type tables struct {
	f    *source.File
	data *source.File // equals f without an external data file
	h    *header
	l1   *blocks
	l2   *blocks
}

func newTables(f *source.File, h *header) *tables {
	return &tables{
		f: f, data: f, h: h,
		l1: &blocks{f: f, length: tableBlock, cache: source.NewCache(l1CacheBytes)},
		// Small L2 tables lie between clusters of data, not in a row.
		l2: &blocks{f: f, length: min(tableBlock, h.clusterSize()), cache: source.NewCache(l2CacheBytes)},
	}
}

// blocks caches pieces of tables, each read from a multiple of length in the
// file. The length is a power of two, at least that of an entry.
type blocks struct {
	f      *source.File
	length int64
	cache  *source.Cache
}

// entries returns the entries of a table from byte off of the file on, at
// least one of n bytes: as many as lie before byte end of the file, where the
// table ends, and in the same block.
func (b *blocks) entries(off, end, n int64, what string) ([]byte, error) {
	size := b.f.Size()
	if off < 0 || off > size-n {
		return nil, b.f.Corrupt(off, "%s reaches beyond the end of the file (%d bytes): the image is truncated", what, size)
	}
	start := off - off%b.length
	block, err := b.cache.Get(start, func() ([]byte, error) {
		p := make([]byte, min(b.length, size-start))
		return p, b.f.ReadFull(p, start, what)
	})
	if err != nil {
		return nil, err
	}
	// No entry is cut in two: tables and blocks begin at multiples of n.
	return block[off-start : min(int64(len(block)), end-start)], nil
}

// run describes the run at guest byte off, which must lie in the disk. It
// ends where its kind or place changes, at the end of the disk, or earlier,
// where a block of the tables ends or once it has limit bytes.
func (t *tables) run(off, limit int64) (run, error) {
	h := t.h
	perL1 := h.perL2() << h.clusterLog
	l1Index := off / perL1
	l1, err := t.l1.entries(h.l1Off+l1Index*8, h.l1Off+h.l1Entries*8, 8, "the L1 table")
	if err != nil {
		return run{}, err
	}
	l2Off := int64(binary.BigEndian.Uint64(l1) & offsetMask)
	if l2Off == 0 {
		return t.emptyRun(off, l1Index, l1), nil
	}
	if l2Off%h.clusterSize() != 0 {
		return run{}, t.f.Corrupt(h.l1Off+l1Index*8, "the L2 table at byte %d does not begin at a cluster", l2Off)
	}
	entryOff := l2Off + off%perL1>>h.clusterLog*h.entryLen()
	l2, err := t.l2.entries(entryOff, l2Off+h.clusterSize(), h.entryLen(), "an L2 table")
	if err != nil {
		return run{}, err
	}
	return t.runOf(off, min(limit, h.size-off), l2, entryOff)
}

// emptyRun counts the L1 entries without a table from l1Index on.
func (t *tables) emptyRun(off, l1Index int64, l1 []byte) run {
	n := int64(0)
	for ; len(l1) >= 8 && l1Index+n < t.h.l1Entries; l1 = l1[8:] {
		if binary.BigEndian.Uint64(l1)&offsetMask != 0 {
			break
		}
		n++
	}
	perL1 := t.h.perL2() << t.h.clusterLog
	if l1Index+n == t.h.l1Entries {
		return run{kind: kindBacking, length: t.h.size - off}
	}
	return run{kind: kindBacking, length: (l1Index+n)*perL1 - off}
}

// runOf joins the parts of clusters at off, whose L2 entries begin l2 (which
// lies at byte entryOff), as long as each goes on where the last one ended,
// up to limit bytes.
func (t *tables) runOf(off, limit int64, l2 []byte, entryOff int64) (run, error) {
	first, err := t.part(off, l2, entryOff)
	if err != nil || first.kind == kindCompressed {
		first.length = min(first.length, limit)
		return first, err
	}
	for pos := off + first.length; pos < off+limit; pos = off + first.length {
		if pos%t.h.clusterSize() == 0 {
			if l2 = l2[t.h.entryLen():]; int64(len(l2)) < t.h.entryLen() {
				break
			}
			entryOff += t.h.entryLen()
		}
		next, err := t.part(pos, l2, entryOff)
		if err != nil { // met again, and told, when that place is asked for
			break
		}
		if next.kind != first.kind || next.kind == kindData && next.host != first.host+first.length {
			break
		}
		first.length += next.length
	}
	first.length = min(first.length, limit)
	return first, nil
}

// part describes guest byte off to the end of its cluster or subcluster by
// the L2 entry that begins l2.
func (t *tables) part(off int64, l2 []byte, entryOff int64) (run, error) {
	entry, within := binary.BigEndian.Uint64(l2), off%t.h.clusterSize()
	if entry&flagCompressed != 0 {
		if t.data != t.f {
			return run{}, t.f.Corrupt(entryOff, "a compressed cluster in an image with an external data file")
		}
		return run{kind: kindCompressed, length: t.h.clusterSize() - within, entry: entry, guest: off - within}, nil
	}
	host := int64(entry & offsetMask)
	// Byte 0 is the header of an image, but a fair place in a data file.
	allocated := host != 0 || t.data != t.f && entry&flagCopied != 0
	if host%t.h.clusterSize() != 0 {
		return run{}, t.f.Corrupt(entryOff, "the cluster at byte %d does not begin at a multiple of %d", host, t.h.clusterSize())
	}
	r := run{kind: kindBacking, length: t.h.clusterSize() - within, host: host + within}
	var err error
	switch {
	case t.h.extendedL2():
		r, err = t.subPart(r, within, binary.BigEndian.Uint64(l2[8:]), allocated, entryOff)
	case entry&flagZero != 0 && t.h.version < 3:
		err = t.f.Corrupt(entryOff, "a zero cluster in an image of version 2")
	case entry&flagZero != 0:
		r.kind = kindZero
	case allocated:
		r.kind = kindData
	}
	if err == nil && r.kind == kindData {
		r.kind, err = t.checkData(host, r.host)
	}
	return r, err
}

// checkData tells a cluster at byte host that the end of the file cuts short,
// which is fine (see File.ReadPadded) and makes zeros of its byte at, from one
// that is lost.
func (t *tables) checkData(host, at int64) (kind, error) {
	size := t.data.Size()
	switch {
	case host >= size:
		return 0, t.data.Corrupt(host, "a data cluster beyond the end of the file (%d bytes): the image is truncated", size)
	case at < size:
		return kindData, nil
	case size%source.SectorSize == 0:
		return kindZero, nil
	}
	return 0, t.data.Corrupt(size, "the file ends inside of a sector: the image is truncated")
}

// subPart narrows r to the subcluster that holds byte within of its cluster.
func (t *tables) subPart(r run, within int64, bitmap uint64, allocated bool, entryOff int64) (run, error) {
	subSize := t.h.clusterSize() / subclusters
	bit := within / subSize
	has, zero := bitmap>>bit&1 != 0, bitmap>>(subclusters+bit)&1 != 0
	r.length = subSize - within%subSize
	switch {
	case has && zero:
		return r, t.f.Corrupt(entryOff, "subcluster %d is both allocated and zero", bit)
	case has && !allocated:
		return r, t.f.Corrupt(entryOff, "subcluster %d is allocated in a cluster that is not", bit)
	case zero:
		r.kind = kindZero
	case has:
		r.kind = kindData
	}
	return r, nil
}
