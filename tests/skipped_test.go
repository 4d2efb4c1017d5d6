package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/tests/vm"
)

// largestPack returns the path of a store's largest pack, and its size.
func largestPack(t *testing.T, store string) (largest string, size int64) {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(store, "packs", "??", "*.pack"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range packs {
		if st, err := os.Stat(path); err != nil {
			t.Fatal(err)
		} else if st.Size() > size {
			largest, size = path, st.Size()
		}
	}
	if size == 0 {
		t.Fatal("the store has no packs")
	}
	return largest, size
}

// spoil writes over a part of a file.
func spoil(t *testing.T, path string, off, n int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(slices.Repeat([]byte{0x5a}, int(n)), off); err != nil {
		t.Fatal(err)
	}
}

// hurtFiles are the guest's files in what damage and restore --skip-damaged tell.
type hurtFiles struct {
	Files []struct {
		Path    string `json:"path"`
		Offset  int64  `json:"offset"`
		Length  int64  `json:"length"`
		Problem string `json:"problem"`
	} `json:"files"`
}

// TestSkippedNamesGuestFiles: the map of a restore that leaves damage out names
// the files that damage names.
func TestSkippedNamesGuestFiles(t *testing.T) {
	p := newStore(t)
	p.must("capture", "--vm", "web", "--at", at(0), "vda="+vm.Small(t))
	path, size := largestPack(t, p.store)
	spoil(t, path, size/4, size/4)
	out := filepath.Join(t.TempDir(), "out.raw")
	if text, err := p.run("restore", "--skip-damaged", "web", out); err == nil || !strings.Contains(err.Error(), "are zeros") {
		t.Fatalf("restore of a damaged version: %v\n%s", err, text)
	}
	var skipped, damage hurtFiles
	b, err := os.ReadFile(out + ".skipped.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &skipped); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	text, err := p.run("damage", "--json")
	if err == nil {
		t.Fatal("no damage is known")
	}
	if err := json.Unmarshal([]byte(text), &damage); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if len(skipped.Files) == 0 || !slices.Equal(skipped.Files, damage.Files) {
		t.Fatalf("the map names %+v\ndamage names %+v", skipped.Files, damage.Files)
	}
	for _, f := range skipped.Files {
		if f.Path == "" || f.Problem != "" || f.Length <= 0 {
			t.Errorf("a file that is not told well: %+v", f)
		}
	}
	t.Logf("%d files", len(skipped.Files))
}
