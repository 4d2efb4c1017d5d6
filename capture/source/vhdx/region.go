package vhdx

import (
	"encoding/binary"
	"fmt"
	"slices"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer"
)

const (
	regionTableSize = 64 * kib
	regionTable1    = 192 * kib
	regionTable2    = 256 * kib
	entrySize       = 32   // of the region table and the metadata table
	maxEntries      = 2047 // of either table
)

var (
	batRegion      = mustGUID("2DC27766-F623-4200-9D64-115E9BFD4A08")
	metadataRegion = mustGUID("8B7CA206-4790-4B9A-B8FE-575F050F886E")
)

// span is a part of the file.
type span struct{ off, length int64 }

func (s span) end() int64 { return s.off + s.length }

// regions are the known regions of a file.
type regions struct{ bat, metadata span }

// readRegions reads the first valid region table (section 2.2.3). bytes is the
// file after replay; f names it in errors.
func readRegions(f *source.File, bytes layer.Bytes, log span) (regions, error) {
	b, off, err := regionTable(f, bytes)
	if err != nil {
		return regions{}, err
	}
	count := int(binary.LittleEndian.Uint32(b[8:]))
	if count < 0 || count > maxEntries {
		return regions{}, f.Corrupt(off+8, "the region table has %d entries, more than %d", count, maxEntries)
	}
	found := map[guid]span{}
	taken := []span{log}
	for i := range count {
		place := off + 16 + int64(i)*entrySize
		e := b[16+i*entrySize:][:entrySize]
		id := guid(e[:16])
		s := span{int64(binary.LittleEndian.Uint64(e[16:])), int64(binary.LittleEndian.Uint32(e[24:]))}
		if _, twice := found[id]; twice {
			return regions{}, f.Corrupt(place, "region %v appears twice", id)
		}
		if err := checkRegion(f, bytes, place, id, s); err != nil {
			return regions{}, err
		}
		required := binary.LittleEndian.Uint32(e[28:])&1 != 0
		if required && id != batRegion && id != metadataRegion {
			return regions{}, f.Unsupported(fmt.Sprintf("the VHDX region %v, which it requires a reader to know", id), "")
		}
		found[id] = s
		taken = append(taken, s)
	}
	if err := checkOverlap(f, off, taken); err != nil {
		return regions{}, err
	}
	r := regions{bat: found[batRegion], metadata: found[metadataRegion]}
	if r.bat.length == 0 || r.metadata.length == 0 {
		return regions{}, f.Corrupt(off, "the region table lacks the BAT or the metadata")
	}
	return r, nil
}

// regionTable returns the first valid copy and its offset.
func regionTable(f *source.File, bytes layer.Bytes) ([]byte, int64, error) {
	b := make([]byte, regionTableSize)
	var first error
	for _, off := range []int64{regionTable1, regionTable2} {
		err := bytes.ReadFull(b, off, "VHDX region table")
		if err == nil && string(b[:4]) != "regi" {
			err = f.Corrupt(off, "no VHDX region table")
		}
		if err == nil {
			err = checkSum(f, off, b, "region table")
		}
		if err == nil {
			return b, off, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, 0, fmt.Errorf("neither region table is valid: %w", first)
}

// checkRegion checks a region whose entry lies at place.
func checkRegion(f *source.File, bytes layer.Bytes, place int64, id guid, s span) error {
	if s.off < mib || s.off%mib != 0 || s.length == 0 || s.length%mib != 0 {
		return f.Corrupt(place, "region %v of %d bytes at byte %d is not made of whole MiB behind the headers", id, s.length, s.off)
	}
	if s.length > bytes.Size()-s.off {
		return f.Corrupt(place, "region %v of %d bytes at byte %d reaches beyond the end of the file (%d bytes): the image is truncated", id, s.length, s.off, bytes.Size())
	}
	return nil
}

// checkOverlap refuses regions that share bytes with each other or the log.
func checkOverlap(f *source.File, off int64, taken []span) error {
	slices.SortFunc(taken, func(a, b span) int {
		switch {
		case a.off < b.off:
			return -1
		case a.off > b.off:
			return 1
		}
		return 0
	})
	for i := 1; i < len(taken); i++ {
		if taken[i].off < taken[i-1].end() {
			return f.Corrupt(off, "two regions, or one and the log, share byte %d", taken[i].off)
		}
	}
	return nil
}
