package xfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// patched is a copy of an image's first sector with bytes put in, and its
// checksum made right.
func patched(t *testing.T, image string, at int, b ...byte) guest.Volume {
	t.Helper()
	path := guesttest.Copy(t, image)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, sector)
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	copy(head[at:], b)
	le.PutUint32(head[superSum:], sumWithout(head, superSum))
	if _, err := f.WriteAt(head, 0); err != nil {
		t.Fatal(err)
	}
	return guesttest.OpenFile(t, path)
}

// TestRefused names what can't be read.
func TestRefused(t *testing.T) {
	image := guesttest.Mkfs(t, 32<<20, mkfs("-d", "agcount=1")...)
	for _, c := range []struct {
		at   int
		b    []byte
		err  error
		says string
	}{
		{0, []byte("XFSD"), guest.ErrNotMine, ""},
		{218, []byte{1}, guest.ErrUnsupported, "metadir"},
		{216, []byte{0x80}, guest.ErrUnsupported, "number 31"},
		{101, []byte{0xa6}, guest.ErrUnsupported, "version 6"},
		{126, []byte{1}, guest.ErrCorrupt, "mkfs.xfs"},
		{8, []byte{0xff}, guest.ErrCorrupt, "cut off"},
		{120, []byte{13}, guest.ErrCorrupt, "blocks of 4096"},
		{104, []byte{0, 3}, guest.ErrCorrupt, "inodes of 3"},
		{124, []byte{31}, guest.ErrCorrupt, "AGs"},
		{192, []byte{5}, guest.ErrCorrupt, "directory blocks"},
		{63, []byte{200}, guest.ErrCorrupt, ""}, // the root
	} {
		_, err := Open(t.Context(), patched(t, image, c.at, c.b...))
		if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%x at %d: %v", c.b, c.at, err)
		}
	}
	if _, err := Open(t.Context(), guesttest.OpenFile(t, os.DevNull)); !errors.Is(err, guest.ErrNotMine) {
		t.Errorf("nothing: %v", err)
	}
}

// TestNotices opens what can be read with a word about it.
func TestNotices(t *testing.T) {
	image := guesttest.Mkfs(t, 32<<20, mkfs("-d", "agcount=1")...)
	fs, err := Open(t.Context(), patched(t, image, 219, 0x3b)) // with needsrepair
	if err != nil || !strings.Contains(fs.State().Reason, "xfs_repair") {
		t.Fatalf("needs repair: %v", err)
	}
	if err := fs.Free(t.Context(), nil); !errors.Is(err, guest.ErrUnsupported) {
		t.Errorf("free: %v", err)
	}
	fs, err = Open(t.Context(), patched(t, image, 214, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Free(t.Context(), nil); !errors.Is(err, guest.ErrUnsupported) {
		t.Errorf("free with an unknown compatible feature: %v", err)
	}
}

// TestOtherDevices has the log, and the content of some files, elsewhere.
func TestOtherDevices(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	make400 := func() {
		f, err := os.Create(other)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(100 << 20); err != nil {
			t.Fatal(err)
		}
	}
	make400()
	fs := guesttest.OpenImage(t, guesttest.Mkfs(t, 320<<20, mkfs("-l", "size=64m,logdev="+other)...), open)
	if st := fs.State(); st.Health != guest.NotReplayed || !strings.Contains(st.Reason, "another device") {
		t.Errorf("external log: %+v", st)
	}
	if err := fs.Free(t.Context(), nil); !errors.Is(err, guest.ErrUnsupported) {
		t.Errorf("free: %v", err)
	}
	make400()
	image := guesttest.Mkfs(t, 320<<20, mkfs("-m", "reflink=0", "-r", "rtdev="+other)...)
	guesttest.Run(t, "xfs_db", "-x", "-c", "sblock", "-c", "print rblocks", image)
	fs = guesttest.OpenImage(t, image, open)
	if st := fs.State(); st.Health != guest.Clean || !strings.Contains(st.Reason, "real-time") {
		t.Errorf("real-time device: %+v", st)
	}
	f := fs.(*FS)
	in, err := f.inode(t.Context(), f.Root())
	if err != nil || in.realtime {
		t.Fatal(in, err)
	}
}

// TestRealtimeFile refuses the content of a file on a real-time device, and
// leaves it out of Files.
func TestRealtimeFile(t *testing.T) {
	image := smallImage(t)
	fs := guesttest.OpenImage(t, image, open)
	dir := lookup(t, fs, fs.Root(), "sizes")
	n := lookup(t, fs, dir, "s3000")
	guesttest.Run(t, "xfs_db", "-x", "-c", "path /sizes/s3000", "-c", "write core.realtime 1", image)
	fs = guesttest.OpenImage(t, image, open)
	if _, err := fs.ReadAt(t.Context(), n, make([]byte, 10), 0); !errors.Is(err, guest.ErrUnsupported) || !strings.Contains(err.Error(), "real-time") {
		t.Errorf("read: %v", err)
	}
	if err := fs.Extents(t.Context(), n, 0, nil); !errors.Is(err, guest.ErrUnsupported) {
		t.Errorf("extents: %v", err)
	}
	if a, err := fs.Stat(t.Context(), n); err != nil || a.Size != 3000 {
		t.Errorf("stat: %+v, %v", a, err)
	}
	err := fs.Files(t.Context(), func(m guest.Node, _ int64, _ guest.Extent) bool {
		if m == n {
			t.Error("files: a file that does not lie in the volume")
		}
		return true
	})
	if err != nil {
		t.Error(err)
	}
}
