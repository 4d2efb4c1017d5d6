package lvm

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"holdfast/fs/guest"
	"holdfast/fs/guest/volume/mapped"
)

// Checksums of the pool's metadata are CRC-32C without the last inversion,
// changed by a constant for each sort of block.
const (
	superXor = 160774
	nodeXor  = 121107
)

// pool is a thin pool's metadata, and the device its blocks lie on.
type pool struct {
	tree    *tree
	data    *mapped.Device
	block   int64 // bytes
	top     uint64
	details uint64
	built   built // condition of the pool
}

// thin makes the device of a thin volume.
func (b *builder) thin(lv *lvDecl, s segment, size int64) (*built, error) {
	id := s.number("device_id", -1)
	if id < 0 || s.start != 0 {
		return nil, guest.Corrupt("thin volume %s: device %d, segment at %d", lv.name, id, s.start)
	}
	p, err := b.pool(s.str("thin_pool"))
	if err != nil {
		return nil, err
	}
	m := &thinMap{pool: p}
	out := p.built
	below := []*mapped.Device{p.data, p.tree.on}
	ways := p.data.Ways()
	if origin := s.str("external_origin"); origin != "" {
		under := b.build(origin)
		out.worsen(under.condition, under.reason)
		m.origin = under.dev
		below, ways = append(below, under.dev), max(ways, under.dev.Ways())
	}
	root, _, known, err := p.tree.find(p.top, uint64(id), 8)
	if err != nil {
		return nil, fmt.Errorf("look up thin device %d: %w", id, err)
	}
	if known {
		m.root, m.known = root.number(0), true
	} else if !b.pending(s.str("thin_pool"), id) {
		return nil, guest.Corrupt("thin pool %s does not know device %d", s.str("thin_pool"), id)
	}
	details, _, known, err := p.tree.find(p.details, uint64(id), 24)
	if err != nil || m.known && !known {
		return nil, guest.Corrupt("thin pool %s has no details of device %d (%v)", s.str("thin_pool"), id, err)
	}
	if known {
		m.snapshotted = binary.LittleEndian.Uint32(details[20:])
	}
	out.dev, err = mapped.New(size, m, ways, below...)
	return &out, err
}

// pending tells whether the pool has yet to be told to create the device: so
// it is after lvcreate without activation. Such a volume is empty.
func (b *builder) pending(name string, id int64) bool {
	lv := b.g.lvs[name]
	if lv == nil || len(lv.segments) == 0 {
		return false
	}
	for _, m := range lv.segments[0].inner {
		if m.number("create", -1) == id {
			return true
		}
	}
	return false
}

// pool opens the metadata of a pool, once.
func (b *builder) pool(name string) (*pool, error) {
	if p := b.pools[name]; p != nil {
		return p, nil
	}
	lv := b.g.lvs[name]
	if lv == nil || len(lv.segments) != 1 || lv.segments[0].kind != "thin-pool" || b.open[name] {
		return nil, guest.Corrupt("no thin pool %s/%s", b.g.name, name)
	}
	s := lv.segments[0]
	b.open[name] = true
	data, meta := b.build(s.str("pool")), b.build(s.str("metadata"))
	delete(b.open, name)
	for _, d := range []*built{data, meta} {
		if err := d.dev.Refused(); err != nil {
			return nil, fmt.Errorf("thin pool %s: %w", name, err)
		}
	}
	p, err := openPool(b.ctx, data.dev, meta.dev, s.number("chunk_size", 0)*sectorSize)
	if err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", name, err)
	}
	p.built.worsen(data.condition, data.reason)
	p.built.worsen(meta.condition, meta.reason)
	b.pools[name] = p
	return p, nil
}

// openPool reads the superblock (drivers/md/dm-thin-metadata.c, struct
// thin_disk_superblock).
//
//	 0  CRC          32  magic        320  root of the mappings
//	 4  flags        40  version      328  root of the details
//	 8  own block    44  time         336  sectors of a data block
//	16  UUID         48  transaction  340  sectors of a metadata block
//	                 64  space maps   360  features that must be known
func openPool(ctx context.Context, data, meta *mapped.Device, block int64) (*pool, error) {
	const magic = 27022010
	b := make([]byte, nodeSize)
	if _, err := readAt(ctx, meta, b, 0); err != nil {
		return nil, fmt.Errorf("read superblock: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint64(b[32:]) != magic || le.Uint32(b) != blockSum(b, superXor) || le.Uint64(b[8:]) != 0 {
		return nil, guest.Corrupt("superblock is not one")
	}
	if v := le.Uint32(b[40:]); v < 1 || v > 2 || le.Uint32(b[360:]) != 0 {
		return nil, fmt.Errorf("metadata version %d, features %#x: %w", v, le.Uint32(b[360:]), guest.ErrUnsupported)
	}
	size := int64(le.Uint32(b[336:])) * sectorSize
	if size < 64<<10 || size > 1<<30 || size != block || le.Uint32(b[340:]) != nodeSize/sectorSize {
		return nil, guest.Corrupt("blocks of %d bytes, the group says %d", size, block)
	}
	p := &pool{tree: &tree{on: meta, nodes: map[uint64]*node{}}, data: data, block: size,
		top: le.Uint64(b[320:]), details: le.Uint64(b[328:])}
	if le.Uint32(b[4:])&1 != 0 {
		p.built.worsen(mapped.Degraded, "the thin pool is marked as in need of a check")
	}
	return p, nil
}

// thinMap tells where a thin volume lies.
type thinMap struct {
	pool        *pool
	known       bool // the pool has a tree for it
	root        uint64
	snapshotted uint32         // blocks older than that belong to a snapshot as well
	origin      *mapped.Device // shows through where nothing is mapped; or nil
}

func (m *thinMap) Piece(off, limit int64) (mapped.Piece, error) {
	if !m.known {
		return m.hole(off, limit), nil
	}
	block := m.pool.block
	first, in := off/block, off%block
	r, err := m.pool.tree.run(m.root, uint64(first), uint64((in+limit-1)/block)+1)
	if err != nil {
		return mapped.Piece{}, fmt.Errorf("look up block %d of a thin volume: %w", first, err)
	}
	length := limit
	if r.blocks <= uint64(math.MaxInt64/block) {
		length = min(limit, int64(r.blocks)*block-in)
	}
	if !r.mapped {
		return m.hole(off, length), nil
	}
	if r.block > uint64(m.pool.data.Size()/block) || r.blocks > uint64(m.pool.data.Size()/block)-r.block {
		return mapped.Piece{}, guest.Corrupt("thin volume maps blocks %d to block %d of a pool of %d", first, r.block, m.pool.data.Size()/block)
	}
	at := mapped.Place{On: m.pool.data, Off: int64(r.block)*block + in}
	return mapped.Piece{Length: length, Places: []mapped.Place{at}, Shared: r.time < m.snapshotted}, nil
}

// hole is what is not mapped: the origin shows through, as far as it goes.
func (m *thinMap) hole(off, length int64) mapped.Piece {
	if m.origin == nil || off >= m.origin.Size() {
		return mapped.Piece{Length: length}
	}
	at := mapped.Place{On: m.origin, Off: off}
	return mapped.Piece{Length: min(length, m.origin.Size()-off), Places: []mapped.Place{at}, Shared: true}
}
