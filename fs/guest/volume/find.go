package volume

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"holdfast/fs/guest"
	"holdfast/fs/guest/lvm"
	"holdfast/fs/guest/md"
	"holdfast/fs/guest/volume/mapped"
)

// maxVolumes of a VM; what is beyond is told in Notes.
const maxVolumes = 4096

// maxRounds of arrays upon arrays.
const maxRounds = 3

// finder collects what is found.
type finder struct {
	ctx     context.Context
	layout  *Layout
	members []member
	pvs     []physical
	names   map[string]int // first disk and name → how many
}

// member is a device with an md superblock; physical one with an LVM label.
type member struct {
	md.Member
	vol *Volume
}

type physical struct {
	*lvm.PV
	vol *Volume
}

// Find finds the volumes on the disks of a VM, those of the first disk first.
// What is damaged or not supported comes as a volume with that state; a disk
// that can't be read is told in Notes. The error is ctx's.
func Find(ctx context.Context, disks []Disk) (*Layout, error) {
	f := &finder{ctx: ctx, layout: &Layout{}, names: map[string]int{}}
	for _, d := range disks {
		top := place{table: d.Name, name: "disk", layer: "disk", prefix: "p", dev: mapped.Disk(d.Name, d.Volume)}
		if err := f.whole(top); err != nil {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("look at disk %s: %w", d.Name, err)
			}
			f.note("disk %s: %v", d.Name, err)
		}
	}
	if err := f.arrays(); err != nil {
		return nil, err
	}
	if err := f.groups(); err != nil {
		return nil, err
	}
	f.peers()
	return f.layout, ctx.Err()
}

// place is a device to look at, and how to call what is found.
type place struct {
	table     string // name for its partition table
	name      string
	layer     string
	prefix    string // of its partitions' names
	dev       *mapped.Device
	part      *Partition
	mapperID  string
	condition mapped.Condition
	reason    string
}

// add makes a volume of the place.
func (f *finder) add(p place) *Volume {
	v := &Volume{Device: p.dev}
	v.Description = Description{Name: p.name, Layer: p.layer, Size: p.dev.Size(), Used: -1, Disks: p.dev.Disks(),
		Offset: -1, State: states[p.condition], Reason: p.reason, Partition: p.part, MapperID: p.mapperID}
	if _, off, ok := p.dev.Solid(); ok {
		v.Offset = off
	}
	key := strings.Join(append(p.dev.Disks(), "")[:1], "") + "\x00" + v.Name
	if f.names[key]++; f.names[key] > 1 {
		v.Name = fmt.Sprintf("%s-%d", v.Name, f.names[key])
	}
	f.layout.Volumes = append(f.layout.Volumes, v)
	return v
}

var states = [...]State{
	mapped.Whole: OK, mapped.Degraded: Degraded, mapped.Incomplete: Incomplete,
	mapped.Unsupported: Unsupported, mapped.Damaged: Damaged,
}

func (f *finder) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	if notes := f.layout.Notes; len(notes) < 64 && (len(notes) == 0 || notes[len(notes)-1] != n) {
		f.layout.Notes = append(notes, n)
	}
}

// leaf adds a volume and looks at what it holds: a part of an array or group,
// or something to be named.
func (f *finder) leaf(p place, nested bool) error {
	if len(f.layout.Volumes) >= maxVolumes {
		f.note("more than %d volumes", maxVolumes)
		return nil
	}
	v := f.add(p)
	if p.dev.Refused() != nil {
		return nil
	}
	probe := sync.OnceValues(func() (Format, error) { return Probe(f.ctx, v) })
	if nested {
		done, err := f.collect(v, probe)
		if done || err != nil {
			return f.unreadable(v, err)
		}
	}
	return f.unreadable(v, f.describe(v, probe))
}

// unreadable turns a volume's read error into its state; a context's error ends
// the search.
func (f *finder) unreadable(v *Volume, err error) error {
	if err == nil || f.ctx.Err() != nil {
		return f.ctx.Err()
	}
	if v.State == OK || v.State == Degraded {
		v.State = Damaged
	}
	v.addReason(err.Error())
	return nil
}

func (v *Volume) addReason(why string) {
	if v.Reason != "" {
		v.Reason += "; "
	}
	v.Reason += why
}

// collect keeps members of arrays and groups for later.
func (f *finder) collect(v *Volume, probe func() (Format, error)) (done bool, err error) {
	s, err := md.Probe(f.ctx, v.Device)
	if err == nil {
		v.Type, v.UUID, v.Label, v.State = "md-member", s.UUID, s.Name, Member
		f.members = append(f.members, member{md.Member{Super: s, On: v.Device}, v})
		return true, nil
	}
	if !errors.Is(err, guest.ErrNotMine) {
		return false, err
	}
	dev := v.Device
	if got, err := probe(); err == nil && got.Type != "" {
		// What was a physical volume may be that by now: the group has no
		// more than a share.
		if dev, err = mapped.Marked(dev); err != nil {
			return false, err
		}
	}
	pv, err := lvm.Probe(f.ctx, dev)
	if err == nil {
		v.Type, v.UUID, v.State, v.Reason = "lvm-pv", pv.UUID, Member, pv.Note
		f.pvs = append(f.pvs, physical{pv, v})
		return true, nil
	}
	if !errors.Is(err, guest.ErrNotMine) {
		return false, err
	}
	return false, nil
}

// describe names what the volume holds.
func (f *finder) describe(v *Volume, probe func() (Format, error)) error {
	got, err := probe()
	if err != nil {
		return err
	}
	v.Type, v.Label, v.UUID, v.Used = got.Type, got.Label, got.UUID, got.Used
	switch {
	case got.Type == "" && v.State == OK:
		v.State = Empty
	case got.Type == "":
	case got.Refused != "":
		v.State = Unsupported
		v.addReason(got.Refused)
	case got.Type == "swap":
		v.State = Swap
	case got.Size > v.Device.Size():
		v.addReason(fmt.Sprintf("the filesystem is %d bytes larger than its volume", got.Size-v.Device.Size()))
	}
	if got.Also != "" {
		v.addReason("also looks like " + got.Also)
	}
	return nil
}

// peers ties volumes together that hold one btrfs, and says of which some are
// missing.
func (f *finder) peers() {
	byID := map[string][]*Volume{}
	for _, v := range f.layout.Volumes {
		if v.Type == "btrfs" && (v.State == OK || v.State == Degraded) {
			byID[v.UUID] = append(byID[v.UUID], v)
		}
	}
	for _, v := range f.layout.Volumes {
		all := byID[v.UUID]
		if v.Type != "btrfs" || len(all) == 0 {
			continue
		}
		_, count := btrfsDevice(f.ctx, v)
		if count < 2 {
			continue
		}
		if len(all) > 1 {
			v.Peers = all
		}
		if v != all[0] {
			v.State, v.Of = Member, []string{shownAs(all[0])}
			continue
		}
		here := map[uint64]bool{}
		for _, p := range all {
			number, _ := btrfsDevice(f.ctx, p)
			here[number] = true
		}
		if n := uint64(len(here)); n < count {
			v.State = Incomplete
			v.addReason(fmt.Sprintf("%d of its %d devices are here", n, count))
		}
	}
}

// shownAs is the path under which the files of a volume are shown.
func shownAs(v *Volume) string {
	on := v.Disks()
	on = on[:min(1, len(on)):min(1, len(on))]
	return strings.Join(append(on, v.Name), "/")
}
