package regf

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf16"

	"holdfast/fs/guest"
)

const (
	keyLen, valueLen = 76, 20 // without the names
	keyLatin         = 0x20
	valueLatin       = 1
	inPlace          = 1 << 31 // data in the place of its place
	// MaxData is how long a value may be; longer ones lie in several cells.
	MaxData = 16344
)

// Types of values.
const (
	String = 1
	Binary = 3
	DWord  = 4
)

// Key is a key of a hive.
type Key struct {
	h      *Hive
	values uint32
	list   uint32
}

// Value is a value of a key. Its data are the caller's.
type Value struct {
	Name string
	Type uint32
	Data []byte
}

// Find finds a key by its path from the root; letters may be large or small.
// guest.ErrNotExist where there is none.
func (h *Hive) Find(ctx context.Context, path ...string) (Key, error) {
	c := h.begin(ctx)
	at, err := c.key(h.root)
	for _, name := range path {
		if err != nil {
			return Key{}, err
		}
		at, err = c.child(at, name)
	}
	if err != nil {
		return Key{}, err
	}
	return Key{h, le.Uint32(at[36:]), le.Uint32(at[40:])}, nil
}

// key returns a key's cell.
func (c *call) key(place uint32) ([]byte, error) {
	b, err := c.cell(place, keyLen)
	if err == nil && string(b[:2]) != "nk" {
		err = guest.Corrupt("hive: cell %d is no key", place)
	}
	return b, err
}

// child returns the cell of a key's child.
func (c *call) child(key []byte, name string) ([]byte, error) {
	var found []byte
	missing := fmt.Errorf("key %q: %w", name, guest.ErrNotExist)
	if le.Uint32(key[20:]) == 0 {
		return nil, missing
	}
	err := c.children(le.Uint32(key[28:]), true, func(place uint32) (bool, error) {
		b, err := c.key(place)
		if err != nil {
			return false, err
		}
		own, err := nameOf(b[keyLen:], le.Uint16(b[72:]), le.Uint16(b[2:])&keyLatin != 0)
		if err == nil && strings.EqualFold(own, name) {
			found = b
		}
		return found == nil, err
	})
	if err == nil && found == nil {
		err = missing
	}
	return found, err
}

// children calls fn for the places that a list of keys holds, until it returns
// false. top tells that it may be a list of lists.
func (c *call) children(list uint32, top bool, fn func(place uint32) (bool, error)) error {
	b, err := c.cell(list, 4)
	if err != nil {
		return err
	}
	step := 4
	switch kind := string(b[:2]); {
	case kind == "lf" || kind == "lh":
		step = 8
	case kind == "li" || kind == "ri" && top:
	default:
		return guest.Corrupt("hive: cell %d is no list of keys", list)
	}
	count := int(le.Uint16(b[2:]))
	if count*step > len(b)-4 {
		return guest.Corrupt("hive: list %d of %d keys has %d bytes", list, count, len(b))
	}
	more := true
	inner := func(place uint32) (bool, error) {
		var err error
		more, err = fn(place)
		return more, err
	}
	for i := 0; i < count && more; i++ {
		place := le.Uint32(b[4+i*step:])
		if string(b[:2]) == "ri" {
			err = c.children(place, false, inner)
		} else {
			_, err = inner(place)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Values calls fn for the key's values in their order, until it returns false.
// Those longer than MaxData come without data.
func (k Key) Values(ctx context.Context, fn func(Value) bool) error {
	if k.values == 0 {
		return nil
	}
	if k.values > maxCell/4 {
		return guest.Corrupt("hive: a key has %d values", k.values)
	}
	c := k.h.begin(ctx)
	list, err := c.cell(k.list, int(k.values)*4)
	if err != nil {
		return err
	}
	for i := range k.values {
		v, err := c.value(le.Uint32(list[4*i:]))
		if err != nil {
			return err
		}
		if !fn(v) {
			return nil
		}
	}
	return nil
}

func (c *call) value(place uint32) (v Value, err error) {
	b, err := c.cell(place, valueLen)
	if err != nil {
		return v, err
	}
	if string(b[:2]) != "vk" {
		return v, guest.Corrupt("hive: cell %d is no value", place)
	}
	v.Type = le.Uint32(b[12:])
	v.Name, err = nameOf(b[valueLen:], le.Uint16(b[2:]), le.Uint16(b[16:])&valueLatin != 0)
	if err != nil {
		return v, err
	}
	switch size := le.Uint32(b[4:]); {
	case size&inPlace != 0:
		if size &^= inPlace; size > 4 {
			return v, guest.Corrupt("hive: value %d holds %d bytes in itself", place, size)
		}
		v.Data = b[8 : 8+size]
	case size > 0 && size <= MaxData:
		data, err := c.cell(le.Uint32(b[8:]), int(size))
		if err != nil {
			return v, err
		}
		v.Data = data[:size]
	}
	return v, nil
}

// nameOf decodes a name of so many bytes.
func nameOf(b []byte, length uint16, latin bool) (string, error) {
	if int(length) > len(b) {
		return "", guest.Corrupt("hive: a name of %d bytes in %d", length, len(b))
	}
	b = b[:length]
	if latin {
		runes := make([]rune, len(b))
		for i, c := range b {
			runes[i] = rune(c)
		}
		return string(runes), nil
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = le.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units)), nil
}
