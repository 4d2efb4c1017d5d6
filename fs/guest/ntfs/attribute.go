package ntfs

import (
	"context"
	"fmt"
	"slices"

	"holdfast/fs/guest"
)

// Attributes of a file, by type code.
const (
	attrStandard    = 0x10
	attrList        = 0x20
	attrFileName    = 0x30
	attrObjectID    = 0x40
	attrSecurity    = 0x50
	attrVolumeName  = 0x60
	attrVolumeInfo  = 0x70
	attrData        = 0x80
	attrIndexRoot   = 0x90
	attrIndexBlocks = 0xa0
	attrBitmap      = 0xb0
	attrReparse     = 0xc0
	attrEA          = 0xe0
	attrUtility     = 0x100
	attrEnd         = 0xffffffff
)

// An attribute (attribute record header):
//
//	0 type 4  4 length 4  8 non-resident 1  9 name: units 1, offset 2
//	12 flags 2  14 id 2
//	resident:     16 value: length 4, offset 2
//	non-resident: 16 first and last cluster of this part 8 + 8
//	              32 offset of the runs 2  34 log2 of a compression unit 1
//	              40 allocated 8  48 size 8  56 initialised 8
//	              64 allocated when compressed or sparse 8
const (
	attrHead         = 16
	residentHead     = 24
	nonResidentHead  = 64
	flagCompressed   = 0x00ff // the method; 1 is LZNT1
	flagEncrypted    = 0x4000
	flagSparse       = 0x8000
	maxListBytes     = 256 << 10 // more than Windows allows a list
	listHead         = 26
	maxResidentBytes = maxRecord
)

// attribute is one attribute, or one part of it where it lies in several
// records. Its slices belong to its record.
type attribute struct {
	kind            uint32
	name            string // UTF-16LE as on disk; "" for the unnamed one
	flags, id       uint16
	resident        bool
	value           []byte // when resident
	runs            []byte // else, see eachRunOf
	lowest, highest int64  // clusters of the attribute that this part maps
	unitLog         uint   // compression unit in clusters
	// The sizes are those of the whole attribute, and only there in its first
	// part.
	allocated, size, initialised int64
	span                         int64 // what its runs cover; allocated is less where holes are not counted
}

// parseAttributes reads the attributes of a record whose bytes in use are b.
func parseAttributes(b []byte, at int) ([]attribute, error) {
	var all []attribute
	if at < recordHead || at%8 != 0 {
		return nil, guest.Corrupt("its attributes are at %d", at)
	}
	for {
		if at+4 > len(b) {
			return nil, guest.Corrupt("its attributes have no end")
		}
		if le.Uint32(b[at:]) == attrEnd {
			return all, nil
		}
		if at+attrHead > len(b) {
			return nil, guest.Corrupt("its attributes have no end")
		}
		length := int64(le.Uint32(b[at+4:]))
		if length < residentHead || length%8 != 0 || length > int64(len(b)-at) {
			return nil, guest.Corrupt("attribute %#x at %d: %d bytes of %d", le.Uint32(b[at:]), at, length, len(b)-at)
		}
		a, err := parseAttribute(b[at : at+int(length)])
		if err != nil {
			return nil, fmt.Errorf("attribute %#x at %d: %w", le.Uint32(b[at:]), at, err)
		}
		all = append(all, a)
		at += int(length)
	}
}

// parseAttribute reads the attribute that is b.
func parseAttribute(b []byte) (attribute, error) {
	a := attribute{kind: le.Uint32(b), resident: b[8] == 0, flags: le.Uint16(b[12:]), id: le.Uint16(b[14:])}
	name, at := 2*int(b[9]), int(le.Uint16(b[10:]))
	if name > 0 {
		if at > len(b)-name {
			return a, guest.Corrupt("its name lies at %d of %d", at, len(b))
		}
		a.name = string(b[at : at+name])
	}
	if a.resident {
		size, from := int64(le.Uint32(b[16:])), int64(le.Uint16(b[20:]))
		if from > int64(len(b)) || size > int64(len(b))-from {
			return a, guest.Corrupt("%d bytes at %d of %d", size, from, len(b))
		}
		a.value = b[from : from+size]
		a.size, a.initialised, a.allocated = size, size, (size+7)&^7
		return a, nil
	}
	return a, a.parseNonResident(b)
}

func (a *attribute) parseNonResident(b []byte) error {
	if len(b) < nonResidentHead {
		return guest.Corrupt("non-resident in %d bytes", len(b))
	}
	a.lowest, a.highest = int64(le.Uint64(b[16:])), int64(le.Uint64(b[24:]))
	a.unitLog = uint(b[34])
	from := int(le.Uint16(b[32:]))
	if from < nonResidentHead || from > len(b) || a.lowest < 0 || a.highest < a.lowest-1 {
		return guest.Corrupt("runs of clusters %d to %d at %d of %d", a.lowest, a.highest, from, len(b))
	}
	a.runs = b[from:]
	if a.lowest > 0 {
		return nil
	}
	a.allocated, a.size, a.initialised = int64(le.Uint64(b[40:])), int64(le.Uint64(b[48:])), int64(le.Uint64(b[56:]))
	if a.size < 0 || a.allocated < 0 || a.initialised < 0 || a.size > maxVolumeBytes || a.allocated > maxVolumeBytes {
		return guest.Corrupt("%d bytes, %d of them allocated, %d initialised", a.size, a.allocated, a.initialised)
	}
	a.span = a.allocated
	if a.flags&(flagCompressed|flagSparse) != 0 && from >= nonResidentHead+8 {
		a.allocated = min(max(int64(le.Uint64(b[64:])), 0), maxVolumeBytes)
	}
	return nil
}

// listed is an entry of an attribute list: where a part of an attribute lies.
//
//	0 type 4  4 length 2  6 name: units 1, offset 1  8 first cluster 8
//	16 record 8  24 id 2
type listed struct {
	kind   uint32
	name   string
	lowest int64
	record uint64
	id     uint16
}

// readList reads a file's attribute list if it has one.
func (f *FS) readList(ctx context.Context, x *file) error {
	i := slices.IndexFunc(x.attrs, func(a attribute) bool { return a.kind == attrList })
	if i < 0 {
		return nil
	}
	a := &x.attrs[i]
	if a.size > maxListBytes {
		return guest.Corrupt("ntfs record %d: a list of attributes of %d bytes", x.number, a.size)
	}
	b := make([]byte, a.size)
	s := &stream{attribute: *a, owner: x.number, parts: []part{{attr: a}}, meta: true}
	if err := f.readStream(ctx, s, b, 0); err != nil {
		return wrapRecord(x.number, fmt.Errorf("list of attributes: %w", err))
	}
	list := make([]listed, 0, len(b)/32)
	for len(b) >= listHead {
		length, name, at := int(le.Uint16(b[4:])), 2*int(b[6]), int(b[7])
		if length < listHead || length > len(b) || at+name > length && name > 0 {
			return guest.Corrupt("ntfs record %d: an entry of %d bytes in its list of attributes", x.number, length)
		}
		e := listed{kind: le.Uint32(b), lowest: int64(le.Uint64(b[8:])), record: le.Uint64(b[16:]) & refMask, id: le.Uint16(b[24:])}
		if name > 0 {
			e.name = string(b[at : at+name])
		}
		list = append(list, e)
		b = b[length:]
	}
	x.list = list
	return nil
}

// locate gives the part of an attribute that an entry of the list tells of.
func (f *FS) locate(ctx context.Context, x *file, e listed) (*attribute, error) {
	r := x.record
	if e.record != x.number {
		if x.last == nil || x.last.number != e.record {
			other, err := f.record(ctx, e.record)
			if err != nil {
				return nil, wrapRecord(x.number, fmt.Errorf("its extension %d: %w", e.record, asDamage(err)))
			}
			if other.base != x.number {
				return nil, guest.Corrupt("ntfs record %d: its extension %d is that of record %d", x.number, e.record, other.base)
			}
			x.last = other
		}
		r = x.last
	}
	for i := range r.attrs {
		if a := &r.attrs[i]; a.kind == e.kind && a.id == e.id && a.name == e.name && (a.resident || a.lowest == e.lowest) {
			return a, nil
		}
	}
	return nil, guest.Corrupt("ntfs record %d: attribute %#x from cluster %d on is not in record %d", x.number, e.kind, e.lowest, e.record)
}

// each calls fn for all attributes of a type, until it returns false. Of those
// in parts it sees the first one.
func (f *FS) each(ctx context.Context, x *file, kind uint32, fn func(*attribute) bool) error {
	if x.list == nil {
		for i := range x.attrs {
			if x.attrs[i].kind == kind && !fn(&x.attrs[i]) {
				return nil
			}
		}
		return nil
	}
	for _, e := range x.list {
		if e.kind != kind || e.lowest != 0 {
			continue
		}
		a, err := f.locate(ctx, x, e)
		if err != nil {
			return err
		}
		if !fn(a) {
			return nil
		}
	}
	return nil
}
