package main

import (
	"context"
	"encoding/binary"
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

// known is a region as the disk of a version has it.
type known struct {
	id     pack.ID
	bitmap uint64
	bytes  int64
}

// maker makes a store's maps through a session, and keeps what is written into
// the index afterwards.
type maker struct {
	ctx   context.Context
	store *chunkstore.Store
	ses   chunkstore.Session
	rng   *rand.ChaCha8
	out   *os.File // ids of chunks, 32 bytes each
	roots map[string][]byte
}

// Commit implements catalog.Committer: the roots go straight into the index.
func (m *maker) Commit(_ context.Context, name string, body []byte) error {
	m.roots[name] = body
	return nil
}

// makeStore makes a store in dir. Half the chunks are of the VMs' first
// versions, the rest is what later versions have changed.
func makeStore(ctx context.Context, dir string, chunks, versions int) error {
	began := time.Now()
	if _, err := chunkstore.Create(dir, chunkstore.CreateOptions{NoParity: true}); err != nil {
		return err
	}
	s, err := chunkstore.Open(dir, chunkstore.Options{})
	if err != nil {
		return err
	}
	ses, err := s.Begin(ctx, "scale")
	if err != nil {
		return err
	}
	ids, err := os.CreateTemp(filepath.Dir(dir), "ids-")
	if err != nil {
		return err
	}
	defer ids.Close()
	m := &maker{ctx, s, ses, rand.NewChaCha8([32]byte{1}), ids, map[string][]byte{}}
	vms := max(1, versions/100)
	each := versions / vms
	regions := max(1, chunks/perRegion/2/vms)
	changed := max(1, chunks/perRegion/2/max(1, vms*(each-1)))
	for v := range vms {
		if err := m.vm(fmt.Sprintf("vm%04d", v), each, regions, changed); err != nil {
			return err
		}
	}
	if err := ses.Close(); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	n, err := m.index(dir)
	if err != nil {
		return err
	}
	fmt.Printf("made %d chunks in %d versions of %d VMs in %v\n", n, len(m.roots), vms, time.Since(began).Round(time.Second))
	return nil
}

func (m *maker) vm(name string, versions, regions, changed int) error {
	var current []known
	for range regions {
		k, err := m.region()
		if err != nil {
			return err
		}
		current = append(current, k)
	}
	for v := range versions {
		for i := 0; v > 0 && i < changed; i++ {
			k, err := m.region()
			if err != nil {
				return err
			}
			current[(v*changed+i)*7919%regions] = k
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
		rm[i] = disk.Extent{Off: i * pack.MaxChunk, Len: pack.MaxChunk}
		m.rng.Read(rm[i].ID[:])
		if _, err := m.out.Write(rm[i].ID[:]); err != nil {
			return known{}, err
		}
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
	b, err := disk.NewBuilder(int64(len(regions))*disk.RegionSize, m.put)
	if err != nil {
		return err
	}
	for i, k := range regions {
		if err := b.AddKnown(m.ctx, int64(i), k.id, k.bitmap, k.bytes); err != nil {
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

// index writes the chunks, their packs and the roots into the index; the layout
// is that of package chunkstore.
func (m *maker) index(dir string) (int, error) {
	db, err := pebble.Open(filepath.Join(dir, "index"), &pebble.Options{MemTableSize: 64 << 20, L0CompactionThreshold: 8, Logger: quiet{}})
	if err != nil {
		return 0, err
	}
	defer db.Close()
	st, err := m.out.Stat()
	if err != nil {
		return 0, err
	}
	n := int(st.Size() / 32)
	buf := make([]byte, perPack*32)
	for from := 0; from < n; from += perPack {
		count := min(perPack, n-from)
		if _, err := m.out.ReadAt(buf[:count*32], int64(from)*32); err != nil {
			return 0, err
		}
		if err := addPack(db, dir, uint64(from/perPack)+1, buf[:count*32]); err != nil {
			return 0, err
		}
	}
	b := db.NewBatch()
	for name, body := range m.roots {
		if err := b.Set(append([]byte{'r'}, name...), body, nil); err != nil {
			return 0, err
		}
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return 0, err
	}
	return n, db.Flush() // as after any while of work: what is in the log alone is replayed
}

// addPack enters one pack of chunks, which is an empty file.
func addPack(db *pebble.DB, dir string, n uint64, ids []byte) error {
	const payload = 40000
	name := fmt.Sprintf("%016x.pack", n)
	sub := filepath.Join(dir, "packs", name[:2])
	if err := os.MkdirAll(sub, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(sub, name), nil, 0o644); err != nil {
		return err
	}
	b := db.NewBatch()
	count := len(ids) / 32
	for i := range count {
		v := binary.LittleEndian.AppendUint64(nil, n)
		v = binary.LittleEndian.AppendUint32(v, uint32(64+i*(payload+64)))
		v = binary.LittleEndian.AppendUint32(v, payload)
		if err := b.Set(append([]byte{'c'}, ids[i*32:(i+1)*32]...), v, nil); err != nil {
			return err
		}
	}
	v := binary.LittleEndian.AppendUint32([]byte{0}, uint32(count))
	v = binary.LittleEndian.AppendUint64(v, uint64(count)*pack.MaxChunk)
	v = binary.LittleEndian.AppendUint64(v, uint64(count)*(payload+64))
	v = binary.LittleEndian.AppendUint64(v, 0)
	if err := b.Set(binary.BigEndian.AppendUint64([]byte{'p'}, n), v, nil); err != nil {
		return err
	}
	return b.Commit(pebble.NoSync)
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}
