package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
)

// fixture is what a stored store must be.
type fixture struct {
	Format   int              `json:"format"`
	Versions []fixtureVersion `json:"versions"`
	Policy   string           `json:"policy"` // of the first VM, as it is shown

	// These are known of later stores.
	FrameSize int              `json:"frame_size,omitempty"`
	Parity    bool             `json:"parity,omitempty"`
	Pruning   *catalog.Pruning `json:"pruning,omitempty"`

	Compression string `json:"compression,omitempty"` // absent: zstd
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
// index that they left, without one and after an upgrade: everything is listed, proved and read,
// and new versions can be added.
func TestStoresOfEachFormat(t *testing.T) {
	if *newFixture != "" {
		makeFixture(t, *newFixture)
	}
	archives, err := filepath.Glob("testdata/format-*.tar.zst")
	if err != nil || len(archives) < 2*chunkstore.FormatVersion {
		t.Fatalf("%d stores for %d formats, %v", len(archives), chunkstore.FormatVersion, err)
	}
	for _, archive := range archives {
		for _, state := range []string{"stored index", "no index", "upgraded"} {
			t.Run(strings.TrimSuffix(filepath.Base(archive), ".tar.zst")+", "+state, func(t *testing.T) {
				dir := t.TempDir()
				unpack(t, archive, dir)
				p := &program{t, "", filepath.Join(dir, "store")}
				if p.bin, err = built(); err != nil {
					t.Fatal(err)
				}
				switch state {
				case "no index":
					if err := os.RemoveAll(filepath.Join(p.store, "index")); err != nil {
						t.Fatal(err)
					}
				case "upgraded":
					p.must("upgrade")
				}
				p.checkFixture(dir, state == "upgraded")
			})
		}
	}
}

func (p *program) checkFixture(dir string, upgraded bool) {
	p.Helper()
	var want fixture
	b, err := os.ReadFile(filepath.Join(dir, "want.json"))
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil || len(want.Versions) < 4 {
		p.Fatalf("%d versions, %v", len(want.Versions), err)
	}
	if upgraded {
		want.Format, want.Compression = chunkstore.FormatVersion, "minlz"
	} else if want.Compression == "" {
		want.Compression = "zstd"
	}
	if out := p.must("status", "--json"); !strings.Contains(out, fmt.Sprintf(`"compression": %q`, want.Compression)) || !strings.Contains(out, fmt.Sprintf(`"format_version": %d`, want.Format)) {
		p.Errorf("want format %d, compression %s:\n%s", want.Format, want.Compression, out)
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
	p.checkStored(&want)
	p.addToFixture(string(want.Versions[0].VM))
	if want.Parity {
		p.hurtFixture(&want)
	}
}

// checkStored looks at what the store was made with, and what it was told.
func (p *program) checkStored(want *fixture) {
	p.Helper()
	s, err := chunkstore.Open(p.store, chunkstore.Options{})
	if err != nil {
		p.Fatal(err)
	}
	defer s.Close()
	if got := s.Info(); want.FrameSize != 0 && (got.FrameSize != want.FrameSize || got.NoParity == want.Parity) {
		p.Errorf("%+v, want frames of %d bytes, parity %v", got, want.FrameSize, want.Parity)
	}
	if got, err := catalog.PruningOf(p.Context(), s); err != nil || want.Pruning != nil && got != *want.Pruning {
		p.Errorf("prunes by itself %+v, want %+v, %v", got, want.Pruning, err)
	}
}

// hurtFixture damages each pack of an old store, also those that were just added:
// all of it comes back from the parity.
func (p *program) hurtFixture(want *fixture) {
	p.Helper()
	packs, err := filepath.Glob(filepath.Join(p.store, "packs", "*", "*.pack"))
	if err != nil || len(packs) == 0 {
		p.Fatal(packs, err)
	}
	for _, pack := range packs {
		b, err := os.ReadFile(pack)
		if err == nil {
			b[200] ^= 0x40 // in the first record
			err = os.WriteFile(pack, b, 0o600)
		}
		if err != nil {
			p.Fatal(err)
		}
	}
	for _, v := range want.Versions {
		for disk, want := range v.Sums {
			out := filepath.Join(p.TempDir(), "healed.raw")
			p.must("restore", "--disk", disk, v.ref(), out)
			if got := sum(p.T, out); got != want {
				p.Errorf("disk %q of %q has sum %s after damage, want %s", disk, v.ref(), got, want)
			}
		}
	}
	if out := p.must("scrub", "--repair", "--json"); strings.Contains(out, `"repairs": []`) {
		p.Errorf("a scrub finds no damage:\n%s", out)
	}
	p.must("prune", "--grace", "0s") // an index made anew does not know what is in the trash
	p.must("scrub", "--deep")
	p.must("check")
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
