package part

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// maxLogical is where the kernel stops too.
const maxLogical = 255

// entry is one of the four of an MBR.
type entry struct {
	flag         byte
	kind         byte
	start, count uint32 // sectors
}

func parseEntries(sector []byte) []entry {
	entries := make([]entry, 4)
	for i := range entries {
		b := sector[446+16*i:]
		entries[i] = entry{b[0], b[4], binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])}
	}
	return entries
}

func (e entry) used() bool     { return e.kind != 0 && e.count != 0 }
func (e entry) extended() bool { return e.kind == 0x05 || e.kind == 0x0f || e.kind == 0x85 }

func (r *reader) mbr(boot []byte, entries []entry, sector int64) *Table {
	none := &Table{Kind: None, Sector: sector}
	if !plausible(boot, entries, r.v.Size()/sector) {
		return none
	}
	t := &Table{Kind: MBR, Sector: sector}
	id := binary.LittleEndian.Uint32(boot[440:])
	t.UUID = fmt.Sprintf("%08x", id)
	next := 5
	for i, e := range entries {
		if !e.used() {
			continue
		}
		if e.kind == 0xee {
			t.note("the GPT is damaged, and so is its backup")
			continue
		}
		t.addMBR(i+1, e, int64(e.start)*sector, id, r.v.Size())
		if e.extended() {
			next = r.logical(t, e, next, id)
		}
	}
	if len(t.Partitions) == 0 {
		none.Notes = t.Notes
		return none
	}
	slices.SortStableFunc(t.Partitions, func(a, b Partition) int { return a.Number - b.Number })
	return t
}

// plausible tells a table from a filesystem's boot sector, whose last bytes
// are code. In doubt about a sector that also looks like a filesystem, the
// entries must be perfect.
func plausible(boot []byte, entries []entry, sectors int64) bool {
	used := 0
	for i, e := range entries {
		if e.flag&0x7f != 0 {
			return false
		}
		if !e.used() {
			continue
		}
		used++
		if !bootSector(boot) {
			continue
		}
		if e.start == 0 || int64(e.start)+int64(e.count) > sectors {
			return false
		}
		for _, o := range entries[:i] {
			if o.used() && uint64(e.start) < uint64(o.start)+uint64(o.count) && uint64(o.start) < uint64(e.start)+uint64(e.count) {
				return false
			}
		}
	}
	return used > 0
}

// bootSector tells whether a sector names a filesystem of its own.
func bootSector(b []byte) bool {
	oem := string(b[3:11])
	return oem == "NTFS    " || oem == "EXFAT   " || oem == "-FVE-FS-" || strings.HasPrefix(oem, "ReFS") ||
		string(b[54:57]) == "FAT" || string(b[82:87]) == "FAT32"
}

func (t *Table) addMBR(number int, e entry, start int64, id uint32, disk int64) {
	t.add(Partition{
		Number:    number,
		Start:     start,
		Size:      int64(e.count) * t.Sector,
		Type:      fmt.Sprintf("0x%02x", e.kind),
		UUID:      fmt.Sprintf("%08x-%02x", id, number),
		Boot:      e.flag&0x80 != 0,
		Container: e.extended(),
	}, disk)
}

// logical follows the chain in an extended partition; it gives the number
// after the last logical partition. A chain that comes back to itself or leads
// out of its container ends there.
func (r *reader) logical(t *Table, container entry, number int, id uint32) int {
	first, end := int64(container.start), int64(container.start)+int64(container.count)
	seen := map[int64]bool{}
	for at := first; number < 5+maxLogical; {
		if seen[at] {
			t.note("the chain of logical partitions comes back to sector %d", at)
			return number
		}
		seen[at] = true
		b := r.read(at*t.Sector, 512)
		if b == nil || b[510] != 0x55 || b[511] != 0xaa {
			if r.err == nil {
				t.note("the chain of logical partitions breaks at sector %d", at)
			}
			return number
		}
		t.Taken = append(t.Taken, Range{at * t.Sector, t.Sector})
		link := int64(-1)
		for i, e := range parseEntries(b) {
			switch {
			case !e.used():
			case e.extended():
				if link < 0 {
					link = first + int64(e.start)
				}
			case i >= 2 && (at+int64(e.start) < first || at+int64(e.start)+int64(e.count) > end):
				// Some tools leave rubbish in the unused entries.
			case number < 5+maxLogical:
				t.addMBR(number, e, (at+int64(e.start))*t.Sector, id, r.v.Size())
				number++
			}
		}
		if link < 0 {
			return number
		}
		if link >= end {
			t.note("the chain of logical partitions leads out of its container, to sector %d", link)
			return number
		}
		at = link
	}
	t.note("more than %d logical partitions", maxLogical)
	return number
}
