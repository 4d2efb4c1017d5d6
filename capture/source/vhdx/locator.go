package vhdx

import (
	"encoding/binary"
	"fmt"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer"
)

const (
	locatorHeader = 20
	locatorEntry  = 12
	// maxKeys bounds the pairs of a locator; five are defined.
	maxKeys = 64
)

var locatorType = mustGUID("B04AEFB7-D19E-4A81-B789-25B8E9445913")

// locator names a parent (section 2.6.2.6).
type locator struct {
	linkage []guid   // the parent's data write GUID is one of these
	paths   []string // in the order in which they are to be tried
	off     int64    // where in the file it lies
}

// matches tells whether a parent's data write GUID is the one recorded.
func (l locator) matches(id guid) bool {
	for _, want := range l.linkage {
		if want == id {
			return true
		}
	}
	return false
}

// parseLocator reads the parent locator b, which lies at off.
func parseLocator(f *source.File, off int64, b []byte) (locator, error) {
	if len(b) < locatorHeader {
		return locator{}, f.Corrupt(off, "a parent locator of %d bytes", len(b))
	}
	if t := guid(b[:16]); t != locatorType {
		return locator{}, f.Unsupported(fmt.Sprintf("a parent of the type %v, which is not VHDX", t), "")
	}
	count := int(binary.LittleEndian.Uint16(b[18:]))
	if count > maxKeys || locatorHeader+count*locatorEntry > len(b) {
		return locator{}, f.Corrupt(off+18, "a parent locator of %d keys in %d bytes", count, len(b))
	}
	values := map[string]string{}
	for i := range count {
		e := b[locatorHeader+i*locatorEntry:][:locatorEntry]
		key, ok1 := locatorString(b, e, 0, 8)
		value, ok2 := locatorString(b, e, 4, 10)
		if !ok1 || !ok2 {
			return locator{}, f.Corrupt(off+locatorHeader+int64(i)*locatorEntry, "key %d of the parent locator lies outside of it", i)
		}
		values[key] = value
	}
	l := locator{off: off}
	for _, key := range []string{"parent_linkage", "parent_linkage2"} {
		if values[key] == "" {
			continue
		}
		id, err := parseGUID(values[key])
		if err != nil {
			return locator{}, f.Corrupt(off, "the parent locator's %s: %v", key, err)
		}
		l.linkage = append(l.linkage, id)
	}
	if len(l.linkage) == 0 {
		return locator{}, f.Corrupt(off, "the parent locator lacks the parent_linkage")
	}
	for _, key := range []string{"relative_path", "volume_path", "absolute_win32_path"} {
		if values[key] != "" {
			l.paths = append(l.paths, values[key])
		}
	}
	return l, nil
}

// locatorString decodes the string of which entry e has the offset and the
// length at the given places.
func locatorString(b, e []byte, offAt, lengthAt int) (string, bool) {
	off := int64(binary.LittleEndian.Uint32(e[offAt:]))
	length := int64(binary.LittleEndian.Uint16(e[lengthAt:]))
	if off+length > int64(len(b)) {
		return "", false
	}
	return layer.UTF16(b[off:off+length], binary.LittleEndian.Uint16), true
}
