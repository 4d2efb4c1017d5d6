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
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"holdfast/capture"
	"holdfast/capture/source"
	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
)

// Each store format that was ever written stays here for ever, as a small store
// and what it must read as. After a change of the format, of which the number in
// chunkstore tells: go test ./tests -run TestStoresOfEachFormat -new-fixtures
var newFixtures = flag.Bool("new-fixtures", false, "make testdata/format-N*.tar.zst anew, N being the format that is written now")

const maxFixture = 300 << 10

// fixture is what a stored store must be.
type fixture struct {
	Format   int              `json:"format"`
	Versions []fixtureVersion `json:"versions"`
	Policy   string           `json:"policy"` // of the first VM, as it is shown
}

type fixtureVersion struct {
	VM        []byte            `json:"vm"`
	ID        string            `json:"id"`
	Forgotten bool              `json:"forgotten"`
	Pinned    bool              `json:"pinned"`
	Sums      map[string]string `json:"sums"` // SHA-256 by disk
}

func (v fixtureVersion) ref() string { return string(v.VM) + "@" + v.ID }

// TestStoresOfEachFormat opens stores as earlier programs left them, with the
// index that they left and without one: everything is listed, proved and read,
// and new versions can be added.
func TestStoresOfEachFormat(t *testing.T) {
	if *newFixtures {
		makeFixture(t, "", chunkstore.CreateOptions{})
		makeFixture(t, "-frames", chunkstore.CreateOptions{FrameSize: 16 << 10, NoParity: true})
	}
	archives, err := filepath.Glob("testdata/format-*.tar.zst")
	if err != nil || len(archives) < 2*chunkstore.FormatVersion {
		t.Fatalf("%d stores for %d formats, %v", len(archives), chunkstore.FormatVersion, err)
	}
	for _, archive := range archives {
		for _, index := range []string{"stored index", "no index"} {
			t.Run(strings.TrimSuffix(filepath.Base(archive), ".tar.zst")+", "+index, func(t *testing.T) {
				dir := t.TempDir()
				unpack(t, archive, dir)
				p := &program{t, "", filepath.Join(dir, "store")}
				if p.bin, err = built(); err != nil {
					t.Fatal(err)
				}
				if index == "no index" {
					if err := os.RemoveAll(filepath.Join(p.store, "index")); err != nil {
						t.Fatal(err)
					}
				}
				p.checkFixture(dir)
			})
		}
	}
}

func (p *program) checkFixture(dir string) {
	p.Helper()
	var want fixture
	b, err := os.ReadFile(filepath.Join(dir, "want.json"))
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil || len(want.Versions) < 4 {
		p.Fatalf("%d versions, %v", len(want.Versions), err)
	}
	if out := p.must("status", "--json"); !strings.Contains(out, fmt.Sprintf(`"format_version": %d`, want.Format)) {
		p.Errorf("want format %d:\n%s", want.Format, out)
	}
	seen, listed := map[string][]string{}, map[string][]string{}
	for _, v := range want.Versions {
		if !v.Forgotten {
			seen[string(v.VM)] = append(seen[string(v.VM)], v.ID)
		}
	}
	for vm := range seen {
		listed[vm] = p.versions(vm)
	}
	if !maps.EqualFunc(seen, listed, slices.Equal) {
		p.Errorf("lists %q, want %q", listed, seen)
	}
	p.must("scrub")
	p.must("scrub", "--deep")
	p.must("damage")
	if out := p.must("policy", "show", string(want.Versions[0].VM)); out != want.Policy {
		p.Errorf("policy %q, want %q", out, want.Policy)
	}
	for _, v := range want.Versions {
		if v.Forgotten {
			if out, err := p.run("show", v.ref()); err == nil {
				p.Errorf("a forgotten version is shown:\n%s", out)
			}
			p.must("undelete", v.ref())
		}
		if out := p.must("show", "--json", v.ref()); strings.Contains(out, `"pinned": true`) != v.Pinned {
			p.Errorf("want pinned %v:\n%s", v.Pinned, out)
		}
		p.must("verify", "--deep", v.ref())
		for disk, want := range v.Sums {
			out := filepath.Join(p.TempDir(), "out.raw")
			p.must("restore", "--disk", disk, v.ref(), out)
			if got := sum(p.T, out); got != want {
				p.Errorf("disk %q of %q has sum %s, want %s", disk, v.ref(), got, want)
			}
		}
	}
	p.addToFixture(string(want.Versions[0].VM))
}

// addToFixture captures a disk of new and of known content into an old store.
func (p *program) addToFixture(vm string) {
	p.Helper()
	disk := filepath.Join(p.TempDir(), "new.raw")
	b := fixtureBytes(1, 9<<20)
	copy(b[5<<20:], "new")
	if err := os.WriteFile(disk, b, 0o600); err != nil {
		p.Fatal(err)
	}
	p.must("capture", "--vm", vm, "vda="+disk)
	p.must("verify", "--deep", "--against", "vda="+disk, vm)
	p.must("scrub", "--deep")
}

// TestOtherFormatsAreRefused: a store of a format that this program does not know
// is refused politely and not touched at all.
func TestOtherFormatsAreRefused(t *testing.T) {
	for _, format := range []int{chunkstore.FormatVersion + 1, 1 << 30, 0, -1} {
		p := newStore(t)
		for _, name := range []string{"config.json", "config.copy.json"} {
			b, err := os.ReadFile(filepath.Join(p.store, name))
			if err != nil {
				t.Fatal(err)
			}
			b = bytes.Replace(b, fmt.Appendf(nil, `"holdfast_format": %d`, chunkstore.FormatVersion), fmt.Appendf(nil, `"holdfast_format": %d`, format), 1)
			if err := os.WriteFile(filepath.Join(p.store, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before := treeSums(t, p.store)
		for _, args := range [][]string{{"list"}, {"scrub", "--repair"}, {"forget", "--keep-last", "1"}, {"capture", "--vm", "x", os.Args[0]}} {
			_, err := p.run(args...)
			if err == nil || !strings.Contains(err.Error(), "exit status 5") || !strings.Contains(err.Error(), fmt.Sprintf("format %d", format)) {
				t.Errorf("format %d, %s: %v", format, args[0], err)
			}
		}
		if after := treeSums(t, p.store); !maps.Equal(before, after) {
			t.Errorf("format %d: the store was touched: %v, was %v", format, after, before)
		}
	}
}

// treeSums are the sums of a directory's files, by path.
func treeSums(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			sums[path] = sum(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

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
func makeFixture(t *testing.T, kind string, opts chunkstore.CreateOptions) {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	opts.Created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := chunkstore.Create(filepath.Join(dir, "store"), opts); err != nil {
		t.Fatal(err)
	}
	s, err := chunkstore.Open(filepath.Join(dir, "store"), chunkstore.Options{PackSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	want := fixture{Format: chunkstore.FormatVersion}
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
	b, err4 := json.MarshalIndent(want, "", "  ")
	if err := errors.Join(err, err2, err3, err4, s.Close(), os.WriteFile(filepath.Join(dir, "want.json"), b, 0o600)); err != nil {
		t.Fatal(err)
	}
	pack(t, dir, fmt.Sprintf("testdata/format-%d%s.tar.zst", chunkstore.FormatVersion, kind))
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
