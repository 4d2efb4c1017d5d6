package tests

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"holdfast/capture"
	"holdfast/capture/source"
	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/heal"
)

// Each store format that was ever written stays here for ever, as a small store
// and what it must read as. After a change of what is written, give a kind a name
// here: go test ./tests -run TestStoresOfEachFormat -new-fixture NAME
var newFixture = flag.String("new-fixture", "", "make testdata/format-N-`KIND`.tar.zst, N being the format that is written now")

// fixtureKinds are the stores that can be made.
var fixtureKinds = map[string]struct {
	chunkstore.CreateOptions
	aged bool // proved, pruned and cared for by policies, too
}{
	"frames":        {CreateOptions: chunkstore.CreateOptions{FrameSize: 16 << 10, Format: 1, NoParity: true}},
	"frames-parity": {CreateOptions: chunkstore.CreateOptions{FrameSize: 16 << 10, Format: 1}},
	"aged":          {CreateOptions: chunkstore.CreateOptions{FrameSize: 16 << 10, Format: 1}, aged: true},
	"minlz":         {CreateOptions: chunkstore.CreateOptions{FrameSize: 16 << 10, Format: 2, NoParity: true}},
	"minlz-aged":    {CreateOptions: chunkstore.CreateOptions{FrameSize: 16 << 10, Format: 2}, aged: true},
	"sums":          {CreateOptions: chunkstore.CreateOptions{FrameSize: 16 << 10, Format: 3, NoParity: true}},
	"sums-aged":     {CreateOptions: chunkstore.CreateOptions{FrameSize: 16 << 10, Format: 3}, aged: true},
}

const maxFixture = 300 << 10

// fixtureBytes are a disk's content: some text, some noise, much of nothing.
func fixtureBytes(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 4))
	b := make([]byte, size)
	for off := 0; off < size; off += 1 << 20 {
		for i := off; i < min(off+9000, size); i++ {
			b[i] = "the quick brown fox "[r.IntN(20)]
		}
		for i := off + 20_000; i < min(off+23_000, size); i++ {
			b[i] = byte(r.Uint32())
		}
	}
	return b
}

// memDisk is a disk in memory without holes.
type memDisk struct{ *bytes.Reader }

func (d memDisk) Extent(off int64) (source.Extent, error) {
	return source.Extent{Length: d.Size() - off, Data: true}, nil
}
func (d memDisk) Close() error { return nil }

// makeFixture makes a store, says what is in it, and packs both.
func makeFixture(t *testing.T, name string) {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	kind, ok := fixtureKinds[name]
	archive := fmt.Sprintf("testdata/format-%d-%s.tar.zst", kind.Format, name)
	if _, err := os.Stat(archive); !ok || err == nil {
		t.Fatalf("%s is there, or nobody knows how to make it: a store that was written stays as it is", archive)
	}
	opts := kind.CreateOptions
	opts.Created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := chunkstore.Create(filepath.Join(dir, "store"), opts); err != nil {
		t.Fatal(err)
	}
	s, err := chunkstore.Open(filepath.Join(dir, "store"), chunkstore.Options{PackSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	want := fixture{Format: s.Info().FormatVersion, FrameSize: opts.FrameSize, Parity: !opts.NoParity, Compression: s.Info().Compression.String()}
	for i, c := range []struct {
		vm    string
		disks map[string][]byte
	}{
		{"web", map[string][]byte{"vda": fixtureBytes(1, 3<<20), "vdb": fixtureBytes(2, 12345)}},
		{"web", map[string][]byte{"vda": slices.Concat(fixtureBytes(3, 1<<20), fixtureBytes(1, 4<<20)), "vdb": make([]byte, 512)}},
		{"web", map[string][]byte{"vda": fixtureBytes(4, 1)}},
		{"odd\xff/n\name", map[string][]byte{"disk %": fixtureBytes(5, 6<<20+7)}},
	} {
		v := fixtureVersion{VM: []byte(c.vm), Sums: map[string]string{}}
		var inputs []capture.Input
		for _, name := range slices.Sorted(maps.Keys(c.disks)) {
			h := sha256.Sum256(c.disks[name])
			v.Sums[name] = hex.EncodeToString(h[:])
			inputs = append(inputs, capture.Input{Name: name, Path: "mem", Source: &source.Opened{Disk: memDisk{bytes.NewReader(c.disks[name])}, Format: "raw"}})
		}
		made, err := capture.Run(ctx, s, capture.Options{VM: c.vm, At: opts.Created.AddDate(0, 0, i), Disks: inputs})
		if err != nil {
			t.Fatal(err)
		}
		v.ID = made.ID
		want.Versions = append(want.Versions, v)
	}
	want.Versions[1].Pinned, want.Versions[2].Forgotten = true, true
	_, err = catalog.Pin(ctx, s, "web", want.Versions[1].ID)
	_, err2 := catalog.Forget(ctx, s, "web", want.Versions[2].ID)
	want.Policy = "web: keep daily 7, within 30d; days begin in Europe/Berlin\n"
	err3 := catalog.SetPolicy(ctx, s, "web", &catalog.Policy{Daily: 7, Within: 30 * 24 * time.Hour, Zone: "Europe/Berlin"})
	if kind.aged {
		want.Pruning = ageFixture(t, s)
	}
	b, err4 := json.MarshalIndent(want, "", "  ")
	if err := errors.Join(err, err2, err3, err4, s.Close(), os.WriteFile(filepath.Join(dir, "want.json"), b, 0o600)); err != nil {
		t.Fatal(err)
	}
	pack(t, dir, archive)
}

// ageFixture lets a store go through what years bring: versions that are pruned,
// packs that are written anew and lie in the trash, acts and policies that others
// have superseded, proofs and validations. It returns when it prunes by itself.
func ageFixture(t *testing.T, s *chunkstore.Store) *catalog.Pruning {
	t.Helper()
	ctx := context.Background()
	gone := memDisk{bytes.NewReader(fixtureBytes(6, 3<<20))}
	v, err := capture.Run(ctx, s, capture.Options{VM: "web", At: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), Disks: []capture.Input{{Name: "vda", Path: "mem", Source: &source.Opened{Disk: gone, Format: "raw"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := catalog.Pin(ctx, s, "web", v.ID)
		_, err2 := catalog.Unpin(ctx, s, "web", v.ID)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
	}
	pruning := &catalog.Pruning{Every: 7 * 24 * time.Hour, For: time.Hour, Grace: 48 * time.Hour, Forget: true}
	_, err = catalog.Forget(ctx, s, "web", v.ID)
	err2 := catalog.SetPolicy(ctx, s, "", &catalog.Policy{Last: 3})
	err3 := catalog.SetPruning(ctx, s, *pruning)
	// The forgotten version of the fixture stays: only this one is dropped.
	doomed := func(ctx context.Context, r chunkstore.Roots) (names []string, err error) {
		all, err := catalog.Doomed(ctx, r)
		for _, name := range all {
			if catalog.RootText(name) != "web@"+"2026-01-03T00-00-00Z" {
				names = append(names, name)
			}
		}
		return names, err
	}
	r, err4 := s.Prune(ctx, chunkstore.PruneOptions{Doomed: doomed, Walk: catalog.Walk(s), Grace: pruning.Grace})
	if err := errors.Join(err, err2, err3, err4); err != nil || r.Roots < 2 || r.TrashPacks == 0 || r.NewPacks == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	rep, err := heal.Scrub(ctx, s, heal.Options{Deep: true})
	if err != nil || rep.Records == 0 {
		t.Fatalf("%+v, %v", rep, err)
	}
	return pruning
}

func pack(t *testing.T, dir, archive string) {
	t.Helper()
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), z.Close(), os.MkdirAll(filepath.Dir(archive), 0o755)); err != nil {
		t.Fatal(err)
	}
	if out.Len() > maxFixture {
		t.Fatalf("%s would have %d bytes", archive, out.Len())
	}
	if err := os.WriteFile(archive, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s has %d bytes", archive, out.Len())
}

func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
