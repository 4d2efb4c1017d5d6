package main

import (
	"context"
	"math/rand/v2"
	"path/filepath"
)

var randomRoads = []entry{
	{"random 4 KiB, cold, depth 1", "random", true, (*bench).random},
	{"random 4 KiB, cold, depth 32, O_DIRECT", "random", true, (*bench).randomDeep},
	{"each 4 KiB of 64 MiB, cold, in random order", "random", true, (*bench).randomEach},
}

func (b *bench) random(ctx context.Context) (*Road, error) {
	places, err := dataExtents(b.web.path)
	if err != nil {
		return nil, err
	}
	read := func(ctx context.Context, path string, round int) (Sample, error) {
		return readRandom(ctx, path, randomPlaces(places, 1000, round))
	}
	r := &Road{unit: iopsUnit, about: "web, where there is data"}
	for _, packs := range []string{"", packsCached} {
		r.goals = append(r.goals,
			atLeast(ourRaw+packs, "raw file", byRate, 0.4),
			atMost(ourRaw+packs, "raw file", byP50, 3),
			atLeast(ourRaw+packs, "restic mount"+packs, byRate, 50),
			atLeast(ourRaw+packs, "borg mount"+packs, byRate, 50),
			atLeast(ourRaw+packs, "desync mount"+packs, byRate, 8))
	}
	if err := b.reading(ctx, r, b.web, nil, read, "vda.raw"); err != nil {
		return nil, err
	}
	b.peersReading(r, b.web, read)
	return r, b.withPacksCached(ctx, r, b.web)
}

// packsCached ends the names of contestants whose stored data is in the page cache
// and nothing else: of us the packs, of a peer its repository. So the prototype was
// measured whose figures the goals come from (shared/read-path.md, section 10). The
// image, the maps' and the daemon's own caches are cold, and so is the raw file.
const packsCached = ", packs cached"

// withPacksCached has the mounts of a road take part a second time, with their
// stored data in the page cache.
func (b *bench) withPacksCached(ctx context.Context, r *Road, d disk) error {
	store, err := b.captured(ctx, d)
	if err != nil {
		return err
	}
	stored := map[string]string{ourRaw: filepath.Join(store, "packs")}
	for _, p := range b.peers(d) {
		stored[p.name+" mount"] = b.repository(p.name, d)
	}
	for _, c := range r.contestants {
		if dir := stored[c.name]; dir != "" {
			c.name, c.warms = c.name+packsCached, dir
			r.contestants = append(r.contestants, c)
		}
	}
	return nil
}

// depth is how many reads of randomDeep are under way at once.
const depth = 32

func (b *bench) randomDeep(ctx context.Context) (*Road, error) {
	d, err := b.halfDisk()
	if err != nil {
		return nil, err
	}
	read := func(ctx context.Context, path string, round int) (Sample, error) {
		return readDeep(ctx, path, randomPlaces(d.all(), 20_000, round), depth)
	}
	r := &Road{unit: iopsUnit, about: "half", goals: []Goal{
		atLeast(ourRaw, "raw file", byRate, 0.2),
		atMost(ourRaw, "", byTail, 5),
	}}
	return r, b.reading(ctx, r, d, nil, read, "vda.raw")
}

// eachBytes is what randomEach reads all blocks of.
const eachBytes = 64 << 20

// randomEach reads another part of the disk in each round.
func (b *bench) randomEach(ctx context.Context) (*Road, error) {
	d, err := b.halfDisk()
	if err != nil {
		return nil, err
	}
	read := func(ctx context.Context, path string, round int) (Sample, error) {
		start := int64(round) * eachBytes % (d.size - d.size%eachBytes)
		return readRandom(ctx, path, everyPlace(start, eachBytes, round))
	}
	r := &Road{unit: iopsUnit, about: "half, depth 1, buffered", goals: []Goal{atLeast(ourRaw, "raw file", byRate, 1)}}
	return r, b.reading(ctx, r, d, nil, read, "vda.raw")
}

// everyPlace is each block of a range once, in an order that seed chooses.
func everyPlace(start, length int64, seed int) []int64 {
	places := make([]int64, length/blockSize)
	for i, k := range rand.New(rand.NewPCG(uint64(seed), 11)).Perm(len(places)) {
		places[i] = start + int64(k)*blockSize
	}
	return places
}
