package vmdk

import (
	"bytes"
	"encoding/binary"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"

	"holdfast/capture/source"
)

// sparse is one sparse extent file. Safe for concurrent use.
type sparse struct {
	*caches
	f *source.File
	h *sparseHeader
}

const (
	dirCacheBytes      = 1 << 20
	tableCacheBytes    = 4 << 20
	inflatedCacheBytes = 8 << 20
)

// caches are shared by all extents of an image, however many it lists.
type caches struct {
	dirs     *source.KeyedCache[place] // blocks of grain directories
	tables   *source.KeyedCache[place] // grain tables
	inflated *source.KeyedCache[place] // grains
	readers  sync.Pool                 // of zlib readers: making one costs more than a grain
}

// place is a byte of an extent's file, or of its grain directory.
type place struct {
	extent *sparse
	off    int64
}

func newCaches() *caches {
	return &caches{
		dirs:     source.NewKeyedCache[place](dirCacheBytes),
		tables:   source.NewKeyedCache[place](tableCacheBytes),
		inflated: source.NewKeyedCache[place](inflatedCacheBytes),
	}
}

// kind says where the bytes of a run come from.
type kind int

const (
	kindParent     kind = iota // unallocated: the parent, or zeros
	kindZero                   // zeros
	kindData                   // bytes of the file
	kindCompressed             // one compressed grain
)

// run is a stretch of an extent's bytes that lies in one piece.
type run struct {
	kind   kind
	length int64
	host   int64 // kindData: where it begins in the file; kindCompressed: the grain's header
}

// run describes the run at byte off of the extent, which must lie in its
// capacity. It may reach beyond the capacity, to the end of a grain, but is
// not followed further than limit bytes.
func (s *sparse) run(off, limit int64) (run, error) {
	index := off / s.h.perTable()
	tableOff, empty, err := s.table(index)
	if err != nil {
		return run{}, err
	}
	if tableOff == 0 {
		return run{kind: kindParent, length: (index+empty)*s.h.perTable() - off}, nil
	}
	table, err := s.tables.Get(place{s, tableOff}, func() ([]byte, error) {
		if tableOff >= s.f.Size() {
			return nil, s.f.Corrupt(tableOff, "a grain table beyond the end of the file (%d bytes): the image is truncated", s.f.Size())
		}
		b := make([]byte, s.h.gtEntries*4)
		return b, s.f.ReadFull(b, tableOff, "grain table")
	})
	if err != nil {
		return run{}, err
	}
	return s.runOf(off, min(limit, s.h.capacity-off), table)
}

// table returns the byte of grain table index; if it is 0, also how many
// tables from index on are missing.
func (s *sparse) table(index int64) (off, empty int64, err error) {
	start := index * 4 / directoryRead * directoryRead
	b, err := s.dirs.Get(place{s, start}, func() ([]byte, error) {
		b := make([]byte, min(directoryRead, s.h.dirEntries*4-start))
		return b, s.f.ReadFull(b, s.h.dirOff+start, "grain directory")
	})
	if err != nil {
		return 0, 0, err
	}
	for b = b[index*4-start:]; len(b) > 0; b = b[4:] {
		if sector := binary.LittleEndian.Uint32(b); sector != 0 {
			if empty == 0 {
				return int64(sector) * source.SectorSize, 0, nil
			}
			break
		}
		empty++
	}
	return 0, empty, nil
}

// runOf joins grains from off on as long as each goes on where the last ended.
func (s *sparse) runOf(off, limit int64, table []byte) (run, error) {
	grain := off % s.h.perTable() / s.h.grain
	first, err := s.part(table, grain, off%s.h.grain)
	if err != nil || first.kind == kindCompressed {
		return first, err
	}
	for grain++; grain < s.h.gtEntries && first.length < limit; grain++ {
		next, err := s.part(table, grain, 0)
		if err != nil { // met again, and told, when that place is asked for
			break
		}
		if next.kind != first.kind || next.kind == kindData && next.host != first.host+first.length {
			break
		}
		first.length += next.length
	}
	return first, nil
}

// part describes a grain from its byte within on.
func (s *sparse) part(table []byte, grain, within int64) (run, error) {
	sector := binary.LittleEndian.Uint32(table[grain*4:])
	host := int64(sector) * source.SectorSize
	r := run{length: s.h.grain - within}
	switch {
	case sector == 0:
		return r, nil
	case sector == 1 && s.h.flags&flagZeroedGrain != 0:
		r.kind = kindZero
		return r, nil
	case host >= s.f.Size():
		return run{}, s.f.Corrupt(host, "a grain beyond the end of the file (%d bytes): the image is truncated", s.f.Size())
	case s.h.compressed():
		r.kind, r.host = kindCompressed, host
	case host+within < s.f.Size():
		r.kind, r.host = kindData, host+within
	case s.f.Size()%source.SectorSize == 0: // a short last grain: see File.ReadPadded
		r.kind = kindZero
	default:
		return run{}, s.f.Corrupt(s.f.Size(), "the file ends inside of a sector: the image is truncated")
	}
	return r, nil
}

// grainAt inflates the compressed grain at byte host, which holds the
// extent's bytes from off on. The bytes are shared and must not be written.
func (s *sparse) grainAt(host, off int64) ([]byte, error) {
	return s.inflated.Get(place{s, host}, func() ([]byte, error) {
		var head [12]byte
		if err := s.f.ReadFull(head[:], host, "header of a compressed grain"); err != nil {
			return nil, err
		}
		n := int64(binary.LittleEndian.Uint32(head[8:]))
		if n > 2*s.h.grain+1024 {
			return nil, s.f.Corrupt(host+8, "a compressed grain of %d bytes for %d", n, s.h.grain)
		}
		if lba := binary.LittleEndian.Uint64(head[:]); lba != uint64(off/source.SectorSize) {
			return nil, s.f.Corrupt(host, "a compressed grain of sector %d where that of %d should be", lba, off/source.SectorSize)
		}
		if s.f.Size()-host-12 < n {
			return nil, s.f.Corrupt(host, "a compressed grain of %d bytes reaches beyond the end of the file (%d bytes): the image is truncated", n, s.f.Size())
		}
		in := make([]byte, n)
		if err := s.f.ReadFull(in, host+12, "compressed grain"); err != nil {
			return nil, err
		}
		out := make([]byte, s.h.grain)
		// The last grain may hold no more than the capacity.
		need := min(s.h.grain, s.h.capacity-off)
		if got, err := s.inflate(out, in); int64(got) < need {
			return nil, s.f.Corrupt(host, "inflate a grain: %d bytes of %d: %v", got, need, err)
		}
		return out, nil
	})
}

// inflate fills out as far as the zlib stream in goes.
func (c *caches) inflate(out, in []byte) (int, error) {
	r, _ := c.readers.Get().(io.ReadCloser)
	var err error
	if r == nil {
		r, err = zlib.NewReader(bytes.NewReader(in))
	} else {
		err = r.(zlib.Resetter).Reset(bytes.NewReader(in), nil)
	}
	if err != nil {
		return 0, err
	}
	defer c.readers.Put(r)
	return io.ReadFull(r, out)
}
