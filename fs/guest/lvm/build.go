package lvm

import (
	"context"
	"errors"
	"fmt"
	"math"

	"holdfast/fs/guest"
	"holdfast/fs/guest/volume/mapped"
)

// maxLevels of volumes upon volumes. Today's deepest stack has 5: thin volume,
// pool, pool data, raid image, integrity origin.
const maxLevels = 8

// builder makes devices of a group's volumes, each once.
type builder struct {
	ctx     context.Context
	g       *group
	pvs     map[string]*mapped.Device // those that are here
	done    map[string]*built
	open    map[string]bool // being built: meeting one again is a loop
	pools   map[string]*pool
	stores  map[string]bool // volumes that are the store of a snapshot
	origins map[string]bool // volumes that have a snapshot of the old kind
	merging map[string]bool // origins into which a snapshot is being merged
}

// built is a device with what there is to say of it.
type built struct {
	dev       *mapped.Device
	condition mapped.Condition
	reason    string
}

// worsen keeps the worst condition and its reason.
func (d *built) worsen(c mapped.Condition, reason string) {
	if c > d.condition {
		d.condition, d.reason = c, reason
	}
}

func newBuilder(ctx context.Context, g *group) *builder {
	b := &builder{ctx: ctx, g: g, pvs: map[string]*mapped.Device{}, done: map[string]*built{}, open: map[string]bool{},
		pools: map[string]*pool{}, stores: map[string]bool{}, origins: map[string]bool{}, merging: map[string]bool{}}
	for _, lv := range g.lvs {
		for _, s := range lv.segments {
			if s.kind != "snapshot" {
				continue
			}
			b.stores[s.str("cow_store")] = true
			b.stores[s.str("merging_store")] = true
			b.origins[s.str("origin")] = true
			b.merging[s.str("origin")] = b.merging[s.str("origin")] || s.str("merging_store") != ""
		}
	}
	return b
}

// failed turns an error into a device that tells it.
func failed(size int64, err error) *built {
	d := &built{dev: mapped.Refuse(size, err), condition: mapped.Damaged, reason: err.Error()}
	switch {
	case errors.Is(err, errMissing):
		d.condition = mapped.Incomplete
	case errors.Is(err, guest.ErrUnsupported):
		d.condition = mapped.Unsupported
	}
	return d
}

var errMissing = errors.New("physical volume is missing")

// build makes the device of a volume; it always gives one.
func (b *builder) build(name string) *built {
	if d := b.done[name]; d != nil {
		return d
	}
	lv := b.g.lvs[name]
	switch {
	case lv == nil:
		return failed(0, guest.Corrupt("no volume %s/%s", b.g.name, name))
	case b.open[name] || len(b.open) >= maxLevels:
		return failed(b.g.size(lv), guest.Corrupt("volume %s/%s is built upon itself", b.g.name, name))
	}
	b.open[name] = true
	d := b.buildLV(lv)
	delete(b.open, name)
	b.done[name] = d
	return d
}

func (b *builder) buildLV(lv *lvDecl) *built {
	size := b.g.size(lv)
	switch {
	case b.stores[lv.name]:
		return failed(size, unsupported("snapshot"))
	case b.merging[lv.name]:
		return failed(size, fmt.Errorf("snapshot being merged into %s: %w", lv.name, guest.ErrUnsupported))
	}
	out := &built{}
	var parts []*mapped.Device
	for _, s := range lv.segments {
		d := b.segment(lv, s)
		out.worsen(d.condition, d.reason)
		// A segment counts with the length that the text gives it.
		if d.dev.Size() != s.count*b.g.extent {
			d = failed(s.count*b.g.extent, guest.Corrupt("segment of %d bytes is %d bytes long", s.count*b.g.extent, d.dev.Size()))
			out.worsen(d.condition, d.reason)
		}
		parts = append(parts, d.dev)
	}
	dev, err := mapped.Join(parts)
	if err == nil && b.origins[lv.name] {
		// What the origin has freed its snapshots may still show.
		dev, err = mapped.Marked(dev)
	}
	if err != nil {
		return failed(size, err)
	}
	if len(parts) == 1 && parts[0].Refused() != nil {
		dev = parts[0]
	}
	out.dev = dev
	return out
}

// segment makes the device of one segment.
func (b *builder) segment(lv *lvDecl, s segment) *built {
	size := s.count * b.g.extent
	d, err := b.segmentDevice(lv, s, size)
	if err != nil {
		return failed(size, err)
	}
	return d
}

func (b *builder) segmentDevice(lv *lvDecl, s segment, size int64) (*built, error) {
	switch s.kind {
	case "striped", "linear":
		return b.striped(s, size)
	case "raid0", "raid0_meta":
		return b.raid0(s, size)
	case "raid1":
		return b.raid1(s, size)
	case "raid10", "raid10_near":
		return b.raid10(s, size)
	case "mirror":
		return b.mirror(s, size)
	case "thin":
		return b.thin(lv, s, size)
	case "zero":
		return &built{dev: mapped.Zeros(size)}, nil
	}
	return nil, unsupported(s.kind)
}

// area makes the device of a run on a PV or on another volume.
func (b *builder) area(a area, size int64) (*built, error) {
	if a.extent > math.MaxInt64/b.g.extent {
		return nil, guest.Corrupt("extent %d of %s", a.extent, a.on)
	}
	off := a.extent * b.g.extent
	decl, isPV := b.g.pvs[a.on]
	if !isPV {
		under := b.build(a.on)
		if under.dev.Refused() != nil {
			return under, nil
		}
		if off > under.dev.Size()-size {
			return nil, guest.Corrupt("extent %d of %s lies behind its end", a.extent, a.on)
		}
		dev, err := mapped.Slice(under.dev, off, size)
		return &built{dev, under.condition, under.reason}, err
	}
	if a.extent > decl.count-size/b.g.extent {
		return nil, guest.Corrupt("extent %d of %s, which has %d", a.extent, a.on, decl.count)
	}
	on := b.pvs[a.on]
	if on == nil {
		err := fmt.Errorf("%w: %s (%s)", errMissing, a.on, decl.uuid)
		return failed(size, err), nil
	}
	if off > math.MaxInt64-decl.start {
		return nil, guest.Corrupt("extent %d of %s", a.extent, a.on)
	}
	dev, err := mapped.Slice(on, decl.start+off, size)
	return &built{dev: dev}, err
}

// striped is the common case: linear is a single stripe.
func (b *builder) striped(s segment, size int64) (*built, error) {
	places, err := s.areas("stripes")
	if err != nil {
		return nil, err
	}
	n := int64(len(places))
	if s.number("stripe_count", 1) != n || s.count%n != 0 {
		return nil, guest.Corrupt("%d extents on %d stripes of %d", s.count, n, s.number("stripe_count", 1))
	}
	out := &built{}
	var legs []*mapped.Device
	for _, a := range places {
		leg, err := b.area(a, size/n)
		if err != nil {
			return nil, err
		}
		out.worsen(leg.condition, leg.reason)
		legs = append(legs, leg.dev)
	}
	if n == 1 {
		out.dev = legs[0]
		return out, nil
	}
	chunk, err := chunkSize(s)
	if err != nil {
		return nil, err
	}
	out.dev, err = mapped.Stripe(size, chunk, legs)
	return out, err
}

// chunkSize gives the bytes of a stripe's chunk.
func chunkSize(s segment) (int64, error) {
	sectors := s.number("stripe_size", 0)
	if sectors < 1 || sectors > math.MaxUint32 {
		return 0, guest.Corrupt("stripes of %d sectors", sectors)
	}
	return sectors * sectorSize, nil
}
