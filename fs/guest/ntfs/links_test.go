package ntfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// symlinkPoint makes the reparse point of a symlink; short is how paths that
// are not the object manager's are marked.
func symlinkPoint(target string, short uint32) []byte {
	b := mountPoint(target)
	b = append(b[:16:16], append(le.AppendUint32(nil, short), b[16:]...)...)
	le.PutUint32(b, tagSymlink)
	le.PutUint16(b[4:], uint16(len(b)-reparseHead))
	return b
}

// targets are Windows paths and what becomes of them in the directory a/b.
var targets = []struct {
	name, windows string
	junction      bool
	short         uint32
	want          string
	alike         bool // ntfs-3g leads to the same file
}{
	{"junction", `\??\C:\Users\Someone`, true, 0, "../../Users/Someone", true},
	{"junction with a slash", `\??\C:\Users\Someone\`, true, 0, "../../Users/Someone", false},
	{"junction in other case", `\??\c:\USERS\someone`, true, 0, "../../Users/Someone", true},
	{"junction elsewhere", `\??\D:\Games\New`, true, 0, "D:/Games/New", false},
	{"junction to a drive", `\??\e:\`, true, 0, "E:/", false},
	{"junction to a volume", `\??\Volume{01234567-89ab-cdef-0123-456789abcdef}\`, true, 0, "Volume{01234567-89ab-cdef-0123-456789abcdef}/", false},
	{"junction to a share", `\??\UNC\server\share\x`, true, 0, "//server/share/x", false},
	{"full", `\??\C:\Users\Someone\file.txt`, false, 0, "../../Users/Someone/file.txt", true},
	{"rooted", `\Users\Someone\file.txt`, false, 1, "../../Users/Someone/file.txt", true},
	{"rooted, absent", `\No\Such`, false, 1, "../../No/Such", false},
	{"relative", `..\..\users\SOMEONE\File.TXT`, false, 1, "../../Users/Someone/file.txt", true},
	{"relative, beside", `sibling`, false, 1, "sibling", true},
	{"relative, absent", `..\nowhere\At All`, false, 1, "../nowhere/At All", false},
	{"8.3", `\??\C:\LONGNA~1\in it`, false, 0, "../../Long name of a directory/in it", false},
	{"through a link", `\??\C:\a\b\junction\anything`, false, 0, "../../a/b/junction/anything", true},
	{"a file as a directory", `\??\C:\a\b\sibling\x`, false, 0, "C:/a/b/sibling/x", false},
	{"share", `\\server\share\x`, false, 0, "//server/share/x", false},
}

// TestWindowsLinks holds links of every form against their translation, and
// where they lead on this volume against ntfs-3g.
func TestWindowsLinks(t *testing.T) {
	image := mkntfs(t, 16<<20)
	mounted(t, image, func(dir string) {
		must(t, os.MkdirAll(dir+"/Users/Someone", 0o755))
		must(t, os.MkdirAll(dir+"/a/b", 0o755))
		must(t, os.MkdirAll(dir+"/Long name of a directory", 0o755))
		must(t, unix.Setxattr(dir+"/Long name of a directory", "system.ntfs_dos_name", []byte("LONGNA~1"), 0))
		for _, name := range []string{"Users/Someone/file.txt", "a/b/sibling", "Long name of a directory/in it"} {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
		}
		for _, l := range targets {
			path, point := filepath.Join(dir, "a/b", l.name), symlinkPoint(l.windows, l.short)
			if l.junction {
				must(t, os.Mkdir(path, 0o755))
				point = mountPoint(l.windows)
			} else {
				must(t, os.WriteFile(path, nil, 0o644))
			}
			must(t, unix.Setxattr(path, xattrReparse, point, 0))
		}
	})
	fs := guesttest.OpenImage(t, image, open)
	dir, _ := mount(t, image, "ro")
	for _, l := range targets {
		n := lookup(t, fs, "a/b/"+l.name)
		got, err := fs.Readlink(t.Context(), n)
		if err != nil || got != l.want {
			t.Errorf("%s: %s becomes %q, %v; want %q", l.name, l.windows, got, err, l.want)
		}
		if a, err := fs.Stat(t.Context(), n); err != nil || a.Type != guest.Symlink || a.Size != int64(len(l.want)) || a.Perm != 0o777 {
			t.Errorf("%s: %+v, %v", l.name, a, err)
		}
		theirs, err := os.Readlink(filepath.Join(dir, "a/b", l.name))
		if !filepath.IsAbs(theirs) {
			theirs = filepath.Join(dir, "a/b", theirs)
		}
		if l.alike && (err != nil || filepath.Join(dir, "a/b", got) != theirs) {
			t.Errorf("%s: %q, ntfs-3g leads to %q, %v", l.name, got, theirs, err)
		}
	}
}

// TestDOSNames has a name of 8.3 beside a long one: one file with one name.
func TestDOSNames(t *testing.T) {
	image := mkntfs(t, 16<<20)
	mounted(t, image, func(dir string) {
		must(t, os.WriteFile(dir+"/A long name.text", []byte("x"), 0o644))
		must(t, unix.Setxattr(dir+"/A long name.text", "system.ntfs_dos_name", []byte("ALONGN~1.TEX"), 0))
		must(t, os.Link(dir+"/A long name.text", dir+"/another"))
	})
	fs := guesttest.OpenImage(t, image, open)
	n := lookup(t, fs, "A long name.text")
	if a, err := fs.Stat(t.Context(), n); err != nil || a.Links != 2 {
		t.Errorf("%+v, %v", a, err)
	}
	var names []string
	must(t, fs.ReadDir(t.Context(), fs.Root(), 0, func(e guest.Entry) bool { names = append(names, e.Name); return true }))
	if len(names) != 2 {
		t.Errorf("names %q", names)
	}
	_, err := fs.Lookup(t.Context(), fs.Root(), "ALONGN~1.TEX")
	wantError(t, "the DOS name", err, guest.ErrNotExist, "")
}

func setReparse(t testing.TB, path string, point []byte) {
	t.Helper()
	must(t, unix.Setxattr(path, xattrReparse, point, 0))
}

// TestWSL has the files of the Windows Subsystem for Linux.
func TestWSL(t *testing.T) {
	image := mkntfs(t, 16<<20)
	point := func(tag uint32, data ...byte) []byte {
		b := le.AppendUint32(nil, tag)
		return append(le.AppendUint16(le.AppendUint16(b, uint16(len(data))), 0), data...)
	}
	kinds := []struct {
		name  string
		point []byte // nil for what ntfs-3g makes by mknod
		eas   map[string][]uint32
		want  guest.Attr
	}{
		{"socket", nil, map[string][]uint32{"$LXMOD": {0o140755}}, guest.Attr{Type: guest.Socket, Perm: 0o755}},
		{"fifo", nil, map[string][]uint32{"$LXMOD": {0o10600}, "$LXUID": {7}, "$LXGID": {8}}, guest.Attr{Type: guest.FIFO, Perm: 0o600, UID: 7, GID: 8}},
		{"char", nil, map[string][]uint32{"$LXMOD": {0o20666}, "$LXDEV": {300, 70000}}, guest.Attr{Type: guest.CharDevice, Perm: 0o666, Rdev: unix.Mkdev(300, 70000)}},
		{"block", nil, map[string][]uint32{"$LXDEV": {8, 1}}, guest.Attr{Type: guest.BlockDevice, Perm: 0o777, Rdev: unix.Mkdev(8, 1)}},
		{"link", point(tagLXSymlink, append([]byte{2, 0, 0, 0}, "/mnt/c/Ünïcode"...)...), map[string][]uint32{"$LXUID": {1000}, "$LXMOD": {0o120777}}, guest.Attr{Type: guest.Symlink, Perm: 0o777, UID: 1000, Size: 16}},
		{"setuid", nil, map[string][]uint32{"$LXMOD": {0o104755}, "$LXUID": {4_000_000_000}}, guest.Attr{Type: guest.Regular, Perm: 0o4755, UID: 4_000_000_000}},
		{"unknown", point(0x8000_1234, 1, 2, 3), nil, guest.Attr{Type: guest.Regular, Perm: 0o777}},
		{"not microsoft", point(0x1234, append(make([]byte, 16), 9)...)[:25], nil, guest.Attr{Type: guest.Regular, Perm: 0o777}},
	}
	le.PutUint16(kinds[len(kinds)-1].point[4:], 1)
	mounted(t, image, func(dir string) {
		for _, k := range kinds {
			path := filepath.Join(dir, k.name)
			switch k.want.Type {
			case guest.Socket:
				must(t, unix.Mknod(path, unix.S_IFSOCK|0o600, 0))
			case guest.FIFO:
				must(t, unix.Mkfifo(path, 0o600))
			case guest.CharDevice:
				must(t, unix.Mknod(path, unix.S_IFCHR|0o600, int(k.want.Rdev)))
			case guest.BlockDevice:
				must(t, unix.Mknod(path, unix.S_IFBLK|0o600, int(k.want.Rdev)))
			default:
				must(t, os.WriteFile(path, nil, 0o644))
			}
			if k.eas != nil {
				must(t, unix.Setxattr(path, xattrEA, linuxEAs(k.eas), 0))
			}
			if k.point != nil {
				must(t, unix.Setxattr(path, xattrReparse, k.point, 0))
			}
		}
	}, "special_files=wsl")
	fs := guesttest.OpenImage(t, image, open)
	if all, err := fs.Xattrs(t.Context(), lookup(t, fs, "fifo")); err != nil || all[xattrReparse] == nil {
		t.Errorf("the FIFO is not one of WSL: %v, %v", all, err)
	}
	for _, k := range kinds {
		a, err := fs.Stat(t.Context(), lookup(t, fs, k.name))
		got := guest.Attr{Type: a.Type, Perm: a.Perm, UID: a.UID, GID: a.GID, Rdev: a.Rdev, Size: a.Size}
		if err != nil || got != k.want {
			t.Errorf("%s: %+v, %v; want %+v", k.name, got, err, k.want)
		}
	}
	if target, err := fs.Readlink(t.Context(), lookup(t, fs, "link")); err != nil || target != "/mnt/c/Ünïcode" {
		t.Errorf("%q, %v", target, err)
	}
}

// TestNames compares names that are hard in UTF-16, lone surrogates among them,
// and their streams.
func TestNames(t *testing.T) {
	image := mkntfs(t, 16<<20)
	names := []string{"\xed\xa0\x80", "\xed\xbf\xbfx", "a\xed\xa0\xbd", "😀", "ß", "SS", "ss", "Straße", "İ", "ı", "Ǆ", "ǆ", "ⅷ", "Ⅷ", "\uffff", "\ue000",
		strings.Repeat("😀", 127), strings.Repeat("中", 85), "case", "Case", "CASE"}
	mounted(t, image, func(dir string) {
		for i, name := range names {
			must(t, os.WriteFile(filepath.Join(dir, name), fmt.Append(nil, i), 0o644))
			must(t, unix.Setxattr(filepath.Join(dir, name), "user.😀\xed\xa0\x80"+fmt.Sprint(i), []byte(name), 0))
		}
		must(t, os.WriteFile(filepath.Join(dir, "not in its record"), make([]byte, 5000), 0o644))
	}, "streams_interface=xattr")
	fs := compare(t, image)
	for _, name := range []string{"\xed\xa0\xbd\xed\xb8\x80", "cASE", "\xff", "\xed\xa0", "", ".", "..", "a/b", "a\x00b"} {
		_, err := fs.Lookup(t.Context(), fs.Root(), name)
		wantError(t, fmt.Sprintf("%q", name), err, guest.ErrNotExist, "")
	}
}

// TestStreams has streams that an xattr can't hold.
func TestStreams(t *testing.T) {
	image := mkntfs(t, 16<<20)
	mounted(t, image, func(dir string) {
		must(t, os.WriteFile(dir+"/f", []byte("x"), 0o644))
		for name, n := range map[string]int{"empty": 0, "just": maxStream, "long": maxStream + 1, "Zone.Identifier": 26} {
			must(t, os.WriteFile(dir+"/f:"+name, bytes.Repeat([]byte("s"), n), 0o644))
		}
	}, "streams_interface=windows")
	fs := guesttest.OpenImage(t, image, open)
	all, err := fs.Xattrs(t.Context(), lookup(t, fs, "f"))
	must(t, err)
	for name, n := range map[string]int{"user.empty": 0, "user.just": maxStream, "user.Zone.Identifier": 26, xattrOmitted: len("65537 long\n")} {
		if v, ok := all[name]; !ok || len(v) != n {
			t.Errorf("%s: %d bytes, %v", name, len(v), ok)
		}
	}
	if _, ok := all["user.long"]; ok || string(all[xattrOmitted]) != "65537 long\n" {
		t.Errorf("%q", all[xattrOmitted])
	}
}

// TestCollation proves that each name has one form, and the order of names.
func TestCollation(t *testing.T) {
	for u := range 1 << 16 {
		for _, name := range [][]uint16{{uint16(u)}, {'a', uint16(u)}, {uint16(u), 0xdc00}, {0xd83d, uint16(u)}} {
			var b []byte
			for _, c := range name {
				b = le.AppendUint16(b, c)
			}
			if back, ok := widen(narrow(b)); !ok || !bytes.Equal(back, b) {
				t.Fatalf("%x becomes %q, and that %x, %v", b, narrow(b), back, ok)
			}
		}
	}
	fs := openFS(t, mkntfs(t, 8<<20))
	order := []string{"", "A", "a", "AB", "aB", "Ab", "b", "é", "É"}
	for i, x := range order {
		for k, y := range order {
			a, _ := widen(x)
			b, _ := widen(y)
			if c := fs.upcase.compare(a, b); c == 0 != (i == k) {
				t.Errorf("%q and %q compare as %d", x, y, c)
			}
		}
	}
	if !errors.Is(guest.ErrNotExist, os.ErrNotExist) {
		t.Error("another error")
	}
}
