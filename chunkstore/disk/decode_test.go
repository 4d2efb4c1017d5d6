package disk

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"holdfast/chunkstore/pack"
)

// samples are small encodings of both kinds, and the largest of each.
func samples(t testing.TB) (regions, nodes [][]byte) {
	w := sparse(t, 4, 3<<40)
	one := RegionMap{{Off: 100, Len: 5, ID: pack.ID{7}}}
	worst := make(RegionMap, MaxExtents)
	for i := range worst {
		worst[i] = Extent{i * 4096, 4096, pack.ID{1}}
	}
	for _, m := range []RegionMap{one, worst, w.regions[0]} {
		b, err := m.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		regions = append(regions, b)
	}
	for id, kind := range w.store.kinds {
		if kind == pack.KindDiskMap {
			nodes = append(nodes, w.store.chunks[id])
		}
	}
	slices.SortFunc(nodes, bytes.Compare)
	return regions, nodes
}

func TestLargestMapsFitAChunk(t *testing.T) {
	regions, _ := samples(t)
	if n := len(regions[1]); n != 40968 {
		t.Errorf("the worst region map is %d bytes", n)
	}
	d := draft{level: 1}
	d.grow(nodeEntries - 1)
	if n := len(d.encode(nil)); n != 45072 {
		t.Errorf("the largest node is %d bytes", n)
	}
}

func TestDecodeRefusesEveryTruncation(t *testing.T) {
	regions, nodes := samples(t)
	for _, b := range regions {
		for n := range b {
			if _, err := DecodeRegionMap(b[:n]); err == nil {
				t.Fatalf("region map cut to %d of %d bytes taken", n, len(b))
			}
		}
		if _, err := DecodeRegionMap(append(b[:len(b):len(b)], 0)); err == nil {
			t.Error("region map with a byte too many taken")
		}
	}
	for _, b := range nodes {
		for n := range b {
			if _, err := decodeNode(b[:n]); err == nil {
				t.Fatalf("node cut to %d of %d bytes taken", n, len(b))
			}
		}
		if _, err := decodeNode(append(b[:len(b):len(b)], 0)); err == nil {
			t.Error("node with a byte too many taken")
		}
	}
}

func TestRegionMapRefuses(t *testing.T) {
	id := pack.ID{1}
	for name, m := range map[string]RegionMap{
		"empty":         {},
		"too many":      make(RegionMap, MaxExtents+1),
		"overlap":       {{0, 10, id}, {9, 10, id}},
		"order":         {{20, 10, id}, {0, 10, id}},
		"length 0":      {{0, 0, id}},
		"length -1":     {{0, -1, id}},
		"too long":      {{0, pack.MaxChunk + 1, id}},
		"outside":       {{RegionSize - 1, 2, id}},
		"far outside":   {{1<<63 - 1, 2, id}},
		"below 0":       {{-1, 2, id}},
		"zero id":       {{0, 1, pack.ID{}}},
		"second behind": {{0, 1, id}, {RegionSize, 1, id}},
	} {
		if _, err := m.Encode(nil); err == nil {
			t.Errorf("%s: encoded", name)
		}
		if b := encodeUnchecked(m); len(m) > 0 {
			if _, err := DecodeRegionMap(b); err == nil {
				t.Errorf("%s: decoded", name)
			}
		}
	}
}

func encodeUnchecked(m RegionMap) []byte {
	b := binary.LittleEndian.AppendUint16(append([]byte(regionMagic), 1, 0), uint16(len(m)))
	for _, e := range m {
		b = binary.LittleEndian.AppendUint32(b, uint32(e.Off))
	}
	for _, e := range m {
		b = binary.LittleEndian.AppendUint32(b, uint32(e.Len))
	}
	for _, e := range m {
		b = append(b, e.ID[:]...)
	}
	return b
}

func TestNodeRefuses(t *testing.T) {
	id, full := pack.ID{1}, totals{8192, 256, 1}
	for name, d := range map[string]draft{
		"no entries":          {level: 0},
		"level 3":             {level: 3, ids: []pack.ID{id}, counts: []totals{full}},
		"too many regions":    {level: 0, ids: fill(129, id), bits: fill(129, uint64(1))},
		"too many leaves":     {level: 1, ids: fill(1025, id), counts: fill(1025, full)},
		"too many for 64 TiB": {level: 2, ids: fill(129, id), counts: fill(129, full)},
		"hole at the end":     {level: 0, ids: []pack.ID{id, {}}, bits: []uint64{1, 0}},
		"map of nothing":      {level: 0, ids: []pack.ID{id, id}, bits: []uint64{0, 1}},
		"data without map":    {level: 0, ids: []pack.ID{{}, id}, bits: []uint64{1, 1}},
		"two spans of a leaf": {level: 1, ids: []pack.ID{id}, counts: []totals{{2, 2, 2}}},
		"child of nothing":    {level: 1, ids: []pack.ID{id}, counts: []totals{{}}},
		"count without child": {level: 1, ids: []pack.ID{{}, id}, counts: []totals{{1, 1, 1}, full}},
		"more blocks":         {level: 1, ids: []pack.ID{id}, counts: []totals{{257, 257, 1}}},
		"more grains":         {level: 1, ids: []pack.ID{id}, counts: []totals{{33, 1, 1}}},
		"fewer grains":        {level: 1, ids: []pack.ID{id}, counts: []totals{{1, 2, 1}}},
		"overflow":            {level: 2, ids: []pack.ID{id}, counts: []totals{{1 << 31, 1 << 31, 1 << 31}}},
	} {
		if _, err := decodeNode(d.encode(nil)); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
	good := draft{level: 2, ids: fill(128, id), counts: fill(128, totals{1 << 23, 1 << 18, 1 << 10})}
	n, err := decodeNode(good.encode(nil))
	if err != nil || n.total() != (totals{1 << 30, 1 << 25, 1 << 17}) {
		t.Errorf("full disk of 64 TiB: %v", err)
	}
}

func fill[T any](n int, v T) []T { return slices.Repeat([]T{v}, n) }

func FuzzDecodeRegionMap(f *testing.F) {
	// Small ones: the fuzzer spends its time on making large ones smaller.
	one := Extent{Off: 100, Len: 5, ID: pack.ID{7}}
	f.Add(encodeUnchecked(RegionMap{one}))
	f.Add(encodeUnchecked(RegionMap{one, {Off: 105, Len: 65536, ID: pack.ID{8}}, {Off: RegionSize - 1, Len: 1, ID: pack.ID{9}}}))
	f.Add(encodeUnchecked(RegionMap{one, one}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeRegionMap(b)
		if err != nil {
			return
		}
		again, err := m.Encode(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("decoded and encoded again differs: %v", err)
		}
		for off := 0; off < RegionSize; off += 4001 {
			m.Find(off)
		}
	})
}

func FuzzDecodeNode(f *testing.F) {
	id := pack.ID{1}
	for _, d := range []draft{
		{level: 0, ids: []pack.ID{id, {}, id}, bits: []uint64{1, 0, 1 << 63}},
		{level: 1, ids: []pack.ID{{}, id}, counts: []totals{{}, {3, 2, 1}}},
		{level: 2, ids: []pack.ID{id}, counts: []totals{{1 << 23, 1 << 18, 1 << 10}}},
	} {
		f.Add(d.encode(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeNode(b)
		if err != nil {
			return
		}
		d := draft{level: n.level, ids: n.ids, bits: n.bitmaps}
		if n.level > 0 {
			for i := range n.ids {
				d.counts = append(d.counts, n.child(i))
			}
		}
		if !bytes.Equal(d.encode(nil), b) {
			t.Fatal("decoded and encoded again differs")
		}
		for i := n.next(0); i < len(n.ids); i = n.next(i + 1) {
			if n.ids[i].IsZero() {
				t.Fatalf("next found a hole at %d", i)
			}
		}
	})
}
