package guesttest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Tree says how much Populate makes. The zero value suits an image of 64 MiB.
type Tree struct {
	Seed       uint64
	Many       int   // names in the large directory; default 2000
	Fragmented int64 // bytes of the fragmented file; default 2 MiB
}

// Populate fills the mounted filesystem at dir with hard cases, the same for
// the same seed: large and long-named directories, odd names, sizes at the
// edges, sparse, preallocated and fragmented files, links, modes, owners,
// devices, times, xattrs and ACLs, deletions and rewrites. What the filesystem
// refuses (a long xattr, a late time) is left out with a line in the log.
func Populate(t testing.TB, dir string, seed uint64) {
	t.Helper()
	PopulateTree(t, dir, Tree{Seed: seed})
}

// PopulateTree is Populate in the size of tree.
func PopulateTree(t testing.TB, dir string, tree Tree) {
	t.Helper()
	if tree.Many == 0 {
		tree.Many = 2000
	}
	if tree.Fragmented == 0 {
		tree.Fragmented = 2 << 20
	}
	p := populator{t: t, dir: dir, tree: tree, rnd: rand.New(rand.NewPCG(tree.Seed, 42))}
	p.fragmented()
	p.manyNames()
	p.oddNames()
	p.sizes()
	p.sparse()
	p.links()
	p.modes()
	p.devices()
	p.xattrs()
	p.times()
	p.churn()
	p.sync()
}

type populator struct {
	t    testing.TB
	dir  string
	tree Tree
	rnd  *rand.Rand
}

// must fails the test: every Linux filesystem can do what it guards.
func (p *populator) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("populate: %v", err)
	}
}

// may logs what this filesystem refuses.
func (p *populator) may(what string, err error) {
	if err != nil {
		p.t.Logf("left out: %.80s: %.200s", what, err.Error())
	}
}

// sync writes out what is cached of this filesystem only.
func (p *populator) sync() { p.must(syncFilesystem(p.dir)) }

func syncFilesystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

func (p *populator) path(rel string) string { return p.dir + "/" + rel }

func (p *populator) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(p.rnd.Uint32())
	}
	return b
}

// write makes a file, and its directory.
func (p *populator) write(rel string, content []byte) {
	p.t.Helper()
	p.must(p.tryWrite(rel, content))
}

func (p *populator) tryWrite(rel string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(p.path(rel)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(p.path(rel), content, 0o644)
}

// fragmented leaves every second of many small files and writes a larger one
// in pieces between syncs, with holes in between.
func (p *populator) fragmented() {
	n := p.tree.Fragmented / 4096
	filler := p.bytes(64 << 10)
	for i := range n {
		p.write(fmt.Sprintf("fill/%d", i), filler[:4096+i%7*4096])
	}
	p.sync()
	for i := int64(0); i < n; i += 2 {
		p.must(os.Remove(p.path(fmt.Sprintf("fill/%d", i))))
	}
	p.sync()
	f, err := os.Create(p.path("fragmented"))
	p.must(err)
	for off, i := int64(0), 0; off < p.tree.Fragmented; off, i = off+(12<<10), i+1 {
		_, err = f.WriteAt(p.bytes(8<<10), off) // 4 KiB stay a hole
		p.must(err)
		if i%4 == 0 {
			p.must(f.Sync())
		}
	}
	p.must(f.Close())
	for i := int64(1); i < n; i += 4 {
		p.must(os.Remove(p.path(fmt.Sprintf("fill/%d", i))))
	}
}

func (p *populator) manyNames() {
	for i := range p.tree.Many {
		p.write(fmt.Sprintf("many/file-%06d.txt", i), fmt.Appendf(nil, "content %d\n", i))
	}
	for i := range p.tree.Many / 8 {
		p.write(fmt.Sprintf("long/%05d-%s", i, strings.Repeat("x", 180)), nil)
	}
	for i := range 1 + p.tree.Many/100 {
		p.must(os.MkdirAll(p.path(fmt.Sprintf("dirs/d%d", i)), 0o755))
	}
	deep := "deep"
	for i := range 60 {
		deep += fmt.Sprintf("/dir%02d", i)
	}
	p.write(deep+"/leaf", []byte("deep leaf\n"))
	p.must(os.Mkdir(p.path("empty"), 0o700))
	for i := 0; i < p.tree.Many; i += 7 {
		p.must(os.Remove(p.path(fmt.Sprintf("many/file-%06d.txt", i))))
	}
}

func (p *populator) oddNames() {
	names := []string{"日本語ファイル.txt", "emoji-😀-🚀.bin", "café-e\u0301.txt", "Ünïcödé", "русский", "עברית", "a b  c", "quote's",
		"\"double\"", "back\\slash", "new\nline", "tab\tbed", "amp & ;", "-dash", "...", ".hidden", "~", "UPPER.TXT", "upper.txt",
		"ﬃ-lig", strings.Repeat("中", 60), strings.Repeat("n", 255), "n", "ab", "abc", "abcd", "a\xff\xfeb", "\x01\x7f", "CON", "x:y", "trailing.", "trailing "}
	for i, name := range names {
		p.may(name, p.tryWrite("odd/"+name, fmt.Appendf(nil, "odd %d\n", i)))
	}
}

func (p *populator) sizes() {
	for _, n := range []int{0, 1, 10, 59, 60, 61, 100, 150, 156, 160, 200, 511, 512, 513, 700, 1000, 1023, 1024, 1025, 2000, 2047, 2048, 4095, 4096, 4097,
		8191, 8192, 12288 * 4, 65535, 65536, 65537, 300_000, 1_000_003} {
		p.write(fmt.Sprintf("sizes/s%d", n), p.bytes(n))
	}
	p.write("zeros", make([]byte, 1<<20+17))
	p.write("text", []byte(strings.Repeat("The quick brown fox jumps over the lazy dog. ", 20000)))
	for i := range 60 { // small directories, which some formats keep inline
		p.write(fmt.Sprintf("small/d%d/%d", i%9, i), []byte{byte(i)})
	}
}
