package ext4

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// TestChecksums changes one byte of each kind of structure of a filesystem
// with metadata_csum. What uses it must fail and name the place.
func TestChecksums(t *testing.T) {
	image := smallImage(t, 8<<20, false, "mkfs.ext4", "-q", "-F", "-b", "1024", "-O", "^has_journal")
	fs, err := Open(t.Context(), guesttest.OpenFile(t, image))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	many, file, holes := path(t, fs, "many"), path(t, fs, "sizes/s59"), path(t, fs, "holes")
	g, err := fs.group(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := fs.inode(ctx, many)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := fs.mapBlock(ctx, dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fs.inode(ctx, holes)
	if err != nil || le.Uint16(tree.mapping[6:]) == 0 {
		t.Fatalf("the file with holes has no tree: %v", err)
	}
	attrs, err := fs.inode(ctx, file)
	if err != nil || attrs.acl == 0 {
		t.Fatalf("the file with xattrs has no block of them: %v", err)
	}
	inodeAt := int64(g.table)*1024 + int64(many-1)*int64(fs.sb.inodeSize)
	for _, c := range []struct {
		what string
		at   int64
		use  func(*FS) error
		says string
	}{
		{"superblock", 1024 + 0x10, nil, "superblock"},
		{"inode", inodeAt + 0x10, func(f *FS) error { _, err := f.Stat(ctx, many); return err }, fmt.Sprintf("inode %d", many)},
		{"directory", int64(leaf.place)*1024 + 9, func(f *FS) error { return f.ReadDir(ctx, many, 0, func(guest.Entry) bool { return true }) }, fmt.Sprintf("directory %d: block 1", many)},
		{"extent node", int64(le.Uint32(tree.mapping[16:]))*1024 + 20, func(f *FS) error { _, err := f.ReadAt(ctx, holes, make([]byte, 10), 0); return err }, fmt.Sprintf("inode %d: the extent node", holes)},
		{"xattr block", int64(attrs.acl)*1024 + 40, func(f *FS) error { _, err := f.Xattrs(ctx, file); return err }, fmt.Sprintf("inode %d: the xattrs in block %d", file, attrs.acl)},
		{"descriptor", 2048 + 12, func(f *FS) error { _, err := f.freeBitmap(ctx, 0); return err }, "group 0: its descriptor"},
		{"bitmap", int64(g.blockBitmap)*1024 + 3, func(f *FS) error { _, err := f.freeBitmap(ctx, 0); return err }, "group 0: its block bitmap"},
	} {
		t.Run(c.what, func(t *testing.T) {
			f, err := Open(ctx, guesttest.OpenFile(t, flip(t, image, c.at)))
			if c.use != nil && err != nil {
				t.Fatalf("open: %v", err)
			}
			if c.use != nil {
				err = c.use(f)
			}
			if !errors.Is(err, guest.ErrCorrupt) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want one of %q", err, c.says)
			}
			if c.what == "directory" || c.what == "descriptor" {
				checkRest(t, f, many)
			}
		})
	}
}

// checkRest finds the names that damage elsewhere does not touch.
func checkRest(t *testing.T, f *FS, dir guest.Node) {
	t.Helper()
	names := 0
	err := f.ReadDir(t.Context(), dir, 0, func(guest.Entry) bool { names++; return true })
	if names < 50 {
		t.Errorf("only %d names are left, %v", names, err)
	}
}

// path looks a path up.
func path(t *testing.T, fs guest.Filesystem, path string) guest.Node {
	t.Helper()
	n := fs.Root()
	for name := range strings.SplitSeq(path, "/") {
		var err error
		if n, err = fs.Lookup(t.Context(), n, name); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	return n
}

// flip makes a copy of an image with one bit changed.
func flip(t *testing.T, image string, at int64) string {
	t.Helper()
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	content[at] ^= 0x10
	path := filepath.Join(t.TempDir(), "flipped")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestEncrypted shows what is encrypted by its attributes only.
func TestEncrypted(t *testing.T) {
	image := guesttest.Mkfs(t, 16<<20, "mkfs.ext4", "-q", "-F", "-O", "encrypt,casefold,^metadata_csum")
	content := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(content, []byte("some content"), 0o600); err != nil {
		t.Fatal(err)
	}
	debugfs(t, image, "mkdir secret", "write "+content+" file", "mkdir folded", "cd folded", "write "+content+" Name", "cd /",
		"sif secret flags 0x80800", "sif file flags 0x80800", "sif folded flags 0x40080000")
	fs := guesttest.OpenImage(t, image, open)
	ctx := context.Background()
	secret, file := path(t, fs, "secret"), path(t, fs, "file")
	if a, err := fs.Stat(ctx, secret); err != nil || a.Type != guest.Directory {
		t.Errorf("stat: %+v, %v", a, err)
	}
	if err := fs.ReadDir(ctx, secret, 0, func(guest.Entry) bool { return true }); !errors.Is(err, guest.ErrUnsupported) {
		t.Errorf("listing: %v", err)
	}
	if _, err := fs.Lookup(ctx, secret, "x"); !errors.Is(err, guest.ErrUnsupported) {
		t.Errorf("lookup: %v", err)
	}
	if _, err := fs.ReadAt(ctx, file, make([]byte, 4), 0); !errors.Is(err, guest.ErrUnsupported) {
		t.Errorf("read: %v", err)
	}
	if err := fs.Extents(ctx, file, 0, func(e guest.Extent) bool {
		if e.Place != -1 || e.Hole {
			t.Errorf("extent %+v", e)
		}
		return true
	}); err != nil {
		t.Error(err)
	}
	path(t, fs, "folded/Name")
	if _, err := fs.Lookup(ctx, path(t, fs, "folded"), "name"); !errors.Is(err, guest.ErrNotExist) {
		t.Errorf("a folded name: %v", err)
	}
}
