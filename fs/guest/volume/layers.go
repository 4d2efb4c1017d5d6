package volume

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast/fs/guest"
	"holdfast/fs/guest/lvm"
	"holdfast/fs/guest/md"
	"holdfast/fs/guest/part"
	"holdfast/fs/guest/volume/mapped"
)

// whole looks at a disk, or at an array, that may have a partition table.
func (f *finder) whole(p place) error {
	if p.dev.Refused() != nil {
		return f.leaf(p, false)
	}
	t, err := f.table(p)
	if err != nil {
		return err
	}
	member, err := f.wholeMember(p, t)
	if err != nil {
		return err
	}
	if member || len(t.Partitions) == 0 {
		for _, n := range t.Notes {
			f.note("%s: %s", p.table, n)
		}
		return f.leaf(p, true)
	}
	f.layout.Tables = append(f.layout.Tables, Table{p.table, string(t.Kind), t.Sector, t.UUID, t.Notes})
	return f.partitions(p, t)
}

// table reads the partition table. An MBR does not tell the size of a sector:
// the one is taken with which partitions begin with something that is known.
func (f *finder) table(p place) (*part.Table, error) {
	t, err := part.Read(f.ctx, p.dev, part.Options{})
	if err != nil || t.Kind != part.MBR || f.known(p, t) > 0 {
		return t, err
	}
	large, err := part.Read(f.ctx, p.dev, part.Options{Sector: 4096})
	if err != nil {
		return nil, err
	}
	if large.Kind == part.MBR && f.known(p, large) > 0 {
		return large, nil
	}
	return t, nil
}

// known counts the first partitions that begin with something that is known.
func (f *finder) known(p place, t *part.Table) (n int) {
	for _, q := range t.Partitions[:min(8, len(t.Partitions))] {
		d, err := mapped.Slice(p.dev, q.Start, min(q.Size, p.dev.Size()-q.Start))
		if err != nil || q.Container {
			continue
		}
		if got, err := Probe(f.ctx, d); err == nil && got.Type != "" {
			n++
		} else if _, err := lvm.Probe(f.ctx, d); err == nil {
			n++
		} else if _, err := md.Probe(f.ctx, d); err == nil {
			n++
		}
	}
	return n
}

// wholeMember tells whether all of the device is a member of an array: the
// partition table on it is then the array's. A superblock of version 0.90 at
// the end may as well be that of the last partition.
func (f *finder) wholeMember(p place, t *part.Table) (bool, error) {
	s, err := md.Probe(f.ctx, p.dev)
	if err != nil {
		if !errors.Is(err, guest.ErrNotMine) {
			f.note("%s: %v", p.table, err) // the table may be good all the same
		}
		return false, f.ctx.Err()
	}
	if s.Version != "0.90" {
		return true, nil
	}
	for _, q := range t.Partitions {
		if q.Container || q.Size > p.dev.Size()-q.Start {
			continue
		}
		d, err := mapped.Slice(p.dev, q.Start, q.Size)
		if err != nil {
			continue
		}
		inner, err := md.Probe(f.ctx, d)
		if err == nil && q.Start+inner.At == s.At {
			return false, nil
		}
	}
	return true, nil
}

func (f *finder) partitions(p place, t *part.Table) error {
	// Of a hybrid CD image, a member of firmware RAID, or a disk that has a
	// filesystem and a table all bytes have a second owner.
	whole, err := Probe(f.ctx, p.dev)
	if err != nil && f.ctx.Err() != nil {
		return f.ctx.Err()
	}
	for i, q := range t.Partitions {
		if q.Container {
			continue
		}
		dev, err := mapped.Slice(p.dev, q.Start, q.Size)
		if err == nil && (overlaps(t, i) || q.Start == 0 || whole.Type != "") {
			dev, err = mapped.Marked(dev)
		}
		if err != nil {
			f.note("%s: partition %d: %v", p.table, q.Number, err)
			continue
		}
		l := place{name: fmt.Sprintf("%s%d", p.prefix, q.Number), layer: "partition", dev: dev, condition: p.condition, reason: p.reason,
			part: &Partition{q.Number, q.Type, q.Name, q.UUID, q.Boot}}
		if q.Size > p.dev.Size()-q.Start {
			l.condition, l.reason = max(l.condition, mapped.Incomplete), "the partition reaches beyond the disk's end"
		}
		if ldmTypes[q.Type] {
			f.ldm(p, l)
			continue
		}
		if err := f.leaf(l, true); err != nil {
			return err
		}
	}
	if whole.Type != "iso9660" && whole.Type != "udf" {
		return f.ctx.Err()
	}
	// A hybrid CD image: its partitions lie within.
	if p.dev, err = mapped.Marked(p.dev); err != nil {
		return err
	}
	return f.leaf(p, false)
}

// overlaps tells whether another partition has bytes of partition i as well, or
// the table itself.
func overlaps(t *part.Table, i int) bool {
	p := t.Partitions[i]
	for k, q := range t.Partitions {
		if k != i && !q.Container && p.Start < q.Start+q.Size && q.Start < p.Start+p.Size {
			return true
		}
	}
	return slices.ContainsFunc(t.Taken, func(r part.Range) bool {
		return p.Start < r.Start+r.Size && r.Start < p.Start+p.Size
	})
}

// arrays assembles what was found of md, and looks into it.
func (f *finder) arrays() error {
	for range maxRounds {
		if len(f.members) == 0 {
			return nil
		}
		found := f.members
		f.members = nil
		var plain []md.Member
		for _, m := range found {
			plain = append(plain, m.Member)
		}
		arrays, err := md.Assemble(f.ctx, plain)
		if err != nil {
			return err
		}
		for i, a := range arrays {
			name := arrayName(a.Name, i)
			for _, m := range found {
				if m.UUID == a.UUID {
					m.vol.Of = []string{name}
				}
			}
			top := place{table: name, name: name, layer: "md " + a.Level, prefix: name + "p", dev: a.Device, condition: a.Condition, reason: a.Reason}
			if err := f.whole(top); err != nil {
				if f.ctx.Err() != nil {
					return err
				}
				f.note("array %s: %v", name, err)
			}
		}
	}
	f.note("md arrays lie upon each other more than %d deep", maxRounds)
	return nil
}

// arrayName makes a file name of an array's: "host:0" and "0" are md0, and
// "host:data" is md-data.
func arrayName(name string, i int) string {
	if _, own, ok := strings.Cut(name, ":"); ok {
		name = own
	}
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._+-", r) {
			return r
		}
		return '_'
	}, name)
	switch {
	case name == "":
		return fmt.Sprintf("md%d", 127-i%100) // as the kernel calls nameless ones
	case strings.Trim(name, "0123456789") == "":
		return "md" + name
	}
	return "md-" + name
}

// groups assembles the volume groups.
func (f *finder) groups() error {
	var plain []*lvm.PV
	for _, pv := range f.pvs {
		plain = append(plain, pv.PV)
	}
	groups, err := lvm.Assemble(f.ctx, plain)
	if err != nil {
		return err
	}
	for _, pv := range f.pvs {
		if pv.Group != "" {
			pv.vol.Of = []string{pv.Group}
		}
	}
	for _, g := range groups {
		for _, n := range g.Notes {
			f.note("volume group %s: %s", g.Name, n)
		}
		for _, lv := range g.Volumes {
			p := place{name: mapperName(g.Name, lv.Name), layer: "lvm " + lv.Kind, mapperID: mapperID(g.UUID, lv.UUID), dev: lv.Device, condition: lv.Condition, reason: lv.Reason}
			if lv.Internal && len(f.layout.Volumes) < maxVolumes {
				v := f.add(p)
				v.State, v.Reason = Member, "it holds other volumes"
				continue
			}
			if err := f.leaf(p, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// mapperID is the id that device-mapper gives a logical volume.
func mapperID(group, volume string) string {
	return "LVM-" + strings.ReplaceAll(group+volume, "-", "")
}

// mapperName is the name that device-mapper gives a logical volume.
func mapperName(group, volume string) string {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return double(group) + "-" + double(volume)
}
