package lvm

import (
	"context"
	"fmt"
	"sort"

	"holdfast/fs/guest"
	"holdfast/fs/guest/volume/mapped"
)

// Group is an assembled volume group.
type Group struct {
	Name, UUID string
	Volumes    []Volume
	Notes      []string // what is missing or damaged
}

// Volume is a logical volume that the guest sees. Its device's reads fail with
// a reason where the volume can't be read.
type Volume struct {
	Name, UUID string
	Kind       string // type of its first segment: "linear", "striped", "raid1", "thin", …
	Device     *mapped.Device
	Condition  mapped.Condition
	Reason     string
	Internal   bool // a pool or the like: it holds no filesystem
}

// Assemble puts the groups of the PVs together, in the order of the PVs. A
// damaged group comes without volumes and with a note; the error is ctx's.
func Assemble(ctx context.Context, pvs []*PV) ([]Group, error) {
	newest := map[string]*PV{}
	var order []string
	for _, pv := range pvs {
		if pv.text == nil {
			continue
		}
		// Groups of one name with different ids stay apart.
		id := pv.Group + "\x00" + pv.group
		if newest[id] == nil {
			order = append(order, id)
		}
		if n := newest[id]; n == nil || pv.seqno > n.seqno {
			newest[id] = pv
		}
	}
	var groups []Group
	for _, id := range order {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		groups = append(groups, assemble(ctx, newest[id], pvs))
	}
	return groups, ctx.Err()
}

// assemble reads the newest text and builds its volumes.
func assemble(ctx context.Context, from *PV, pvs []*PV) Group {
	out := Group{Name: from.Group}
	root, err := parse(from.text)
	var g *group
	if err == nil {
		g, err = readGroup(root)
	}
	if err != nil {
		out.Notes = append(out.Notes, err.Error())
		return out
	}
	out.UUID = g.uuid
	b := newBuilder(ctx, g)
	out.Notes = b.place(pvs)
	for _, name := range g.order {
		if v, ok := b.volume(name); ok {
			out.Volumes = append(out.Volumes, v)
		}
	}
	return out
}

// place finds the device of each PV of the group; a PV that is there several
// times (on a copy of a disk) is taken where it is first.
func (b *builder) place(pvs []*PV) (notes []string) {
	byID := map[string]*PV{}
	for _, pv := range pvs {
		if first := byID[pv.UUID]; first == nil {
			byID[pv.UUID] = pv
		} else if pv.Group == b.g.name {
			notes = append(notes, fmt.Sprintf("physical volume %s is there twice", pv.UUID))
		}
	}
	var names []string
	for name := range b.g.pvs {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		decl := b.g.pvs[name]
		switch pv := byID[decl.uuid]; {
		case pv == nil:
			notes = append(notes, fmt.Sprintf("physical volume %s (%s) is not here", name, decl.uuid))
		case decl.missing:
			// It came back, but the group went on without it.
			notes = append(notes, fmt.Sprintf("physical volume %s (%s) is marked as missing", name, decl.uuid))
		default:
			b.pvs[name] = pv.On
		}
	}
	return notes
}

// volume builds a volume that the guest sees; ok is false for the others.
func (b *builder) volume(name string) (v Volume, ok bool) {
	lv := b.g.lvs[name]
	// LVM may write the store of a snapshot without the flag.
	if !lv.visible && !b.stores[name] || len(lv.segments) == 0 {
		return v, false
	}
	first := lv.segments[0]
	if first.kind == "snapshot" {
		return v, false // it only links origin and store; the store bears the name
	}
	v = Volume{Name: name, UUID: lv.uuid, Kind: kindName(first)}
	if b.stores[name] {
		v.Kind = "snapshot"
	}
	d := b.build(name)
	v.Device, v.Condition, v.Reason = d.dev, d.condition, d.reason
	switch first.kind {
	case "thin-pool", "cache-pool", "vdo-pool":
		v.Internal = true
	}
	return v, true
}

func kindName(s segment) string {
	if s.kind == "striped" && s.number("stripe_count", 1) == 1 {
		return "linear"
	}
	return s.kind
}

func unsupported(kind string) error {
	return fmt.Errorf("LVM volume of type %s: %w", kind, guest.ErrUnsupported)
}
