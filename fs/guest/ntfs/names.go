package ntfs

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const maxName = 255 // units of UTF-16

// wide encodes an ASCII name as it lies on disk.
func wide(s string) string {
	b := make([]byte, 2*len(s))
	for i := range len(s) {
		b[2*i] = s[i]
	}
	return string(b)
}

// narrow turns UTF-16LE into UTF-8. A surrogate without its other half, which
// NTFS allows, becomes the three bytes that UTF-8 would give it (WTF-8), so that
// each name has a form of its own that leads back to it.
func narrow(b []byte) string {
	var out strings.Builder
	out.Grow(len(b)/2 + 8)
	for ; len(b) >= 2; b = b[2:] {
		u := rune(le.Uint16(b))
		switch {
		case !utf16.IsSurrogate(u):
			out.WriteRune(u)
			continue
		case len(b) >= 4:
			if r := utf16.DecodeRune(u, rune(le.Uint16(b[2:]))); r != utf8.RuneError {
				out.WriteRune(r)
				b = b[2:]
				continue
			}
		}
		out.Write([]byte{0xe0 | byte(u>>12), 0x80 | byte(u>>6&0x3f), 0x80 | byte(u&0x3f)})
	}
	return out.String()
}

// widen is the way back; ok is false for what no name on disk becomes.
func widen(s string) (b []byte, ok bool) {
	b = make([]byte, 0, 2*len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n <= 1 {
			// A surrogate of its own?
			if len(s)-i < 3 || s[i] != 0xed || s[i+1]&0xe0 != 0xa0 || s[i+2]&0xc0 != 0x80 {
				return nil, false
			}
			b = le.AppendUint16(b, 0xd000|uint16(s[i+1]&0x3f)<<6|uint16(s[i+2]&0x3f))
			i += 3
			continue
		}
		if hi, lo := utf16.EncodeRune(r); r >= 0x10000 {
			b = le.AppendUint16(le.AppendUint16(b, uint16(hi)), uint16(lo))
		} else {
			b = le.AppendUint16(b, uint16(r))
		}
		i += n
	}
	return b, narrow(b) == s
}

// upcase is the volume's own table of capitals ($UpCase), a unit for each unit.
type upcase []byte

func (t upcase) unit(u uint16) uint16 {
	if 2*int(u)+2 > len(t) {
		return u
	}
	return le.Uint16(t[2*int(u):])
}

// compareFold compares two names in UTF-16LE without regard to case, unit by
// unit: the order of the indexes (collation COLLATION_FILENAME).
func (t upcase) compareFold(a, b []byte) int {
	n := min(len(a), len(b)) &^ 1
	for i := 0; i < n; i += 2 {
		x, y := le.Uint16(a[i:]), le.Uint16(b[i:])
		if x == y {
			continue
		}
		if x, y = t.unit(x), t.unit(y); x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

// compare is the full order: names that differ in case only by their units.
func (t upcase) compare(a, b []byte) int {
	if c := t.compareFold(a, b); c != 0 {
		return c
	}
	for i := 0; i+2 <= len(a); i += 2 {
		if x, y := le.Uint16(a[i:]), le.Uint16(b[i:]); x != y {
			return int(x) - int(y)
		}
	}
	return 0
}
