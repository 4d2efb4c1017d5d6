package ext4

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// TestHashTree looks every name of a large directory up by its hash tree, of
// each kind of hash and each depth. Lookup would hide a tree that can't be
// used behind a linear search.
func TestHashTree(t *testing.T) {
	for _, c := range []struct {
		hash   string
		flags  string // of the superblock: which bytes are negative
		names  int
		length int // of each name
		levels byte
	}{
		{"half_md4", "signed_hash", 3000, 40, 1},
		{"half_md4", "unsigned_hash", 1000, 4, 0},
		{"tea", "signed_hash", 1000, 60, 0},
		{"tea", "unsigned_hash", 3000, 30, 1},
		{"legacy", "signed_hash", 1000, 30, 0},
		{"legacy", "unsigned_hash", 1000, 30, 0},
		{"half_md4", "signed_hash", 40000, 250, 2},
	} {
		t.Run(fmt.Sprintf("%s %s %d", c.hash, c.flags, c.names), func(t *testing.T) {
			image := guesttest.Mkfs(t, 96<<20, "mkfs.ext4", "-q", "-F", "-b", "1024", "-O", "large_dir")
			guesttest.Run(t, "tune2fs", "-E", "hash_alg="+c.hash, image)
			flag := map[string]string{"signed_hash": "1", "unsigned_hash": "2"}[c.flags]
			guesttest.Run(t, "debugfs", "-w", "-R", "ssv flags "+flag, image)
			names := hashedNames(c.names, c.length)
			guesttest.Mounted(t, image, func(dir string) { linkAll(t, dir, names) })
			checkIndexed(t, image, names, c.levels)
		})
	}
}

// hashedNames makes names, some with bytes above 127.
func hashedNames(n, length int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%x", i)
		if i%3 == 0 {
			names[i] += "é\xff"
		}
		names[i] += strings.Repeat("n", max(0, length-len(names[i])))
	}
	return names
}

// linkAll makes links to one file.
func linkAll(t *testing.T, dir string, names []string) {
	t.Helper()
	sub := filepath.Join(dir, "d")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Link(file, sub+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
}

func checkIndexed(t *testing.T, image string, names []string, levels byte) {
	t.Helper()
	fs, err := Open(t.Context(), guesttest.OpenFile(t, image))
	if err != nil {
		t.Fatal(err)
	}
	sub, err := fs.Lookup(t.Context(), rootInode, "d")
	if err != nil {
		t.Fatal(err)
	}
	file, err := fs.Lookup(t.Context(), rootInode, "file")
	if err != nil {
		t.Fatal(err)
	}
	in, err := fs.inode(t.Context(), sub)
	if err != nil || !fs.indexed(in) {
		t.Fatalf("directory: %v, %+v", err, in)
	}
	root, err := fs.dirBlock(t.Context(), in, 0)
	if err != nil || root[0x1e] != levels {
		t.Fatalf("root: %v, %d levels, want %d", err, root[0x1e], levels)
	}
	for i, name := range names {
		if e, err := fs.findIndexed(t.Context(), in, name); err != nil || guest.Node(e.inode) != file {
			t.Fatalf("name %d: inode %d, %v", i, e.inode, err)
		}
		if e, err := fs.findIndexed(t.Context(), in, name+"x"); !errors.Is(err, guest.ErrNotExist) || isBadIndex(err) {
			t.Fatalf("absent name %d: inode %d, %v", i, e.inode, err)
		}
	}
}
