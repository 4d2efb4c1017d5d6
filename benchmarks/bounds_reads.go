package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/blake3"
)

// boundReads is what small reads cost at best.
func (b *bench) boundReads(ctx context.Context) (*Road, error) {
	const reads = 5000
	places, err := dataExtents(b.web.path)
	if err != nil {
		return nil, err
	}
	read := func(ctx context.Context, path string, round int) (Sample, error) {
		return readRandom(ctx, path, randomPlaces(places, reads, round))
	}
	zeros := [][2]int64{{0, boundSample}}
	memory := func(ctx context.Context, path string, round int) (Sample, error) {
		return readRandom(ctx, path, randomPlaces(zeros, reads, round))
	}
	keys := 1_000_000
	if b.quick {
		keys = 100_000
	}
	db, err := b.pebbleOf(ctx, keys)
	if err != nil {
		return nil, err
	}
	return &Road{unit: iopsUnit, about: "4 KiB, depth 1; gets are of random chunk ids", contestants: []contestant{
		rawFile(b.web, nil, read),
		b.fuseFromMemory("FUSE read from memory, cold", boundSample, memory),
		warmed(gets(db, keys, fmt.Sprintf("Pebble get, of %d keys, warm", keys))),
	}}, nil
}

// pebbleOf is a database of so many chunk ids, with values of 16 bytes, as the
// index has them.
func (b *bench) pebbleOf(ctx context.Context, keys int) (*pebble.DB, error) {
	db, err := pebble.Open(b.path("pebble"), &pebble.Options{Logger: quiet{}})
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, db.Close)
	batch, value := db.NewBatch(), make([]byte, 16)
	for i := range keys {
		if err := batch.Set(keyOf(uint64(i)), value, nil); err != nil {
			return nil, err
		}
		if batch.Count() == 10_000 || i == keys-1 {
			if err := batch.Commit(pebble.NoSync); err != nil {
				return nil, err
			}
			batch = db.NewBatch()
		}
	}
	return db, db.Compact(ctx, []byte{0}, []byte{0xff}, true)
}

// keyOf is the id of the chunk with a number.
func keyOf(i uint64) []byte {
	sum := blake3.Sum256(binary.LittleEndian.AppendUint64(nil, i))
	return sum[:]
}

func gets(db *pebble.DB, keys int, name string) contestant {
	const n = 50_000
	return contestant{name: name, run: func(ctx context.Context, round int) (Sample, error) {
		r := rand.New(rand.NewPCG(uint64(round), 4))
		asked := make([][]byte, n)
		for i := range asked {
			asked[i] = keyOf(r.Uint64N(uint64(keys)))
		}
		runtime.GC()
		return here(func() (Sample, error) {
			took := make([]time.Duration, n)
			began := time.Now()
			for i, key := range asked {
				start := time.Now()
				_, c, err := db.Get(key)
				if err != nil {
					return Sample{}, fmt.Errorf("get a key: %w", err)
				}
				c.Close()
				took[i] = time.Since(start)
			}
			s := smallReads(time.Since(began), took)
			return s, ctx.Err()
		})
	}}
}

// quiet is a logger for Pebble that logs nothing.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger: nothing can go on after it.
func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
