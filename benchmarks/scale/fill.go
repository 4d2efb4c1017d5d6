package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

const (
	buckets   = 64 // by an id's first bits; one is sorted in memory
	entryLen  = len(pack.ID{}) + 8
	payload   = 40000 // stored bytes of a made-up chunk
	perPack   = 64 << 20 / (payload + pack.RecordHeaderLen)
	fromBatch = 20 // one chunk in so many is written as a capture does
)

// fillIndex enters n made-up chunks into the index of a new store: most of them as
// sorted tables, which is what years of compactions leave, and the last ones in
// batches, a pack each. Their packs are empty files. The layout of keys is that of
// package chunkstore.
func fillIndex(ctx context.Context, dir string, n int) error {
	db, err := pebble.Open(filepath.Join(dir, "index"), indexOptions())
	if err != nil {
		return err
	}
	packs := rand.NewChaCha8([32]byte{2})
	f := &filler{db: db, dir: dir, ids: newChunkIDs()}
	for range (n + perPack - 1) / perPack {
		f.packs = append(f.packs, packs.Uint64())
	}
	err = f.fill(ctx, n)
	return errors.Join(err, db.Close())
}

type filler struct {
	db    *pebble.DB
	dir   string
	ids   chunkIDs
	packs []uint64
}

func (f *filler) fill(ctx context.Context, n int) error {
	sorted := n - n/fromBatch
	if err := f.tables(ctx, sorted); err != nil {
		return err
	}
	b := f.db.NewBatch()
	for i := sorted; i < n; i++ {
		id := f.ids.next()
		if err := b.Set(chunkKey(id), f.place(i), nil); err != nil {
			return err
		}
		if b.Count() < perPack {
			continue
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			return err
		}
		b = f.db.NewBatch()
	}
	for i, p := range f.packs {
		if err := f.pack(b, p, min(perPack, n-i*perPack)); err != nil {
			return err
		}
	}
	return b.Commit(pebble.Sync)
}

func chunkKey(id pack.ID) []byte { return append([]byte{'c'}, id[:]...) }

// place is the index's value for chunk i.
func (f *filler) place(i int) []byte {
	v := binary.LittleEndian.AppendUint64(nil, f.packs[i/perPack])
	v = binary.LittleEndian.AppendUint32(v, uint32(pack.HeaderLen+i%perPack*(payload+pack.RecordHeaderLen)))
	return binary.LittleEndian.AppendUint32(v, payload)
}

// pack enters a pack, which is an empty file.
func (f *filler) pack(b *pebble.Batch, n uint64, count int) error {
	name := fmt.Sprintf("%016x.pack", n)
	sub := filepath.Join(f.dir, "packs", name[:2])
	if err := os.MkdirAll(sub, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(sub, name), nil, 0o644); err != nil {
		return err
	}
	v := binary.LittleEndian.AppendUint32([]byte{0}, uint32(count))
	v = binary.LittleEndian.AppendUint64(v, uint64(count)*pack.MaxChunk)
	v = binary.LittleEndian.AppendUint64(v, uint64(count)*(payload+pack.RecordHeaderLen))
	v = binary.LittleEndian.AppendUint64(v, 0)
	return b.Set(binary.BigEndian.AppendUint64([]byte{'p'}, n), v, nil)
}

// tables writes chunks 0 to n as sorted tables: first into buckets, then each of
// those in order.
func (f *filler) tables(ctx context.Context, n int) error {
	work, err := os.MkdirTemp(filepath.Dir(f.dir), "ids-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := f.divide(work, n); err != nil {
		return err
	}
	var tables []string
	for i := range buckets {
		name := filepath.Join(work, fmt.Sprint(i))
		if err := f.table(name); err != nil {
			return err
		}
		if err := os.Remove(name); err != nil {
			return err
		}
		if st, err := os.Stat(name + ".sst"); err == nil && st.Size() > 0 {
			tables = append(tables, name+".sst")
		}
	}
	return f.db.Ingest(ctx, tables)
}

// divide writes ids and numbers of chunks 0 to n into files by the ids' first bits.
func (f *filler) divide(work string, n int) (err error) {
	var to [buckets]*bufio.Writer
	for i := range to {
		file, err := os.Create(filepath.Join(work, fmt.Sprint(i)))
		if err != nil {
			return err
		}
		defer file.Close()
		to[i] = bufio.NewWriterSize(file, 256<<10)
	}
	var e [entryLen]byte
	for i := range n {
		id := f.ids.next()
		copy(e[:], id[:])
		binary.LittleEndian.PutUint64(e[len(id):], uint64(i))
		if _, err := to[int(id[0])*buckets>>8].Write(e[:]); err != nil {
			return err
		}
	}
	for _, w := range to {
		err = errors.Join(err, w.Flush())
	}
	return err
}

// table writes the entries in a file as a sorted table beside it.
func (f *filler) table(name string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	all, err := io.ReadAll(in)
	if err != nil || len(all) == 0 {
		return err
	}
	entries := make([][entryLen]byte, len(all)/entryLen)
	for i := range entries {
		copy(entries[i][:], all[i*entryLen:])
	}
	slices.SortFunc(entries, func(a, b [entryLen]byte) int {
		return cmp.Compare(binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(b[:]))
	})
	out, err := vfs.Default.Create(name+".sst", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	opts := indexOptions()
	opts.EnsureDefaults()
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(out), opts.MakeWriterOptions(6, f.db.TableFormat()))
	for _, e := range entries {
		id := pack.ID(e[:32])
		if err := w.Set(chunkKey(id), f.place(int(binary.LittleEndian.Uint64(e[32:])))); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	return w.Close()
}

// indexOptions are the store's own, without a word about what Pebble is at.
func indexOptions() *pebble.Options {
	opts := chunkstore.IndexOptions(vfs.Default)
	opts.Logger = quiet{}
	return opts
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}
