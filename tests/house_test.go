package tests

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const (
	maxLines     = 500 // of a file
	maxTestLines = 700 // of a test file
)

// topLevel is what the repository's top holds besides names with a dot.
var topLevel = []string{
	"ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", "Makefile", "README.md",
	"benchmarks", "capture", "chunkstore", "cmd", "fs", "go.mod", "go.sum", "heal", "tests",
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, ".") && name != "bin" { // bin is what make build makes
			names = append(names, name)
		}
	}
	for _, name := range names {
		if !slices.Contains(topLevel, name) {
			t.Errorf("%s does not belong at the top level", name)
		}
	}
	for _, name := range append(topLevel, ".ci/run") {
		if _, err := os.Stat("../" + name); err != nil {
			t.Errorf("missing at the top level: %v", err)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, f := range treeFiles(t) {
		limit := maxLines
		if f.test {
			limit = maxTestLines
		}
		if f.lines > limit {
			t.Errorf("%s has %d lines, more than %d: split it by families of operations", f.path, f.lines, limit)
		}
	}
}

func TestPackagesAreNamedAndExplained(t *testing.T) {
	explained := map[string]bool{} // by directory; true once a file has the doc
	for _, f := range treeFiles(t) {
		explained[f.dir] = explained[f.dir] || f.ast.Doc != nil
		switch name := strings.TrimSuffix(f.ast.Name.Name, "_test"); name {
		case "util", "utils", "common", "helper", "helpers", "misc", "shared", "base", "lib":
			t.Errorf("%s: package %s says nothing: give it a noun of its own", f.path, name)
		}
	}
	for dir, ok := range explained {
		if !ok {
			t.Errorf("%s: no file has a package doc", dir)
		}
	}
}
