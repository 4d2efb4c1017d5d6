package mapped

import (
	"sort"

	"holdfast/fs/guest"
)

// slice is a part of one device.
type slice struct {
	on  *Device
	off int64
}

// Slice makes a device of size bytes that begins at off of another. It may
// reach beyond the other's end: reads fail there.
func Slice(on *Device, off, size int64) (*Device, error) {
	if off < 0 || off+size < off {
		return nil, guest.Corrupt("a part of %d bytes at %d", size, off)
	}
	return New(size, slice{on, off}, on.ways, on)
}

func (s slice) Piece(off, limit int64) (Piece, error) {
	return Piece{Length: limit, Places: []Place{{s.on, s.off + off}}}, nil
}

// joined is devices one behind the other.
type joined struct {
	ends  []int64
	parts []*Device
}

// Join makes a device of others, one behind the other, each with all it has.
func Join(parts []*Device) (*Device, error) {
	var size int64
	ways := 1
	m := joined{}
	for _, p := range parts {
		if size += p.size; size < p.size {
			return nil, guest.Corrupt("volume parts add up to more than 2^63 bytes")
		}
		if p.size == 0 {
			continue
		}
		ways = max(ways, p.ways)
		m.parts, m.ends = append(m.parts, p), append(m.ends, size)
	}
	return New(size, m, ways, parts...)
}

func (m joined) Piece(off, limit int64) (Piece, error) {
	i := sort.Search(len(m.ends), func(i int) bool { return off < m.ends[i] })
	start := m.ends[i] - m.parts[i].size
	return Piece{Length: min(limit, m.ends[i]-off), Places: []Place{{m.parts[i], off - start}}}, nil
}

// striped is RAID 0 over legs of one size.
type striped struct {
	chunk int64
	legs  []*Device
}

// Stripe makes a device of size bytes whose chunks of chunk bytes go round the
// legs: chunk c lies on leg c mod n, as its chunk c / n.
func Stripe(size, chunk int64, legs []*Device) (*Device, error) {
	if chunk <= 0 || len(legs) == 0 {
		return nil, guest.Corrupt("%d stripes of %d bytes", len(legs), chunk)
	}
	ways := 1
	for _, l := range legs {
		ways = max(ways, l.ways)
	}
	return New(size, striped{chunk, legs}, ways, legs...)
}

func (m striped) Piece(off, limit int64) (Piece, error) {
	n := int64(len(m.legs))
	c, in := off/m.chunk, off%m.chunk
	at := Place{m.legs[c%n], c/n*m.chunk + in}
	return Piece{Length: min(limit, m.chunk-in), Places: []Place{at}}, nil
}

// mirrored is the same bytes on each leg.
type mirrored struct{ legs []*Device }

// Mirror makes a device of size bytes that lies on each of the legs. The first
// is read, the others in its place when it fails.
func Mirror(size int64, legs []*Device) (*Device, error) {
	if len(legs) == 0 {
		return nil, guest.Corrupt("mirror without a leg")
	}
	ways := 0
	for _, l := range legs {
		ways += l.ways
	}
	return New(size, mirrored{legs}, ways, legs...)
}

func (m mirrored) Piece(off, limit int64) (Piece, error) {
	places := make([]Place, len(m.legs))
	for i, l := range m.legs {
		places[i] = Place{l, off}
	}
	return Piece{Length: limit, Places: places}, nil
}

// refused is a device that can't be read.
type refused struct{ why error }

// Refuse makes a device whose every read fails with why. It stands for a part
// that is missing, or for a volume of a kind that is not supported.
func Refuse(size int64, why error) *Device {
	return &Device{size: max(0, size), mapping: refused{why}, ways: 1}
}

func (m refused) Piece(int64, int64) (Piece, error) { return Piece{}, m.why }

// Refused is the reason given to Refuse, nil for any other device.
func (d *Device) Refused() error {
	if m, ok := d.mapping.(refused); ok {
		return m.why
	}
	return nil
}

// Marked makes a device that lies where on does, with all its runs shared.
func Marked(on *Device) (*Device, error) {
	return New(on.size, marked{on}, on.ways, on)
}

type marked struct{ on *Device }

func (m marked) Piece(off, limit int64) (Piece, error) {
	return Piece{Length: limit, Places: []Place{{m.on, off}}, Shared: true}, nil
}

// Zeros makes a device that lies nowhere and reads as zeros.
func Zeros(size int64) *Device { return &Device{size: max(0, size), mapping: empty{}, ways: 1} }

type empty struct{}

func (empty) Piece(_, limit int64) (Piece, error) { return Piece{Length: limit}, nil }
