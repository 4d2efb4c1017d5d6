package lvm

import (
	"math"

	"holdfast/fs/guest"
)

// group is a volume group as its text tells it.
type group struct {
	name, uuid string
	seqno      int64
	extent     int64 // bytes
	pvs        map[string]pvDecl
	lvs        map[string]*lvDecl
	order      []string // names of LVs as the text has them
}

// pvDecl is what the text says of a PV.
type pvDecl struct {
	uuid    string
	start   int64 // bytes, where its extents begin
	count   int64 // extents
	missing bool
}

type lvDecl struct {
	name, uuid string
	visible    bool
	segments   []segment
}

type segment struct {
	start, count int64 // extents
	kind         string
	*section
}

// maxSegments of a volume. pvmove leaves a few hundred at worst.
const maxSegments = 1 << 16

// readGroup reads a parsed text.
func readGroup(root *section) (*group, error) {
	s := groupSection(root)
	if s == nil {
		return nil, guest.Corrupt("metadata text without a volume group")
	}
	g := &group{name: s.name, uuid: s.str("id"), seqno: s.number("seqno", 0), pvs: map[string]pvDecl{}, lvs: map[string]*lvDecl{}}
	sectors := s.number("extent_size", 0)
	if sectors < 1 || sectors > math.MaxUint32 {
		return nil, guest.Corrupt("volume group %s: extents of %d sectors", g.name, sectors)
	}
	g.extent = sectors * sectorSize
	if pvs := s.section("physical_volumes"); pvs != nil {
		for _, p := range pvs.inner {
			start := p.number("pe_start", 0)
			if start < 0 || start > math.MaxInt64/sectorSize {
				return nil, guest.Corrupt("volume group %s: extents of %s begin at sector %d", g.name, p.name, start)
			}
			g.pvs[p.name] = pvDecl{p.str("id"), start * sectorSize, p.number("pe_count", 0), p.has("flags", "MISSING")}
		}
	}
	if lvs := s.section("logical_volumes"); lvs != nil {
		for _, l := range lvs.inner {
			if err := g.addLV(l); err != nil {
				return nil, err
			}
		}
	}
	return g, nil
}

func (g *group) addLV(s *section) error {
	if !validName(s.name) || g.lvs[s.name] != nil {
		return guest.Corrupt("volume group %s: volume name %q", g.name, s.name)
	}
	lv := &lvDecl{name: s.name, uuid: s.str("id"), visible: s.has("status", "VISIBLE")}
	end := int64(0)
	for _, seg := range s.inner {
		if seg.str("type") == "" {
			continue // not a segment
		}
		sg := segment{seg.number("start_extent", -1), seg.number("extent_count", 0), seg.str("type"), seg}
		if sg.start != end || sg.count < 1 || sg.count > math.MaxInt64/g.extent-end || len(lv.segments) == maxSegments {
			return guest.Corrupt("volume %s/%s: segment of %d extents at %d, where %d is next", g.name, lv.name, sg.count, sg.start, end)
		}
		end += sg.count
		lv.segments = append(lv.segments, sg)
	}
	g.lvs[lv.name] = lv
	g.order = append(g.order, lv.name)
	return nil
}

// size is a volume's size in bytes.
func (g *group) size(lv *lvDecl) int64 {
	if len(lv.segments) == 0 {
		return 0
	}
	last := lv.segments[len(lv.segments)-1]
	return (last.start + last.count) * g.extent
}

// areas reads a list of name and extent pairs.
func (s segment) areas(key string) ([]area, error) {
	list := s.values[key]
	if len(list) == 0 || len(list)%2 != 0 {
		return nil, guest.Corrupt("segment of type %s with %d values of %s", s.kind, len(list), key)
	}
	areas := make([]area, 0, len(list)/2)
	for i := 0; i < len(list); i += 2 {
		if !list[i].str || list[i+1].str || list[i+1].num < 0 {
			return nil, guest.Corrupt("segment of type %s: %s is not a list of places", s.kind, key)
		}
		areas = append(areas, area{list[i].text, list[i+1].num})
	}
	return areas, nil
}

// area is a place on a PV, or on another volume.
type area struct {
	on     string
	extent int64
}

// names reads a list of volume names.
func (s segment) names(key string) ([]string, error) {
	var names []string
	for _, v := range s.values[key] {
		if !v.str {
			return nil, guest.Corrupt("segment of type %s: %s is not a list of names", s.kind, key)
		}
		names = append(names, v.text)
	}
	if len(names) == 0 {
		return nil, guest.Corrupt("segment of type %s without %s", s.kind, key)
	}
	return names, nil
}
