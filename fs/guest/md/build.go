package md

import (
	"errors"
	"fmt"
	"math"

	"holdfast/fs/guest"
	"holdfast/fs/guest/volume/mapped"
)

var errMissing = errors.New("members are missing")

func conditionOf(err error) mapped.Condition {
	switch {
	case errors.Is(err, errMissing):
		return mapped.Incomplete
	case errors.Is(err, guest.ErrUnsupported):
		return mapped.Unsupported
	}
	return mapped.Damaged
}

// build makes the array's device.
func (s *set) build() (*mapped.Device, error) {
	name := levelName(s.Level)
	switch {
	case s.features&^featKnown != 0:
		return nil, fmt.Errorf("md array of level %s with features %#x: %w", name, s.features&^featKnown, guest.ErrUnsupported)
	case s.features&(featReshape|featNewOffset) != 0:
		return nil, fmt.Errorf("md array of level %s that is being reshaped: %w", name, guest.ErrUnsupported)
	case s.disks == 0:
		return nil, guest.Corrupt("md array without a device")
	}
	switch s.Level {
	case 0:
		return s.raid0()
	case 1:
		return s.raid1()
	case 10:
		return s.raid10()
	case -1:
		return s.linear()
	}
	return nil, fmt.Errorf("md array of level %s: %w", name, guest.ErrUnsupported)
}

// all gives the legs when none is missing, cut to whole chunks.
func (s *set) all(chunk int64) ([]*mapped.Device, error) {
	var legs []*mapped.Device
	for i, l := range s.legs {
		if l == nil {
			return nil, fmt.Errorf("%w: role %d of %d", errMissing, i, s.disks)
		}
		cut, err := mapped.Slice(l, 0, l.Size()/chunk*chunk)
		if err != nil {
			return nil, err
		}
		legs = append(legs, cut)
	}
	return legs, nil
}

func (s *set) chunks() (int64, error) {
	if s.chunk < sectorSize || s.chunk > 1<<30 || s.chunk%sectorSize != 0 {
		return 0, guest.Corrupt("md chunks of %d bytes", s.chunk)
	}
	return s.chunk, nil
}

func (s *set) linear() (*mapped.Device, error) {
	legs, err := s.all(max(sectorSize, s.chunk))
	if err != nil {
		return nil, err
	}
	return mapped.Join(legs)
}

func (s *set) raid1() (*mapped.Device, error) {
	var legs []*mapped.Device
	for _, l := range s.legs {
		if l != nil && l.Size() >= s.size {
			legs = append(legs, l)
		}
	}
	if len(legs) == 0 {
		return nil, fmt.Errorf("%w: no good copy", errMissing)
	}
	return mapped.Mirror(s.size, legs)
}

func (s *set) raid10() (*mapped.Device, error) {
	chunk, err := s.chunks()
	if err != nil {
		return nil, err
	}
	l := mapped.Layout10{Near: int(s.layout & 255), Far: int(s.layout >> 8 & 255), Offset: s.layout>>16&1 != 0, Chunk: chunk}
	switch s.layout >> 17 {
	case 0:
	case 2:
		l.Sets = true
	default:
		return nil, fmt.Errorf("md array of level raid10 with layout %#x: %w", s.layout, guest.ErrUnsupported)
	}
	d, err := mapped.Raid10(l, s.size, s.legs, errMissing)
	if err != nil {
		return nil, err
	}
	// Chunks repeat their places after so many: each is asked for once.
	period := int64(s.disks) * int64(max(1, l.Near))
	for c := range min(period, d.Size()/chunk) {
		if err := d.EachRun(c*chunk, chunk, func(mapped.Run) bool { return true }); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// raid0 is made of zones: the first over all members as far as the smallest
// goes, the next over the rest of those that are larger, and so on.
func (s *set) raid0() (*mapped.Device, error) {
	chunk, err := s.chunks()
	if err != nil {
		return nil, err
	}
	legs, err := s.all(chunk)
	if err != nil {
		return nil, err
	}
	zones, err := zonesOf(legs, chunk)
	if err != nil {
		return nil, err
	}
	m := &zoned{chunk: chunk, zones: zones}
	if len(zones) > 1 {
		switch {
		case s.Version != "0.90" && s.features&featLayout0 == 0, s.layout != 1 && s.layout != 2:
			// Kernels before 3.14 and those after it put it differently.
			return nil, fmt.Errorf("md array of level raid0 over members of several sizes, with no layout written down: %w", guest.ErrUnsupported)
		}
		m.original = s.layout == 1
	}
	ways := 1
	for _, l := range legs {
		ways = max(ways, l.Ways())
	}
	return mapped.New(zones[len(zones)-1].end, m, ways, legs...)
}

// zone is a part of a RAID 0 that lies on the same members.
type zone struct {
	start, end int64 // in the array
	leg        int64 // where it begins on each member
	legs       []*mapped.Device
}

type zoned struct {
	chunk    int64
	zones    []zone
	original bool // chunks go on round the members from the array's start, not the zone's
}

func zonesOf(legs []*mapped.Device, chunk int64) ([]zone, error) {
	var zones []zone
	var at, leg int64
	for {
		var over []*mapped.Device
		next := int64(math.MaxInt64)
		for _, l := range legs {
			if l.Size() > leg {
				over, next = append(over, l), min(next, l.Size())
			}
		}
		if len(over) == 0 {
			break
		}
		length := next - leg
		if length > (math.MaxInt64-at)/int64(len(over)) {
			return nil, guest.Corrupt("md array of more than 2^63 bytes")
		}
		z := zone{start: at, end: at + length*int64(len(over)), leg: leg, legs: over}
		zones = append(zones, z)
		at, leg = z.end, next
	}
	if len(zones) == 0 {
		return nil, guest.Corrupt("md array whose members are shorter than a chunk of %d bytes", chunk)
	}
	return zones, nil
}

func (m *zoned) Piece(off, limit int64) (mapped.Piece, error) {
	i := 0
	for off >= m.zones[i].end {
		i++
	}
	z := m.zones[i]
	n := int64(len(z.legs))
	in := (off - z.start) % m.chunk
	chunk := (off - z.start) / m.chunk
	turn := chunk
	if m.original {
		turn = off / m.chunk
	}
	at := mapped.Place{On: z.legs[turn%n], Off: z.leg + chunk/n*m.chunk + in}
	return mapped.Piece{Length: min(limit, m.chunk-in), Places: []mapped.Place{at}}, nil
}
