package disk

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"holdfast/chunkstore/pack"
)

// The same disk must have the same root, however its regions were told.
func TestSameDiskSameRoot(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		first := w.m
		chunks := len(w.store.chunks)
		if w.build(); w.m != first || len(w.store.chunks) != chunks {
			t.Fatalf("second build: %+v, want %+v", w.m, first)
		}
		b, err := NewBuilder(w.size, w.store.put)
		if err != nil {
			t.Fatal(err)
		}
		r := w.open()
		err = r.Regions(ctx, 0, func(n int64, id pack.ID, bitmap uint64) error {
			m, err := r.RegionMap(ctx, n)
			if err != nil {
				return err
			}
			if n%2 == 0 {
				return b.Add(ctx, n, m)
			}
			return b.AddKnown(ctx, n, id, bitmap, m.DataBytes())
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := b.Finish(ctx); err != nil || got != first {
			t.Fatalf("build of known regions: %+v, %v, want %+v", got, err, first)
		}
	})
}

func TestBuilderTotals(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		var data int64
		for _, r := range w.runs() {
			data += r.to - r.from
		}
		if w.m.DataBytes != data || w.m.Grains != int64(len(w.allocated(GrainSize))) || w.m.Root.IsZero() != (data == 0) {
			t.Errorf("map %+v, but %d bytes are stored", w.m, data)
		}
		if err := w.m.Validate(); err != nil {
			t.Error(err)
		}
	})
}

// The format is on disk: this root must not change.
func TestRootIsFrozen(t *testing.T) {
	w := newWorld(t, 0, 1<<40)
	for _, n := range []int64{0, 200, regionCount(w.size) - 1} {
		e := Extent{Off: 4096, Len: 8192, ID: pack.ID{1, 2, 3, byte(n)}}
		w.set(n, RegionMap{e, {Off: 3 << 20, Len: 65536, ID: pack.ID{9}}})
	}
	const want = "ad7898bc74051cc3ee647fc10f6010ac67aec468ead7ac98b76079b317a0a736"
	if got := w.build().m.Root.String(); got != want {
		t.Errorf("root %s, want %s", got, want)
	}
}

// The bytes of a region map and of a leaf, as the package doc draws them.
func TestEncodingIsFrozen(t *testing.T) {
	m := RegionMap{{Off: 0x10000, Len: 0x8000, ID: pack.ID{0xAA}}, {Off: 0x18000, Len: 1, ID: pack.ID{0xBB}}}
	got, err := m.Encode(nil)
	zeros := strings.Repeat("00", 31)
	want := "4846524d" + "0100" + "0200" + "00000100" + "00800100" + "00800000" + "01000000" + "aa" + zeros + "bb" + zeros
	if hex.EncodeToString(got) != want || err != nil {
		t.Errorf("region map %x, %v, want %s", got, err, want)
	}
	leaf := draft{level: 0, ids: []pack.ID{{}, {0xCC}}, bits: []uint64{0, 2}}
	want = "4846444d" + "0100" + "00" + "00" + "0200" + "000000000000" + "00" + zeros + "cc" + zeros + "0000000000000000" + "0200000000000000"
	if got := hex.EncodeToString(leaf.encode(nil)); got != want {
		t.Errorf("leaf %s, want %s", got, want)
	}
	node := draft{level: 1, ids: []pack.ID{{0xDD}}, counts: []totals{{3, 2, 1}}}
	want = "4846444d" + "0100" + "01" + "00" + "0100" + "000000000000" + "dd" + zeros + "03000000" + "02000000" + "01000000"
	if got := hex.EncodeToString(node.encode(nil)); got != want {
		t.Errorf("node %s, want %s", got, want)
	}
}

func TestBuilderRefuses(t *testing.T) {
	id := pack.ID{1}
	ext := RegionMap{{0, 1, id}}
	for name, c := range map[string]struct {
		want string
		do   func(b *Builder) error
	}{
		"region twice":     {"want one of 1", func(b *Builder) error { b.Add(ctx, 0, ext); return b.Add(ctx, 0, ext) }},
		"region backwards": {"want one of 3", func(b *Builder) error { b.Add(ctx, 2, ext); return b.Add(ctx, 1, ext) }},
		"region below 0":   {"want one of", func(b *Builder) error { return b.Add(ctx, -1, ext) }},
		"region outside":   {"want one of", func(b *Builder) error { return b.Add(ctx, 4, ext) }},
		"hole outside":     {"want one of", func(b *Builder) error { return b.Add(ctx, 4, nil) }},
		"behind the end":   {"behind the disk's end", func(b *Builder) error { return b.Add(ctx, 3, RegionMap{{4000, 97, id}}) }},
		"known zero id":    {"can't have", func(b *Builder) error { return b.AddKnown(ctx, 0, pack.ID{}, 1, 1) }},
		"known no bits":    {"can't have", func(b *Builder) error { return b.AddKnown(ctx, 0, id, 0, 1) }},
		"known few bytes":  {"can't have", func(b *Builder) error { return b.AddKnown(ctx, 0, id, 7, 2) }},
		"known many bytes": {"can't have", func(b *Builder) error { return b.AddKnown(ctx, 0, id, 1, 65537) }},
		"known outside":    {"can't have", func(b *Builder) error { return b.AddKnown(ctx, 3, id, 2, 1) }},
		"finished":         {"already finished", func(b *Builder) error { b.Finish(ctx); return b.Add(ctx, 0, ext) }},
	} {
		b, err := NewBuilder(3*RegionSize+4096, newStore().put)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.do(b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		} else if _, again := b.Finish(ctx); again == nil {
			t.Errorf("%s: finished all the same", name)
		}
	}
	for _, size := range []int64{-1, 0, MaxSize + 1} {
		if _, err := NewBuilder(size, newStore().put); err == nil {
			t.Errorf("size %d taken", size)
		}
	}
}

func TestBuilderStopsAtFailedPut(t *testing.T) {
	full := errors.New("disk full")
	for after := range 6 { // 3 region maps, 2 leaves, 1 interior node
		s, left := newStore(), after
		b, _ := NewBuilder(1<<30, func(ctx context.Context, k pack.Kind, p []byte) (pack.ID, error) {
			if left--; left < 0 {
				return pack.ID{}, full
			}
			return s.put(ctx, k, p)
		})
		for _, n := range []int64{0, 1, 200} {
			b.Add(ctx, n, RegionMap{{0, 1, pack.ID{byte(n + 1)}}})
		}
		if m, err := b.Finish(ctx); !errors.Is(err, full) {
			t.Errorf("after %d puts: %+v, %v", after, m, err)
		}
	}
}

func TestMapJSON(t *testing.T) {
	w := sparse(t, 1, 1<<40)
	b, err := json.Marshal(w.m)
	if err != nil || !strings.Contains(string(b), `"root":"`+w.m.Root.String()+`","size":1099511627776,"data_bytes":`) {
		t.Fatalf("%s, %v", b, err)
	}
	var got Map
	if err := json.Unmarshal(b, &got); err != nil || got != w.m {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{`{}`, `{"root":"12"}`, `[]`, `{"root":"` + strings.Repeat("g", 64) + `"}`} {
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s taken", bad)
		}
	}
}

func TestMapValidate(t *testing.T) {
	ok := Map{Root: pack.ID{1}, Size: SpanSize + 1, DataBytes: 100, Grains: 3, Blocks: 2, Spans: 2}
	if err := ok.Validate(); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(m *Map){
		func(m *Map) { m.Size = 0 }, func(m *Map) { m.Size = MaxSize + 1 }, func(m *Map) { m.Root = pack.ID{} },
		func(m *Map) { m.Spans = 3 }, func(m *Map) { m.Spans = 0 }, func(m *Map) { m.Blocks = 1 }, func(m *Map) { m.Blocks = 258 },
		func(m *Map) { m.Grains = 1 }, func(m *Map) { m.Grains = 65 }, func(m *Map) { m.DataBytes = 2 },
		func(m *Map) { m.DataBytes = 3<<16 + 1 }, func(m *Map) { m.Grains = -1 }, func(m *Map) { m.Grains, m.Blocks, m.Spans = 1<<40, 1<<40, 1<<40 },
	} {
		m := ok
		change(&m)
		if m.Validate() == nil {
			t.Errorf("change %d: %+v taken", i, m)
		}
		if _, err := Open(nil, NewMaps(newStore(), 0), m); err == nil {
			t.Errorf("change %d: opened", i)
		}
	}
}

func TestRegionMapFind(t *testing.T) {
	w := newWorld(t, 5, RegionSize)
	w.fill(0, 0.6)
	m := w.regions[0]
	b, _ := m.Encode(nil)
	packed, err := parseRegion(b)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 5000 {
		off := rnd.IntN(RegionSize)
		want, in := 0, false
		for want < len(m) && m[want].Off+m[want].Len <= off {
			want++
		}
		in = want < len(m) && m[want].Off <= off
		if i, ok := m.Find(off); i != want || ok != in {
			t.Fatalf("find(%d) = %d, %v, want %d, %v", off, i, ok, want, in)
		}
		if i, ok := packed.find(off); i != want || ok != in {
			t.Fatalf("packed find(%d) = %d, %v, want %d, %v", off, i, ok, want, in)
		}
	}
}
