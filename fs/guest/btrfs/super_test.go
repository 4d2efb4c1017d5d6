package btrfs

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// patched is a copy of an image with bytes put into its first superblock, whose
// checksum is made right.
func patched(t *testing.T, image string, at int, b ...byte) string {
	t.Helper()
	path := guesttest.Copy(t, image)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, superLen)
	if _, err := f.ReadAt(head, superPlaces[0]); err != nil {
		t.Fatal(err)
	}
	copy(head[at:], b)
	if at >= headSum {
		copy(head, sumKinds[0].sum(head[headSum:]))
	}
	if _, err := f.WriteAt(head, superPlaces[0]); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRefused names what can't be read. Without a second superblock, that of
// the first one counts.
func TestRefused(t *testing.T) {
	image := guesttest.Mkfs(t, 48<<20, mkfs("-m", "single")...)
	for _, c := range []struct {
		at   int
		b    []byte
		err  error
		says string
	}{
		{64, []byte("x"), guest.ErrNotMine, ""},
		{0, []byte("xxxx"), guest.ErrCorrupt, "checksum"},
		{196, []byte{9}, guest.ErrUnsupported, "kind 9"},
		{189, []byte{0x13}, guest.ErrUnsupported, "zoned"},
		{189, []byte{0x23}, guest.ErrUnsupported, "extent_tree_v2"},
		{189, []byte{0x43}, guest.ErrUnsupported, "raid_stripe_tree"},
		{191, []byte{0x80}, guest.ErrUnsupported, "number 31"},
		{144, []byte{0, 2}, guest.ErrCorrupt, "sectors of 512"},
		{148, []byte{1}, guest.ErrCorrupt, "nodes of"},
		{160, []byte{0xff, 0xff}, guest.ErrCorrupt, "system chunks"},
		{811, []byte{1}, nil, ""}, // the object of a chunk's key tells nothing
		{819, []byte{1}, guest.ErrCorrupt, "odd bytes"},
		{88, []byte{0, 0, 0, 7}, guest.ErrCorrupt, "no chunk holds"},
		{80, []byte{0, 0, 0, 7}, guest.ErrCorrupt, "no chunk holds"},
		{164, []byte{99}, guest.ErrCorrupt, "generation"},
		{198, []byte{3}, guest.ErrCorrupt, "level"},
		{127, []byte{9}, guest.ErrCorrupt, "in use"},
	} {
		_, err := Open(t.Context(), guesttest.OpenFile(t, patched(t, image, c.at, c.b...)))
		if !errors.Is(err, c.err) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%x at %d: %v", c.b, c.at, err)
		}
	}
	if _, err := Open(t.Context(), guesttest.OpenFile(t, os.DevNull)); !errors.Is(err, guest.ErrNotMine) {
		t.Errorf("nothing: %v", err)
	}
}

// TestSuperblockCopy opens by the copy when the first superblock is damaged.
func TestSuperblockCopy(t *testing.T) {
	image := guesttest.Mkfs(t, 128<<20, mkfs("-m", "single")...)
	guesttest.Mounted(t, image, func(dir string) { guesttest.PopulateFew(t, dir, 1) })
	want := content(t, guesttest.OpenImage(t, image, open).(*FS))
	damaged := patched(t, image, 0, 1, 2, 3, 4)
	compareContent(t, "by the copy", content(t, guesttest.OpenImage(t, damaged, open).(*FS)), want)
}

// TestFreeUnsupported leaves free space alone where it may not be what it
// seems.
func TestFreeUnsupported(t *testing.T) {
	image := guesttest.Mkfs(t, 48<<20, mkfs("-m", "single")...)
	fs := guesttest.OpenImage(t, patched(t, image, 183, 1), open)
	if err := fs.Free(t.Context(), nil); !errors.Is(err, guest.ErrUnsupported) {
		t.Errorf("with an unknown feature: %v", err)
	}
	fs = guesttest.OpenImage(t, patched(t, image, 96, 0, 0, 0, 7), open) // a log that is not there
	if st := fs.State(); st.Health != guest.NotReplayed || !strings.Contains(st.Reason, "read the log") {
		t.Errorf("state %+v", st)
	}
	if err := fs.Free(t.Context(), nil); !errors.Is(err, guest.ErrUnsupported) {
		t.Errorf("with a log that was not replayed: %v", err)
	}
}

// TestDamagedContent says of a file whose only copy is damaged that it is, and
// reads all others.
func TestDamagedContent(t *testing.T) {
	image := guesttest.Mkfs(t, 128<<20, mkfs("-m", "single")...)
	mark := bytes.Repeat([]byte("a mark that is found. "), 1000)
	guesttest.Mounted(t, image, func(dir string) {
		guesttest.PopulateFew(t, dir, 1)
		if err := os.WriteFile(dir+"/marked", mark, 0o644); err != nil {
			t.Fatal(err)
		}
	})
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, mark)
	b[at+5000] ^= 1
	if err := os.WriteFile(image, b, 0o600); err != nil {
		t.Fatal(err)
	}
	fs := guesttest.OpenImage(t, image, open)
	n := lookup(t, fs, "marked")
	p := make([]byte, 4096)
	for i := range 5 {
		off := int64(i) * 4096
		if _, err := fs.ReadAt(t.Context(), n, p, off); errors.Is(err, guest.ErrCorrupt) != (i == 1) {
			t.Errorf("read at %d: %v", off, err)
		}
	}
}
