package fat

import (
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/text/encoding/charmap"
)

// An entry of a directory:
//
//	0 name 8  8 extension 3  11 attributes 1  12 case 1  13 birth, 10 ms 1
//	14 birth: time 2, date 2  18 access: date 2  20 cluster, high 2
//	22 change: time 2, date 2  26 cluster, low 2  28 size 4
//
// A long name lies before it, in entries of their own from the last to the
// first (VFAT):
//
//	0 number 1, 0x40 marks the last  1 characters 10  11 attributes 1, 0x0f
//	13 sum of the short name 1  14 characters 12  28 characters 4
const (
	attrReadOnly = 0x01
	attrLabel    = 0x08
	attrDir      = 0x10
	attrLong     = 0x0f
	attrMask     = 0x3f

	caseName = 0x08 // the name is lower case
	caseExt  = 0x10

	deleted  = 0xe5
	lastLong = 0x40
	inLong   = 13 // characters in an entry
	maxLong  = 20 // entries of a name
)

// entry is one file in its directory.
type entry struct {
	attr    byte
	cluster uint32
	size    uint32
	raw     [entryLen]byte
}

func parseEntry(b []byte, bits int) entry {
	e := entry{attr: b[11], cluster: uint32(le.Uint16(b[26:])), size: le.Uint32(b[28:]), raw: [entryLen]byte(b)}
	if bits == 32 {
		e.cluster |= uint32(le.Uint16(b[20:])) << 16
	}
	return e
}

func (e *entry) dir() bool { return e.attr&attrDir != 0 }

// shortName gives the name in the entry.
func (e *entry) shortName() string {
	name, ext := []byte(strings.TrimRight(string(e.raw[:8]), " ")), []byte(strings.TrimRight(string(e.raw[8:11]), " "))
	if len(name) > 0 && name[0] == 0x05 {
		name[0] = deleted
	}
	s, x := decodeShort(name), decodeShort(ext)
	if e.raw[12]&caseName != 0 {
		s = strings.ToLower(s)
	}
	if e.raw[12]&caseExt != 0 {
		x = strings.ToLower(x)
	}
	if x != "" {
		s += "." + x
	}
	return s
}

// decodeShort decodes code page 437.
func decodeShort(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(charmap.CodePage437.DecodeByte(c))
	}
	return s.String()
}

// sum is that of the short name, in each entry of the long one.
func (e *entry) sum() (s byte) {
	for _, c := range e.raw[:11] {
		s = s>>1 + s<<7 + c
	}
	return s
}

// times of the entry: of change, access, birth; the last is zero when there is
// none.
func (e *entry) times() (change, access, birth time.Time) {
	change = parseTime(le.Uint16(e.raw[24:]), le.Uint16(e.raw[22:]), 0)
	access, birth = change, time.Time{}
	if date := le.Uint16(e.raw[18:]); date != 0 {
		access = parseTime(date, 0, 0)
	}
	if date := le.Uint16(e.raw[16:]); date != 0 {
		birth = parseTime(date, le.Uint16(e.raw[14:]), e.raw[13])
	}
	return change, access, birth
}

// parseTime takes a local time for UTC. A month or day of 0 counts as 1.
func parseTime(date, clock uint16, hundredths byte) time.Time {
	month, day := max(int(date>>5&15), 1), max(int(date&31), 1)
	t := time.Date(1980+int(date>>9), time.Month(month), day, int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
	return t.Add(time.Duration(hundredths) * 10 * time.Millisecond)
}

// longName collects the entries of a long name.
type longName struct {
	units []uint16 // from the end
	left  int      // entries to come
	sum   byte
}

// add takes an entry of a long name; one that is out of order ends it.
func (l *longName) add(b []byte) {
	number := int(b[0])
	if number&lastLong != 0 {
		*l = longName{left: number &^ lastLong, sum: b[13]}
		if l.left == 0 || l.left > maxLong {
			*l = longName{}
			return
		}
	} else if l.left == 0 || number != l.left || b[13] != l.sum {
		*l = longName{}
		return
	}
	l.left--
	part := make([]uint16, 0, inLong+len(l.units))
	for _, at := range [...]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
		part = append(part, le.Uint16(b[at:]))
	}
	l.units = append(part, l.units...)
}

// name gives the long name of an entry; none when it is not whole or not its.
func (l *longName) name(e *entry) string {
	if len(l.units) == 0 || l.left != 0 || l.sum != e.sum() {
		return ""
	}
	units := l.units
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units))
}
