package vhdx

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer"
)

const (
	metadataTableSize = 64 * kib
	maxItem           = 1 * mib
	maxDisk           = 64 << 40

	flagUser     = 1
	flagRequired = 4

	paramHasParent = 2
)

var (
	itemFileParameters = mustGUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
	itemDiskSize       = mustGUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
	itemDiskID         = mustGUID("BECA12AB-B2E6-4523-93EF-C309E000C746")
	itemLogicalSector  = mustGUID("8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
	itemPhysicalSector = mustGUID("CDA348C7-445D-4471-9CC9-E9885251C556")
	itemParentLocator  = mustGUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")
)

// known tells each item that this reader understands and its length, 0 for
// any.
var known = map[guid]int64{
	itemFileParameters: 8,
	itemDiskSize:       8,
	itemDiskID:         16,
	itemLogicalSector:  4,
	itemPhysicalSector: 4,
	itemParentLocator:  0,
}

// metadata is what the metadata region tells.
type metadata struct {
	blockSize int64
	size      int64 // of the disk
	sector    int64 // logical
	hasParent bool
	locator   locator
}

// readMetadata reads the items that are known and refuses unknown required
// ones (section 2.6).
func readMetadata(f *source.File, bytes layer.Bytes, region span) (metadata, error) {
	items, err := readItemTable(f, bytes, region)
	if err != nil {
		return metadata{}, err
	}
	read := func(id guid, what string) ([]byte, error) {
		s, ok := items[id]
		if !ok {
			return nil, f.Corrupt(region.off, "the metadata lack the %s", what)
		}
		b := make([]byte, s.length)
		return b, bytes.ReadFull(b, s.off, what)
	}
	var m metadata
	params, err := read(itemFileParameters, "file parameters")
	if err != nil {
		return metadata{}, err
	}
	m.blockSize = int64(binary.LittleEndian.Uint32(params))
	m.hasParent = params[4]&paramHasParent != 0
	size, err := read(itemDiskSize, "virtual disk size")
	if err != nil {
		return metadata{}, err
	}
	m.size = int64(binary.LittleEndian.Uint64(size))
	sector, err := read(itemLogicalSector, "logical sector size")
	if err != nil {
		return metadata{}, err
	}
	m.sector = int64(binary.LittleEndian.Uint32(sector))
	if err := m.check(f, items); err != nil || !m.hasParent {
		return m, err
	}
	b, err := read(itemParentLocator, "parent locator")
	if err != nil {
		return metadata{}, err
	}
	m.locator, err = parseLocator(f, items[itemParentLocator].off, b)
	return m, err
}

// check bounds the numbers; items tell where each of them lies.
func (m metadata) check(f *source.File, items map[guid]span) error {
	if m.blockSize < 1*mib || m.blockSize > 256*mib || bits.OnesCount64(uint64(m.blockSize)) != 1 {
		return f.Corrupt(items[itemFileParameters].off, "the block size is %d bytes, not a power of two of 1 to 256 MiB", m.blockSize)
	}
	if m.sector != 512 && m.sector != 4096 {
		return f.Corrupt(items[itemLogicalSector].off, "the logical sector size is %d bytes, neither 512 nor 4096", m.sector)
	}
	if m.size <= 0 || m.size > maxDisk || m.size%m.sector != 0 {
		return f.Corrupt(items[itemDiskSize].off, "the disk size is %d bytes, not a multiple of %d of at most 64 TiB", m.size, m.sector)
	}
	return nil
}

// readItemTable finds the known items in the file.
func readItemTable(f *source.File, bytes layer.Bytes, region span) (map[guid]span, error) {
	b := make([]byte, metadataTableSize)
	if err := bytes.ReadFull(b, region.off, "VHDX metadata table"); err != nil {
		return nil, err
	}
	if string(b[:8]) != "metadata" {
		return nil, f.Corrupt(region.off, "no VHDX metadata table")
	}
	count := int(binary.LittleEndian.Uint16(b[10:]))
	if count > maxEntries {
		return nil, f.Corrupt(region.off+10, "the metadata table has %d entries, more than %d", count, maxEntries)
	}
	items := map[guid]span{}
	for i := range count {
		place := region.off + entrySize + int64(i)*entrySize
		e := b[entrySize+i*entrySize:][:entrySize]
		id, flags := guid(e[:16]), binary.LittleEndian.Uint32(e[24:])
		length, understood := known[id]
		if flags&flagUser != 0 || !understood {
			if flags&flagRequired != 0 {
				return nil, f.Unsupported(fmt.Sprintf("the VHDX metadata item %v, which it requires a reader to know", id), "")
			}
			continue
		}
		s := span{int64(binary.LittleEndian.Uint32(e[16:])), int64(binary.LittleEndian.Uint32(e[20:]))}
		if _, twice := items[id]; twice {
			return nil, f.Corrupt(place, "metadata item %v appears twice", id)
		}
		if s.off < metadataTableSize || s.length > maxItem || s.end() > region.length || length != 0 && s.length != length {
			return nil, f.Corrupt(place, "metadata item %v of %d bytes at byte %d of its region does not fit", id, s.length, s.off)
		}
		s.off += region.off
		items[id] = s
	}
	return items, nil
}
