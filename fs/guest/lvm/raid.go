package lvm

import (
	"encoding/binary"
	"fmt"
	"math"

	"holdfast/fs/guest"
	"holdfast/fs/guest/volume/mapped"
)

// mirror is the kind of old (dm-mirror). Its first leg is always right; which
// others are in step only its log knows, so they are not read.
func (b *builder) mirror(s segment, size int64) (*built, error) {
	places, err := s.areas("mirrors")
	if err != nil {
		return nil, err
	}
	leg, err := b.area(places[0], size)
	if err != nil {
		return nil, err
	}
	if leg.dev.Refused() != nil {
		err := fmt.Errorf("first leg of a mirror: %s", leg.reason)
		return &built{mapped.Refuse(size, err), leg.condition, err.Error()}, nil
	}
	return leg, nil
}

// leg is an image of a raid volume with the volume of its superblock.
type leg struct {
	image *built
	sb    *raidSuper
}

// legs reads a list of images, before each its metadata volume when paired.
func (b *builder) legs(s segment, key string, paired bool) ([]leg, error) {
	names, err := s.names(key)
	if err != nil {
		return nil, err
	}
	step := 1
	if paired {
		step = 2
	}
	if len(names)%step != 0 {
		return nil, guest.Corrupt("segment of type %s with %d volumes", s.kind, len(names))
	}
	var legs []leg
	for i := 0; i < len(names); i += step {
		l := leg{image: b.build(names[i+step-1])}
		if paired {
			l.sb = b.super(b.build(names[i]).dev)
		}
		legs = append(legs, l)
	}
	return legs, nil
}

func (b *builder) raid0(s segment, size int64) (*built, error) {
	legs, err := b.legs(s, "raid0_lvs", s.kind == "raid0_meta")
	if err != nil {
		return nil, err
	}
	chunk, err := chunkSize(s)
	if err != nil {
		return nil, err
	}
	out := &built{}
	var devs []*mapped.Device
	for _, l := range legs {
		out.worsen(l.image.condition, l.image.reason)
		devs = append(devs, l.image.dev)
	}
	out.dev, err = mapped.Stripe(size, chunk, devs)
	return out, err
}

func (b *builder) raid1(s segment, size int64) (*built, error) {
	legs, err := b.legs(s, "raids", true)
	if err != nil {
		return nil, err
	}
	good, out, err := b.inStep(legs)
	if err != nil {
		return nil, err
	}
	var devs []*mapped.Device
	for _, d := range good {
		if d != nil && d.Size() >= size {
			devs = append(devs, d)
		}
	}
	if len(devs) == 0 {
		return nil, fmt.Errorf("no leg of a mirror is good: %w", errMissing)
	}
	out.dev, err = mapped.Mirror(size, devs)
	return out, err
}

func (b *builder) raid10(s segment, size int64) (*built, error) {
	legs, err := b.legs(s, "raids", true)
	if err != nil {
		return nil, err
	}
	good, out, err := b.inStep(legs)
	if err != nil {
		return nil, err
	}
	chunk, err := chunkSize(s)
	if err != nil {
		return nil, err
	}
	copies := s.number("data_copies", 2)
	n := int64(len(legs))
	if copies < 1 || copies > n || size > math.MaxInt64/copies {
		return nil, guest.Corrupt("%d copies on %d legs", copies, n)
	}
	legSize := (size*copies/n + chunk - 1) / chunk * chunk
	whole, err := mapped.Raid10(mapped.Layout10{Near: int(copies), Far: 1, Chunk: chunk}, legSize, good, errMissing)
	if err != nil {
		return nil, err
	}
	if whole.Size() < size {
		return nil, guest.Corrupt("RAID 10 of %d bytes for %d", whole.Size(), size)
	}
	for first := range n / copies {
		lost := true
		for _, d := range good[first*copies:][:copies] {
			lost = lost && d == nil
		}
		if lost && n%copies == 0 {
			out.worsen(mapped.Incomplete, "all copies of a stripe are missing")
		}
	}
	out.dev, err = mapped.Slice(whole, 0, size)
	return out, err
}

// inStep gives the images that hold current data, nil for the others.
func (b *builder) inStep(legs []leg) ([]*mapped.Device, *built, error) {
	var newest *raidSuper
	for _, l := range legs {
		if l.sb != nil && (newest == nil || l.sb.events > newest.events) {
			newest = l.sb
		}
	}
	if newest != nil && newest.reshaping {
		return nil, nil, fmt.Errorf("raid volume that is being reshaped: %w", guest.ErrUnsupported)
	}
	out := &built{}
	var good []*mapped.Device
	for i, l := range legs {
		why := ""
		switch {
		case l.image.condition > mapped.Degraded:
			why = l.image.reason
		case newest == nil:
		case l.sb == nil:
			why = "it has no superblock"
		case i < 64 && newest.failed>>i&1 != 0:
			why = "it has failed"
		case l.sb.events+1 < newest.events:
			why = "it fell behind"
		case l.sb.recovery != math.MaxUint64:
			why = "it is being rebuilt"
		}
		if why != "" {
			out.worsen(mapped.Degraded, fmt.Sprintf("leg %d is not used: %s", i, why))
			good = append(good, nil)
			continue
		}
		good = append(good, l.image.dev)
	}
	return good, out, nil
}

// raidSuper is dm-raid's superblock of a leg (drivers/md/dm-raid.c,
// struct dm_raid_superblock).
//
//	0  "DmRd"            16  events           32  where its rebuild has got to
//	4  features          24  failed legs      40  where the resync has got to
//	8  number of legs                         48  level, layout, stripe sectors, flags
type raidSuper struct {
	events, failed, recovery uint64
	reshaping                bool
}

// super reads a leg's superblock; nil when there is none, as before the first
// activation.
func (b *builder) super(d *mapped.Device) *raidSuper {
	p := make([]byte, 512)
	if _, err := readAt(b.ctx, d, p, 0); err != nil || string(p[:4]) != "DmRd" {
		return nil
	}
	le := binary.LittleEndian
	extended := le.Uint32(p[4:])&1 != 0
	return &raidSuper{events: le.Uint64(p[16:]), failed: le.Uint64(p[24:]), recovery: le.Uint64(p[32:]),
		reshaping: extended && le.Uint32(p[60:])&1 != 0}
}
