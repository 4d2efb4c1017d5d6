package tests

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

const module = "holdfast/"

// floor says what the packages at and below dir may import of our own. The
// longest dir that fits a package decides. A name ending in /... means the
// package and all below it.
type floor struct {
	dir string
	may []string
}

// floors is the house from the top down. Packages may also import what lies
// below their own floor's dir when may says so; nothing else.
var floors = []floor{
	{"tests", []string{"..."}},
	{"benchmarks", []string{"..."}},
	{"cmd", []string{"cmd/...", "fs/...", "heal/...", "capture/...", "chunkstore/..."}},

	// The three roots do not know each other; the formats that they may use
	// do not know them.
	{"fs", []string{"fs/...", "chunkstore/..."}},
	{"heal", []string{"heal/...", "capture/source/...", "fs/guest/...", "fs/image/...", "chunkstore/..."}},
	{"capture", []string{"capture/...", "fs/guest/...", "chunkstore/..."}},

	// Formats see readers and their own floor's contract.
	{"capture/source", []string{"capture/source/...", "chunkstore/media/odirect"}},
	{"fs/guest", []string{"fs/guest/..."}},
	{"fs/image", []string{"fs/image/..."}},

	// The store, from the top down. Catalog, disk, cache and owner stand on
	// chunkstore; chunkstore stands on packs, packs on media.
	{"chunkstore/catalog", []string{"chunkstore/catalog/...", "chunkstore/disk", "chunkstore/cache", "chunkstore", "chunkstore/pack"}},
	{"chunkstore/disk", []string{"chunkstore/disk/...", "chunkstore/cache", "chunkstore", "chunkstore/pack"}},
	{"chunkstore/owner", []string{"chunkstore/owner/...", "chunkstore", "chunkstore/pack", "chunkstore/media"}},
	{"chunkstore/cache", []string{"chunkstore/cache/...", "chunkstore", "chunkstore/pack"}},
	{"chunkstore", []string{"chunkstore/pack/...", "chunkstore/media/..."}},
	{"chunkstore/pack", []string{"chunkstore/pack/...", "chunkstore/blake", "chunkstore/media/..."}},
	{"chunkstore/blake", nil},
	{"chunkstore/media", []string{"chunkstore/media/..."}},
}

// outside says on which floors a dependency belongs; others are free, and so
// are test files, which make stores in memory.
var outside = map[string][]string{
	"github.com/hanwen/go-fuse/":      {"fs", "tests", "benchmarks"},
	"github.com/cockroachdb/pebble/":  {"chunkstore", "tests", "benchmarks"},
	"github.com/urfave/cli/":          {"cmd", "tests", "benchmarks"},
	"github.com/schollz/progressbar/": {"cmd", "tests", "benchmarks"},
	"github.com/jedib0t/go-pretty/":   {"cmd", "tests", "benchmarks"},
}

func floorOf(dir string) (floor, bool) {
	best, found := floor{}, false
	for _, f := range floors {
		if within(dir, f.dir) && len(f.dir) >= len(best.dir) {
			best, found = f, true
		}
	}
	return best, found
}

func (f floor) allows(dir string) bool {
	for _, pattern := range f.may {
		root, below := strings.CutSuffix(pattern, "/...")
		if pattern == "..." || dir == root || below && within(dir, root) {
			return true
		}
	}
	return false
}

// judgeImport returns what is wrong with an import in a file of package dir,
// or "". Test files may look anywhere but at the program.
func judgeImport(dir string, test bool, path string) string {
	for prefix, dirs := range outside {
		if !test && strings.HasPrefix(path, prefix) && !within(dir, dirs...) {
			return "belongs to " + strings.Join(dirs, ", ") + " only"
		}
	}
	imported, ours := strings.CutPrefix(path, module)
	if !ours || imported == dir {
		return ""
	}
	f, known := floorOf(dir)
	if !known {
		return "comes from a package that stands on no floor"
	}
	if test && !within(imported, "cmd") {
		return ""
	}
	if !f.allows(imported) {
		return "is not below " + f.dir
	}
	return ""
}

func TestImportsPointDown(t *testing.T) {
	for _, f := range treeFiles(t) {
		for path, at := range f.imports() {
			if wrong := judgeImport(f.dir, f.test, path); wrong != "" {
				t.Errorf("%s: import of %s %s", f.place(at), path, wrong)
			}
		}
	}
}

// The judge must be able to say no.
func TestJudgeImport(t *testing.T) {
	for _, c := range []struct {
		dir, path string
		test, ok  bool
	}{
		{"fs", "holdfast/chunkstore", false, true},
		{"fs", "holdfast/capture", false, false},
		{"fs", "holdfast/tests/vm", false, false},
		{"fs", "holdfast/tests/vm", true, true},
		{"fs", "holdfast/cmd/holdfast", true, false},
		{"fs/restore", "holdfast/fs/image", false, true},
		{"fs/image", "holdfast/fs", false, false},
		{"fs/image", "holdfast/chunkstore/disk", false, false},
		{"fs/guest/ext4", "holdfast/fs/guest", false, true},
		{"capture", "holdfast/fs/guest/ext4", false, true},
		{"capture", "holdfast/fs", false, false},
		{"capture/source/qcow2", "holdfast/chunkstore", false, false},
		{"heal", "holdfast/capture", false, false},
		{"heal", "holdfast/capture/source", false, true},
		{"chunkstore", "holdfast/chunkstore/disk", false, false},
		{"chunkstore/pack", "holdfast/chunkstore", false, false},
		{"chunkstore/pack", "holdfast/chunkstore/blake", false, true},
		{"chunkstore/blake", "holdfast/chunkstore/pack", false, false},
		{"chunkstore/disk", "holdfast/chunkstore/catalog", false, false},
		{"cmd/holdfast", "holdfast/heal", false, true},
		{"cmd/holdfast", "holdfast/tests/vm", false, false},
		{"other", "holdfast/fs", false, false},
		{"tests", "holdfast/cmd/holdfast", true, true},
		{"capture", "github.com/urfave/cli/v2", false, false},
		{"capture", "github.com/cockroachdb/pebble/v2/vfs", true, true},
		{"capture", "github.com/klauspost/compress/zstd", false, true},
	} {
		if wrong := judgeImport(c.dir, c.test, c.path); (wrong == "") != c.ok {
			t.Errorf("%s imports %s (test file %v): verdict %q, want ok %v", c.dir, c.path, c.test, wrong, c.ok)
		}
	}
}

// speaks tells whether a selector, such as os.Exit, ends the program or writes
// to its output.
func speaks(s *ast.SelectorExpr) bool {
	pkg, ok := s.X.(*ast.Ident)
	if !ok {
		return false
	}
	switch pkg.Name + "." + s.Sel.Name {
	case "os.Exit", "os.Stdout", "os.Stderr", "fmt.Print", "fmt.Printf", "fmt.Println", "log.Default":
		return true
	}
	for _, prefix := range []string{"Print", "Fatal", "Panic"} { // log's own logger; libraries take a *slog.Logger
		if pkg.Name == "log" && strings.HasPrefix(s.Sel.Name, prefix) {
			return true
		}
	}
	return false
}

// isGenerator tells whether a file is a program of its own that go generate runs, and no
// part of a package.
func isGenerator(f *ast.File) bool {
	if f.Name.Name != "main" {
		return false
	}
	for _, g := range f.Comments {
		if g.Pos() < f.Package && slices.ContainsFunc(g.List, func(c *ast.Comment) bool { return c.Text == "//go:build ignore" }) {
			return true
		}
	}
	return false
}

func TestOnlyTheProgramExitsOrPrints(t *testing.T) {
	for _, f := range treeFiles(t) {
		if f.test || within(f.dir, "cmd", "tests", "benchmarks") || isGenerator(f.ast) {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if speaks(n) {
					t.Errorf("%s: %s.%s: only cmd exits or prints", f.place(n), n.X, n.Sel.Name)
				}
			case *ast.CallExpr:
				if name, ok := n.Fun.(*ast.Ident); ok && (name.Name == "print" || name.Name == "println") {
					t.Errorf("%s: %s: only cmd prints", f.place(n), name.Name)
				}
			}
			return true
		})
	}
}
