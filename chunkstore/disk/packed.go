package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"holdfast/chunkstore/pack"
)

// region is a region map as readers keep it: the encoding itself, proved to be
// well formed. It is a seventh smaller than a RegionMap and costs one
// allocation. It never changes.
type region struct {
	raw    []byte
	n      int
	end    int    // where its last extent ends
	bitmap uint64 // of the grains it stores
}

// parseRegion proves b to be the encoding of a region map and keeps a copy.
func parseRegion(b []byte) (*region, error) {
	if len(b) < regionHeaderLen || string(b[:4]) != regionMagic {
		return nil, fmt.Errorf("not a region map (%d bytes)", len(b))
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v != formatVersion {
		return nil, fmt.Errorf("region map of version %d: this program knows version %d", v, formatVersion)
	}
	n := int(binary.LittleEndian.Uint16(b[6:]))
	if n < 1 || n > MaxExtents || len(b) != regionHeaderLen+n*extentLen {
		return nil, fmt.Errorf("region map of %d bytes does not hold %d extents", len(b), n)
	}
	r := &region{raw: bytes.Clone(b), n: n}
	if err := r.extents().Validate(); err != nil {
		return nil, err
	}
	r.end = r.off(n-1) + r.len(n-1)
	for i := range n {
		r.bitmap |= grainsOf(r.off(i), r.len(i))
	}
	return r, nil
}

func (r *region) off(i int) int {
	return int(binary.LittleEndian.Uint32(r.raw[regionHeaderLen+4*i:]))
}

func (r *region) len(i int) int {
	return int(binary.LittleEndian.Uint32(r.raw[regionHeaderLen+4*(r.n+i):]))
}

func (r *region) id(i int) pack.ID {
	return pack.ID(r.raw[regionHeaderLen+8*r.n+32*i:])
}

func (r *region) extents() RegionMap {
	m := make(RegionMap, r.n)
	for i := range m {
		m[i] = Extent{r.off(i), r.len(i), r.id(i)}
	}
	return m
}

// find is RegionMap.Find: a search over the column of offsets.
func (r *region) find(off int) (int, bool) {
	lo, hi := 0, r.n // the first extent that begins behind off
	for lo < hi {
		mid := (lo + hi) / 2
		if r.off(mid) > off {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if lo > 0 && off < r.off(lo-1)+r.len(lo-1) {
		return lo - 1, true
	}
	return lo, false
}
