package disk

import (
	"encoding/binary"
	"fmt"
	"sort"

	"holdfast/chunkstore/pack"
)

const (
	regionMagic     = "HFRM"
	formatVersion   = 1
	regionHeaderLen = 8
	extentLen       = 4 + 4 + 32
)

// Extent is a run of a region that is stored as one chunk.
type Extent struct {
	Off int // in the region
	Len int // the chunk's plain length, 1 to pack.MaxChunk
	ID  pack.ID
}

// RegionMap is the data of a region: its extents in order. Nil or empty means
// a hole, which has no encoding.
type RegionMap []Extent

// Validate checks what the format demands of a region map with data.
func (m RegionMap) Validate() error {
	if len(m) == 0 || len(m) > MaxExtents {
		return fmt.Errorf("region map of %d extents: want 1 to %d", len(m), MaxExtents)
	}
	end := 0
	for i, e := range m {
		switch {
		case e.Off < end:
			return fmt.Errorf("region map: extent %d begins at %d, before %d where the last one ends", i, e.Off, end)
		case e.Len < 1 || e.Len > pack.MaxChunk:
			return fmt.Errorf("region map: extent %d is %d bytes long: want 1 to %d", i, e.Len, pack.MaxChunk)
		case e.Off > RegionSize-e.Len:
			return fmt.Errorf("region map: extent %d of %d bytes at %d ends outside the region", i, e.Len, e.Off)
		case e.ID.IsZero():
			return fmt.Errorf("region map: extent %d has no chunk id", i)
		}
		end = e.Off + e.Len
	}
	return nil
}

// Encode appends the encoding of m to buf. It fails when Validate does.
func (m RegionMap) Encode(buf []byte) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	buf = append(buf, regionMagic...)
	buf = binary.LittleEndian.AppendUint16(buf, formatVersion)
	buf = binary.LittleEndian.AppendUint16(buf, uint16(len(m)))
	for _, e := range m {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(e.Off))
	}
	for _, e := range m {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(e.Len))
	}
	for _, e := range m {
		buf = append(buf, e.ID[:]...)
	}
	return buf, nil
}

// DecodeRegionMap reads what Encode wrote and refuses everything else. The
// result does not refer to b.
func DecodeRegionMap(b []byte) (RegionMap, error) {
	r, err := parseRegion(b)
	if err != nil {
		return nil, err
	}
	return r.extents(), nil
}

// Find returns the number of the extent that holds byte off of the region, or,
// when none does, of the first one behind it (len(m) at the end) and false.
func (m RegionMap) Find(off int) (int, bool) {
	i := sort.Search(len(m), func(i int) bool { return m[i].Off+m[i].Len > off })
	return i, i < len(m) && m[i].Off <= off
}

// Bitmap has bit i set when the map stores any byte of grain i.
func (m RegionMap) Bitmap() (bits uint64) {
	for _, e := range m {
		bits |= grainsOf(e.Off, e.Len)
	}
	return bits
}

// DataBytes returns how many bytes the map stores.
func (m RegionMap) DataBytes() (n int64) {
	for _, e := range m {
		n += int64(e.Len)
	}
	return n
}
