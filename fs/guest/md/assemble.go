package md

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"holdfast/fs/guest/volume/mapped"
)

// Member is a device with the superblock found on it.
type Member struct {
	*Super
	On *mapped.Device
}

// Array is an assembled one. Its device's reads fail with Reason where the
// array can't be read.
type Array struct {
	Name, UUID string
	Level      string // "raid1", …
	Device     *mapped.Device
	Condition  mapped.Condition
	Reason     string
}

// Assemble puts arrays together, in the order of their first members.
func Assemble(ctx context.Context, members []Member) ([]Array, error) {
	byID := map[string][]Member{}
	var order []string
	for _, m := range members {
		if byID[m.UUID] == nil {
			order = append(order, m.UUID)
		}
		byID[m.UUID] = append(byID[m.UUID], m)
	}
	var arrays []Array
	for _, id := range order {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		arrays = append(arrays, assemble(ctx, byID[id]))
	}
	return arrays, nil
}

// set is an array being assembled: its members by their role.
type set struct {
	*Super                  // the newest one's
	legs   []*mapped.Device // from the data's start; nil where none is good
	supers []*Super
	bad    []string // why members are not used
}

func assemble(ctx context.Context, members []Member) Array {
	s := gather(ctx, members)
	out := Array{Name: s.Name, UUID: s.UUID, Level: levelName(s.Level)}
	dev, err := s.build()
	missing := 0
	for _, l := range s.legs {
		if l == nil {
			missing++
		}
	}
	switch {
	case err == nil && missing == 0:
	case err == nil:
		out.Condition = mapped.Degraded
		out.Reason = fmt.Sprintf("%d of %d members are missing", missing, len(s.legs))
	default:
		out.Condition, out.Reason = conditionOf(err), err.Error()
		dev = mapped.Refuse(s.nominal(), err)
	}
	for _, why := range s.bad {
		if out.Reason != "" {
			out.Reason += "; "
		}
		out.Reason += why
	}
	out.Device = dev
	return out
}

// gather sorts members by role and leaves those out whose data are not good.
func gather(ctx context.Context, members []Member) *set {
	newest := members[0].Super
	for _, m := range members {
		if m.events > newest.events {
			newest = m.Super
		}
	}
	s := &set{Super: newest, legs: make([]*mapped.Device, newest.disks), supers: make([]*Super, newest.disks)}
	for pass := range 2 {
		for _, m := range members {
			late := m.features&featReplacement != 0 || hasBadBlocks(ctx, m)
			if late != (pass == 1) {
				continue
			}
			why := s.refuses(m)
			if why == "" && s.legs[m.role] != nil {
				why = "its place is taken"
			}
			if why != "" {
				s.bad = append(s.bad, fmt.Sprintf("a member of role %s is not used: %s", roleName(m.role), why))
				continue
			}
			if hasBadBlocks(ctx, m) {
				s.bad = append(s.bad, fmt.Sprintf("the member of role %d has bad blocks", m.role))
			}
			leg, err := mapped.Slice(m.On, m.data.Offset, m.data.Length)
			if err != nil {
				continue
			}
			s.legs[m.role], s.supers[m.role] = leg, m.Super
		}
	}
	return s
}

// refuses tells why a member's data are not good.
func (s *set) refuses(m Member) string {
	switch {
	case m.role >= s.disks:
		return "it is a spare, or has failed"
	case m.events+1 < s.events:
		return fmt.Sprintf("it fell behind (event %d of %d)", m.events, s.events)
	case m.features&featRecovery != 0:
		return "it is being rebuilt"
	case m.Level != s.Level || m.disks != s.disks || m.layout != s.layout || m.chunk != s.chunk || m.size != s.size:
		return "it tells of another array"
	}
	// The newest superblock may know of a failure that the member could not
	// write down.
	for _, r := range s.roles {
		if int(r) == m.role {
			return ""
		}
	}
	return "the others say that it has failed"
}

// hasBadBlocks tells whether the member's log of bad blocks holds any: there
// its data are not good, so another member comes first.
func hasBadBlocks(ctx context.Context, m Member) bool {
	if m.badList.Length <= 0 || m.badList.Offset < 0 {
		return false
	}
	b, err := read(ctx, m.On, m.badList.Offset, min(m.badList.Length, 4096))
	if err != nil || len(b) < 8 {
		return false
	}
	first := binary.LittleEndian.Uint64(b)
	return first != math.MaxUint64 && first != 0
}

func roleName(role int) string {
	switch role {
	case spare:
		return "spare"
	case faulty:
		return "faulty"
	case journal:
		return "journal"
	}
	return fmt.Sprint(role)
}

func levelName(level int) string {
	switch level {
	case -1:
		return "linear"
	case -4:
		return "multipath"
	case 0, 1, 4, 5, 6, 10:
		return fmt.Sprintf("raid%d", level)
	}
	return fmt.Sprintf("level %d", level)
}

// nominal is the size to show of an array that can't be read.
func (s *set) nominal() int64 {
	n := int64(s.disks)
	switch s.Level {
	case 1, -4:
		n = 1
	case 4, 5:
		n--
	case 6:
		n -= 2
	case 10:
		if copies := int64(s.layout&255) * int64(s.layout>>8&255); copies > 0 {
			return s.size / copies * n
		}
	}
	if n < 0 || s.size > math.MaxInt64/max(1, n) {
		return 0
	}
	return s.size * n
}
