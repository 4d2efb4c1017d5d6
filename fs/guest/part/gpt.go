package part

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"unicode/utf16"
)

// Bounds. 128 entries of 128 bytes are usual, the specification sets no end.
const (
	maxEntriesBytes = 1 << 20
	maxPartitions   = 1024
)

// header is a GPT header (UEFI 2.10, table 5-5).
//
//	 0  "EFI PART"        24  its own sector       56  disk UUID
//	 8  revision          32  its twin's sector    72  sector of the entries
//	12  header size       40  first usable sector  80  number of entries
//	16  CRC of the header 48  last usable sector   84  size of an entry
//	                                               88  CRC of the entries
type header struct {
	sector  int64
	own     int64 // sectors: its own, its twin's, and where the entries begin
	twin    int64
	table   int64
	uuid    string
	entries []byte // as they lie on disk, CRC checked
	size    int
	count   int
}

// gpt reads the GPT whose protective entry is among the MBR's; nil when there
// is none.
func (r *reader) gpt(mbr []entry) *Table {
	protective := -1
	others := 0
	for i, e := range mbr {
		switch {
		case e.kind == 0xee && e.count > 0:
			protective = i
		case e.kind != 0 && e.count > 0:
			others++
		}
	}
	if protective < 0 {
		return nil
	}
	h, fromTwin := r.findHeader(mbr[protective])
	if h == nil {
		return nil
	}
	t := &Table{Kind: GPT, Sector: h.sector, UUID: h.uuid}
	if fromTwin {
		t.note("the GPT at the start is damaged; its backup was used")
	}
	t.addGPT(h, r.v.Size())
	t.Taken = append(t.Taken, h.taken()...)
	if others > 0 {
		t.Kind = Hybrid
		t.noteStrangers(mbr)
	}
	return t
}

// findHeader looks for a good header: the primary one by sector size, then the
// twins.
func (r *reader) findHeader(protective entry) (h *header, twin bool) {
	sectors := [...]int64{512, 4096}
	for _, s := range sectors {
		if h := r.header(s, 1); h != nil {
			return h, false
		}
	}
	for _, s := range sectors {
		ends := []int64{r.v.Size()/s - 1, int64(protective.start) + int64(protective.count) - 1}
		if raw := r.read(s, s); raw != nil && string(raw[:8]) == "EFI PART" {
			ends = append(ends, int64(binary.LittleEndian.Uint64(raw[32:])))
		}
		for _, at := range ends {
			if h := r.header(s, at); h != nil {
				return h, true
			}
		}
	}
	return nil, false
}

// header reads and checks the header at sector number at, and its entries.
func (r *reader) header(sector, at int64) *header {
	if at < 1 || at >= r.v.Size()/sector {
		return nil
	}
	b := r.read(at*sector, sector)
	if b == nil || string(b[:8]) != "EFI PART" {
		return nil
	}
	le := binary.LittleEndian
	length, sum := int64(le.Uint32(b[12:])), le.Uint32(b[16:])
	if length < 92 || length > sector {
		return nil
	}
	le.PutUint32(b[16:], 0)
	if crc32.ChecksumIEEE(b[:length]) != sum || le.Uint64(b[24:]) != uint64(at) {
		return nil
	}
	size, count, lba := int64(le.Uint32(b[84:])), int64(le.Uint32(b[80:])), le.Uint64(b[72:])
	if size < 128 || size > 4096 || size%8 != 0 || count > maxEntriesBytes/size || lba > math.MaxInt64/uint64(sector) {
		return nil
	}
	entries := r.read(int64(lba)*sector, size*count)
	if entries == nil || crc32.ChecksumIEEE(entries) != le.Uint32(b[88:]) {
		return nil
	}
	return &header{sector: sector, own: at, twin: int64(min(le.Uint64(b[32:]), math.MaxInt64/uint64(sector)-1)), table: int64(lba), uuid: UUID(b[56:]), entries: entries, size: int(size), count: int(count)}
}

// taken is where the header, its twin and the entries lie. Those of the twin lie
// beside it.
func (h *header) taken() []Range {
	return []Range{{h.own * h.sector, h.sector}, {h.twin * h.sector, h.sector}, {h.table * h.sector, int64(len(h.entries))}}
}

// addGPT takes the partitions that make sense.
func (t *Table) addGPT(h *header, disk int64) {
	for i := range h.count {
		e := h.entries[i*h.size:][:128]
		le := binary.LittleEndian
		if isZero(e[:16]) {
			continue
		}
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if first < 1 || last < first || last >= math.MaxInt64/uint64(h.sector) {
			t.note("partition %d from sector %d to %d makes no sense", i+1, first, last)
			continue
		}
		if len(t.Partitions) == maxPartitions {
			t.note("more than %d partitions", maxPartitions)
			return
		}
		t.add(Partition{
			Number: i + 1,
			Start:  int64(first) * h.sector,
			Size:   int64(last-first+1) * h.sector,
			Type:   UUID(e),
			UUID:   UUID(e[16:]),
			Boot:   e[48]&4 != 0, // legacy BIOS bootable
			Name:   utf16Name(e[56:128]),
		}, disk)
	}
}

// add takes a partition that begins on the disk.
func (t *Table) add(p Partition, disk int64) {
	if p.Start >= disk {
		t.note("partition %d begins at byte %d, behind the disk's end", p.Number, p.Start)
		return
	}
	if p.Size > disk-p.Start {
		t.note("partition %d reaches %d bytes beyond the disk's end", p.Number, p.Size-(disk-p.Start))
	}
	t.Partitions = append(t.Partitions, p)
}

// noteStrangers names partitions of a hybrid's MBR that the GPT does not have,
// and takes the place of those that it has otherwise.
func (t *Table) noteStrangers(mbr []entry) {
	for i, e := range mbr {
		if e.kind == 0 || e.kind == 0xee || e.count == 0 {
			continue
		}
		known, same := false, false
		for _, p := range t.Partitions {
			known = known || p.Start == int64(e.start)*t.Sector
			same = same || p.Start == int64(e.start)*t.Sector && p.Size == int64(e.count)*t.Sector
		}
		if !same {
			t.Taken = append(t.Taken, Range{int64(e.start) * t.Sector, int64(e.count) * t.Sector})
		}
		if !known {
			t.note("entry %d of the hybrid MBR, at sector %d, is not in the GPT", i+1, e.start)
		}
	}
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// utf16Name decodes a name that ends at a NUL.
func utf16Name(b []byte) string {
	var units []uint16
	for i := 0; i+2 <= len(b); i += 2 {
		u := binary.LittleEndian.Uint16(b[i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}
