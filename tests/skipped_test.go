package tests

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/fs/guest/guesttest"
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
	p.store += "-bare" // without parity, which would bring the chunk back
	p.must("init", "--no-parity", p.store)
	tree := t.TempDir()
	content := make([]byte, 4<<20) // does not shrink: it lies in the pack as it is
	rand.NewChaCha8([32]byte{1}).Read(content)
	if err := os.WriteFile(filepath.Join(tree, "hurt"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	p.must("capture", "--vm", "web", "--at", at(0), "vda="+guesttest.Mkfs(t, 32<<20, "mkfs.ext4", "-q", "-d", tree))
	path, _ := largestPack(t, p.store)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	place := bytes.Index(b, content[1<<20:][:64])
	if place < 0 {
		t.Fatal("the file's second MiB is not in the largest pack")
	}
	spoil(t, path, int64(place), 64)
	out := filepath.Join(t.TempDir(), "out.raw")
	if text, err := p.run("restore", "--skip-damaged", "web", out); err == nil || !strings.Contains(err.Error(), "are zeros") {
		t.Fatalf("restore of a damaged version: %v\n%s", err, text)
	}
	var skipped, damage hurtFiles
	if b, err = os.ReadFile(out + ".skipped.json"); err != nil {
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
	if len(skipped.Files) != 1 || !slices.Equal(skipped.Files, damage.Files) {
		t.Fatalf("the map names %+v\ndamage names %+v", skipped.Files, damage.Files)
	}
	for _, f := range skipped.Files {
		if !strings.HasSuffix(f.Path, "hurt") || f.Problem != "" || f.Offset > 1<<20 || f.Offset+f.Length <= 1<<20 {
			t.Errorf("a file that is not told well: %+v", f)
		}
	}
}
