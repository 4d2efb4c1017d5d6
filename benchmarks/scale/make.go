package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// shape is how many of what a store has.
type shape struct {
	vms     int
	each    int // versions of a VM
	regions int // of a disk
	changed int // regions that a version has changed
}

// A disk begins and ends with a hole, in which a guest's volumes would be looked
// for: what the disk holds can't be read.
const (
	holeBefore = 32
	holeBehind = 4
)

// shapeOf divides chunks and versions: half the chunks are of the VMs' first
// versions, the rest is what later versions have changed.
func shapeOf(chunks, versions int) shape {
	vms := max(1, versions/100)
	each := versions / vms
	return shape{
		vms: vms, each: each,
		regions: max(1, chunks/perRegion/2/vms),
		changed: max(1, chunks/perRegion/2/max(1, vms*(each-1))),
	}
}

func (s shape) chunks() int { return s.vms * (s.regions + (s.each-1)*s.changed) * perRegion }

// chunkIDs are the ids of the made-up chunks, the same each time and in the order
// in which the versions bring them.
type chunkIDs struct{ *rand.ChaCha8 }

func newChunkIDs() chunkIDs { return chunkIDs{rand.NewChaCha8([32]byte{1})} }

func (c chunkIDs) next() (id pack.ID) {
	c.Read(id[:]) //nolint:errcheck // it has none
	return id
}

// known is a region as the disk of a version has it.
type known struct {
	id     pack.ID
	bitmap uint64
	bytes  int64
}

// maker makes a store's maps through a session, and keeps the roots, which are
// written into the index afterwards.
type maker struct {
	ctx   context.Context
	store *chunkstore.Store
	ses   chunkstore.Session
	ids   chunkIDs
	shape shape
	roots map[string][]byte
}

// Commit implements catalog.Committer: the roots go straight into the index.
func (m *maker) Commit(_ context.Context, name string, body []byte) error {
	m.roots[name] = body
	return nil
}

// makeStore makes a store in dir.
func makeStore(ctx context.Context, dir string, sh shape) error {
	began := time.Now()
	if _, err := chunkstore.Create(dir, chunkstore.CreateOptions{NoParity: true}); err != nil {
		return err
	}
	if err := fillIndex(ctx, dir, sh.chunks()); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	m := &maker{ctx: ctx, ids: newChunkIDs(), shape: sh, roots: map[string][]byte{}}
	if err := m.maps(dir); err != nil {
		return fmt.Errorf("maps: %w", err)
	}
	if err := m.finish(dir); err != nil {
		return fmt.Errorf("roots: %w", err)
	}
	fmt.Fprintf(os.Stderr, "made %d chunks in %d versions of %d VMs in %v\n", sh.chunks(), len(m.roots), sh.vms, time.Since(began).Round(time.Second))
	return nil
}

// maps puts the maps of all versions.
func (m *maker) maps(dir string) (err error) {
	if m.store, err = chunkstore.Open(dir, chunkstore.Options{}); err != nil {
		return err
	}
	defer m.store.Close()
	if m.ses, err = m.store.Begin(m.ctx, "scale"); err != nil {
		return err
	}
	for v := range m.shape.vms {
		if err := m.vm(fmt.Sprintf("vm%04d", v)); err != nil {
			return err
		}
	}
	if err := m.ses.Close(); err != nil {
		return err
	}
	return m.store.Close()
}

func (m *maker) vm(name string) error {
	var current []known
	for range m.shape.regions {
		k, err := m.region()
		if err != nil {
			return err
		}
		current = append(current, k)
	}
	for v := range m.shape.each {
		for i := 0; v > 0 && i < m.shape.changed; i++ {
			k, err := m.region()
			if err != nil {
				return err
			}
			current[(v*m.shape.changed+i)*7919%len(current)] = k
		}
		if err := m.version(name, v, current); err != nil {
			return err
		}
	}
	return nil
}

// region makes the map of a region of new chunks.
func (m *maker) region() (known, error) {
	rm := make(disk.RegionMap, perRegion)
	for i := range rm {
		rm[i] = disk.Extent{Off: i * pack.MaxChunk, Len: pack.MaxChunk, ID: m.ids.next()}
	}
	plain, err := rm.Encode(nil)
	if err != nil {
		return known{}, err
	}
	id, err := m.put(m.ctx, pack.KindRegionMap, plain)
	return known{id, rm.Bitmap(), rm.DataBytes()}, err
}

func (m *maker) put(ctx context.Context, kind pack.Kind, plain []byte) (pack.ID, error) {
	id := m.store.ID(plain)
	_, err := m.ses.Put(ctx, []pack.Record{m.store.Codec().Encode(nil, kind, id, plain)})
	return id, err
}

func (m *maker) version(vm string, n int, regions []known) error {
	b, err := disk.NewBuilder(int64(holeBefore+len(regions)+holeBehind)*disk.RegionSize, m.put)
	if err != nil {
		return err
	}
	for i, k := range regions {
		if err := b.AddKnown(m.ctx, int64(holeBefore+i), k.id, k.bitmap, k.bytes); err != nil {
			return err
		}
	}
	dm, err := b.Finish(m.ctx)
	if err != nil {
		return err
	}
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n)
	v := &catalog.Version{VM: vm, Time: at, Captured: at, Cut: "grid", Disks: []catalog.Disk{{Name: "vda", Source: "/made", Format: "raw", Map: dm}}}
	return catalog.Commit(m.ctx, m, v)
}

// finish makes the roots visible, and waits until the index has put itself in
// order, as one that was left alone for a minute has.
func (m *maker) finish(dir string) error {
	db, err := pebble.Open(filepath.Join(dir, "index"), indexOptions())
	if err != nil {
		return err
	}
	defer db.Close()
	b := db.NewBatch()
	for name, body := range m.roots {
		if err := b.Set(append([]byte{'r'}, name...), body, nil); err != nil {
			return err
		}
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return err
	}
	if err := db.Flush(); err != nil {
		return err
	}
	for quiet := 0; quiet < 5; time.Sleep(200 * time.Millisecond) {
		if quiet++; db.Metrics().Compact.NumInProgress > 0 {
			quiet = 0
		}
	}
	return nil
}
