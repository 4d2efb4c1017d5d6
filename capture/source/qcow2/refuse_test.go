package qcow2_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/capture/source"
	"holdfast/capture/source/image"
	"holdfast/capture/source/sourcetest"
)

// made makes an image over 64 KiB of data, with bytes patched in.
func made(t testing.TB, options string, patches map[int64][]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.qcow2")
	sourcetest.Qemu(t, "qemu-img", "create", "-f", "qcow2", "-o", options, path, "1M")
	sourcetest.Qemu(t, "qemu-io", "-t", "unsafe", "-c", "write -P 7 64k 64k", path)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for off, b := range patches {
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
func be64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func TestRefusedFeatures(t *testing.T) {
	sourcetest.CheckClosed(t)
	for name, c := range map[string]struct {
		patches map[int64][]byte
		words   []string
	}{
		"aes":         {map[int64][]byte{32: be32(1)}, []string{"AES encryption"}},
		"luks":        {map[int64][]byte{32: be32(2)}, []string{"LUKS encryption"}},
		"method 9":    {map[int64][]byte{32: be32(9)}, []string{"encryption method 9"}},
		"version":     {map[int64][]byte{4: be32(4)}, []string{"qcow2 version 4"}},
		"bit 5":       {map[int64][]byte{72: be64(1 << 5)}, []string{"bit 5"}},
		"bit 63":      {map[int64][]byte{72: be64(1 << 63)}, []string{"bit 63"}},
		"compression": {map[int64][]byte{72: be64(1 << 3), 104: {7}}, []string{"compression type 7"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := wantError(t, made(t, "compat=1.1", c.patches), source.Options{}, c.words...)
			if want := (*source.UnsupportedError)(nil); !errors.As(err, &want) {
				t.Errorf("%T is no UnsupportedError", err)
			}
		})
	}
}

func TestCorruptHeaders(t *testing.T) {
	for name, c := range map[string]struct {
		patches map[int64][]byte
		words   []string
	}{
		"corrupt bit":     {map[int64][]byte{72: be64(1 << 1)}, []string{"marked as corrupt", "qemu-img check"}},
		"cluster 2^8":     {map[int64][]byte{20: be32(8)}, []string{"cluster size"}},
		"cluster 2^22":    {map[int64][]byte{20: be32(22)}, []string{"cluster size"}},
		"huge":            {map[int64][]byte{24: be64(1 << 62)}, []string{"L1 table"}},
		"size 2^64":       {map[int64][]byte{24: be64(1<<64 - 1)}, []string{"L1 table"}},
		"short L1":        {map[int64][]byte{36: be32(0)}, []string{"L1 table has 0 entries"}},
		"L1 unaligned":    {map[int64][]byte{40: be64(513)}, []string{"does not begin at a cluster"}},
		"L1 beyond":       {map[int64][]byte{40: be64(1 << 40)}, []string{"truncated"}},
		"header length":   {map[int64][]byte{100: be32(1 << 30)}, []string{"header length"}},
		"name too long":   {map[int64][]byte{8: be64(512), 16: be32(1024)}, []string{"name"}},
		"name outside":    {map[int64][]byte{8: be64(1<<64 - 1), 16: be32(10)}, []string{"name"}},
		"no data file":    {map[int64][]byte{72: be64(1 << 2)}, []string{"does not name it"}},
		"zlib as feature": {map[int64][]byte{72: be64(1 << 3)}, []string{"does not agree"}},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, made(t, "compat=1.1", c.patches), source.Options{}, c.words...)
		})
	}
}

func TestDirtyIsANotice(t *testing.T) {
	path := made(t, "lazy_refcounts=on", map[int64][]byte{72: be64(1)})
	d := open(t, path, source.Options{})
	if len(d.Notices) != 1 || !strings.Contains(d.Notices[0], "dirty") {
		t.Errorf("notices %q", d.Notices)
	}
	want := make([]byte, 1<<20)
	for i := range 64 << 10 {
		want[64<<10+i] = 7
	}
	sourcetest.CheckBytes(t, d, want)
}

// TestHostileReferences: an image that names files of the host is refused,
// and opened when a person allows it.
func TestHostileReferences(t *testing.T) {
	sourcetest.CheckClosed(t)
	outside := t.TempDir()
	secret := sourcetest.WriteFile(t, outside, "secret", []byte(strings.Repeat("root:hash\n", 100)))
	dir := t.TempDir()
	for name, target := range map[string]string{"link": secret, "linkdir": outside, "shadow": "/etc/shadow"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	up := strings.Repeat("../", 20)
	for _, ref := range []string{"/etc/shadow", "shadow", up + "etc/shadow", secret, "link", "linkdir/secret", "./linkdir/../" + filepath.Base(outside) + "/secret",
		"file:/etc/shadow", "/etc/no-such-file", up + "etc/no-such-file", "/proc/self/environ"} {
		for _, kind := range []string{"backing", "data"} {
			path := referring(t, dir, kind, ref)
			err := wantError(t, path, source.Options{}, "--follow-backing", fmt.Sprintf("%q", strings.TrimPrefix(ref, "file:")))
			if want := (*source.RefusedError)(nil); !errors.As(err, &want) {
				t.Errorf("%T is no RefusedError", err)
			}
		}
	}
	for _, ref := range []string{secret, "link", "linkdir/secret"} {
		for _, follow := range []string{outside, "/"} {
			d := open(t, referring(t, dir, "backing", ref), source.Options{FollowBacking: []string{"/usr", follow}})
			if len(d.Files) != 2 || d.Files[1] != secret {
				t.Errorf("files %q, want %s", d.Files, secret)
			}
		}
	}
	for _, ref := range []string{"nbd://host/x", `json:{"driver":"nbd"}`, "ssh:x"} {
		wantError(t, referring(t, dir, "backing", ref), source.Options{FollowBacking: []string{"/"}}, "protocol")
	}
	err := wantError(t, referring(t, dir, "backing", "nothing-here"), source.Options{}, "nothing-here", "missing")
	if want := (*source.MissingError)(nil); !errors.As(err, &want) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is no MissingError", err)
	}
	wantError(t, referring(t, dir, "backing", "."), source.Options{FollowBacking: []string{"/"}}, "is a directory")
}

// referring writes the smallest image that names a backing or data file, as
// no qemu-img would let us: its L1 table is empty, and it has 512 bytes.
func referring(t testing.TB, dir, kind, ref string) string {
	t.Helper()
	b := make([]byte, 1024)
	copy(b, magicAndVersion)
	put := func(off int, v []byte) { copy(b[off:], v) }
	put(20, be32(9))
	put(24, be64(512))
	put(36, be32(1))
	put(40, be64(512))
	put(100, be32(104))
	if kind == "data" {
		put(72, be64(1<<2))
		put(104, append(append(be32(0x44415441), be32(uint32(len(ref)))...), ref...))
	} else {
		put(104, append(append(be32(0xe2792aca), be32(3)...), "raw"...))
		put(8, be64(200))
		put(16, be32(uint32(len(ref))))
		put(200, []byte(ref))
	}
	return sourcetest.WriteFile(t, dir, "x.qcow2", b)
}

const magicAndVersion = "QFI\xfb\x00\x00\x00\x03"

func TestLoopsAndLongChains(t *testing.T) {
	sourcetest.CheckClosed(t)
	dir := t.TempDir()
	for _, ref := range []string{"x.qcow2", "hard", "b"} {
		path := referring(t, dir, "backing", ref)
		switch ref {
		case "hard":
			if err := os.Link(path, filepath.Join(dir, "hard")); err != nil {
				t.Fatal(err)
			}
		case "b": // b names x.qcow2, without a format
			unformat(t, path)
			other := referring(t, t.TempDir(), "backing", "x.qcow2")
			unformat(t, other)
			if err := os.Rename(other, filepath.Join(dir, "b")); err != nil {
				t.Fatal(err)
			}
		}
		wantError(t, path, source.Options{}, "bites its tail")
	}
	for i := range 70 {
		path := referring(t, dir, "backing", fmt.Sprintf("n%d", i+1))
		unformat(t, path)
		if err := os.Rename(path, filepath.Join(dir, fmt.Sprintf("n%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := image.Open(filepath.Join(dir, "n0"), source.Options{}); err == nil || !strings.Contains(err.Error(), "longer than 64") {
		t.Errorf("a chain of 70: %v", err)
	}
}

// unformat removes the format of the backing image.
func unformat(t testing.TB, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[104:112], make([]byte, 8))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
