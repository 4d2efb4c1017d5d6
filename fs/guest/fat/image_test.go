package fat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"holdfast/fs/guest"
	"holdfast/fs/guest/fat/fattest"
	"holdfast/fs/guest/guesttest"
)

var open = guesttest.Opener(Open)

var keeps = fattest.Options{Times: 2 * time.Second, ReadOnly: "s512"}

// kinds are the ways to make a filesystem that the tests cover.
var kinds = []struct {
	name string
	size int64
	mkfs []string
	many int // files in the large directory
}{
	{"fat12", 4 << 20, []string{"mkfs.vfat", "-F", "12", "-n", "LABEL TWO", "-i", "1234abcd"}, 60},
	{"fat16", 32 << 20, []string{"mkfs.vfat", "-F", "16", "-n", "LABEL TWO", "-i", "1234abcd", "-s", "2"}, 200},
	{"fat32", 80 << 20, []string{"mkfs.vfat", "-F", "32", "-n", "LABEL TWO", "-i", "1234abcd", "-s", "1"}, 200},
	{"fat32", 160 << 20, []string{"mkfs.vfat", "-F", "32", "-n", "LABEL TWO", "-i", "1234abcd", "-s", "4", "-f", "1"}, 100},
}

// mtools runs a tool of mtools on an image.
func mtools(t testing.TB, image, tool string, args ...string) string {
	t.Helper()
	cmd := exec.Command(tool, append([]string{"-i", image}, args...)...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1", "LC_ALL=C.UTF-8", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

// fill copies the tree into an image, and makes a fragmented file.
func fill(t testing.TB, image, dir string) {
	t.Helper()
	names, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	mtools(t, image, "mcopy", append([]string{"-s", "-m", "-Q"}, append(names, "::")...)...)
	for i := 0; i < 10; i += 2 {
		mtools(t, image, "mdel", fmt.Sprintf("::many/a file with number %d", 50+i))
		if err := os.Remove(fmt.Sprintf("%s/many/a file with number %d", dir, 50+i)); err != nil {
			t.Fatal(err)
		}
	}
	fragmented := filepath.Join(dir, "fragmented")
	if err := os.WriteFile(fragmented, bytes.Repeat([]byte("0123456789abcdef"), 6000), 0o644); err != nil {
		t.Fatal(err)
	}
	mtools(t, image, "mcopy", "-m", fragmented, "::")
	mtools(t, image, "mattrib", "+r", "::sizes/s512")
}

// TestImages compares filesystems of every kind with the tree that mtools wrote
// into them, and their free space with fsck's count.
func TestImages(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			image := guesttest.Mkfs(t, kind.size, kind.mkfs...)
			dir := fattest.Source(t, kind.many)
			fill(t, image, dir)
			fs := guesttest.OpenImage(t, image, open)
			if st := fs.State(); st.Type != kind.name || st.Label != "LABEL TWO" || st.UUID != "1234-ABCD" || st.Reason != "" || st.Size > kind.size {
				t.Errorf("state %+v", st)
			}
			fattest.Compare(t, fs, dir, keeps)
			compareFree(t, fs, image)
			if err := guesttest.Walk(t.Context(), fs); err != nil {
				t.Error(err)
			}
		})
	}
}

// compareFree holds free space against fsck's count, and against the files.
func compareFree(t testing.TB, fs guest.Filesystem, image string) {
	t.Helper()
	out := guesttest.Run(t, "fsck.vfat", "-n", image)
	m := regexp.MustCompile(`(\d+)/(\d+) clusters`).FindStringSubmatch(out)
	if m == nil {
		t.Fatal(out)
	}
	used, _ := strconv.ParseInt(m[1], 10, 64)
	all, _ := strconv.ParseInt(m[2], 10, 64)
	free := map[int64]bool{}
	cluster := fs.(*FS).g.cluster
	if err := fs.Free(t.Context(), func(r guest.Range) bool {
		for at := r.Offset; at < r.Offset+r.Length; at += cluster {
			free[at] = true
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if int64(len(free)) != all-used {
		t.Errorf("%d clusters free, fsck says %d", len(free), all-used)
	}
	content := 0
	err := fs.Files(t.Context(), func(n guest.Node, _ int64, e guest.Extent) bool {
		content++
		for at := e.Place; at < e.Place+e.Length; at += cluster {
			if free[at] {
				t.Errorf("node %d: %+v is free", n, e)
			}
		}
		return true
	})
	if err != nil || content < 20 {
		t.Errorf("%d runs, %v", content, err)
	}
}

// smallImage makes an image that is quick to walk.
func smallImage(t testing.TB, bits string, size int64) string {
	t.Helper()
	image := guesttest.Mkfs(t, size, "mkfs.vfat", "-F", bits, "-s", "1")
	fill(t, image, fattest.Source(t, 70))
	return image
}

// TestMutants changes what the reader reads.
func TestMutants(t *testing.T) {
	for i, kind := range []struct {
		bits string
		size int64
	}{{"12", 1 << 20}, {"16", 8 << 20}, {"32", 40 << 20}} {
		t.Run(kind.bits, func(t *testing.T) {
			guesttest.Mutate(t, smallImage(t, kind.bits, kind.size), open, guesttest.Rounds(t, 700), uint64(i))
		})
	}
}

func TestTruncated(t *testing.T) { guesttest.Truncate(t, smallImage(t, "12", 1<<20), open, 50) }

func FuzzReader(f *testing.F) { guesttest.Fuzz(f, smallImage(f, "16", 8<<20), open) }

// patched is a copy of an image with bytes put in.
func patched(t testing.TB, image string, at int64, b ...byte) guest.Volume {
	t.Helper()
	path := guesttest.Copy(t, image)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt(b, at)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return guesttest.OpenFile(t, path)
}

// TestStates opens what is damaged in part, or dirty.
func TestStates(t *testing.T) {
	image := guesttest.Mkfs(t, 40<<20, "mkfs.vfat", "-F", "32", "-s", "1")
	dir := fattest.Source(t, 70)
	fill(t, image, dir)
	g := guesttest.OpenImage(t, image, open).(*FS).g
	for _, c := range []struct {
		at     int64
		b      []byte
		err    error
		reason string
	}{
		{65, []byte{1}, nil, "it was not unmounted"},
		{g.tableAt + 7, []byte{0x07}, nil, "it was not unmounted"},
		{g.tableAt, make([]byte, 512), nil, "the first FAT is damaged, the second one is used"},
		{42, []byte{1}, guest.ErrUnsupported, ""},
		{40, []byte{0x85}, guest.ErrCorrupt, ""},
		{44, []byte{0}, guest.ErrCorrupt, ""},
		{510, []byte{0}, guest.ErrNotMine, ""},
		{13, []byte{3}, guest.ErrNotMine, ""},
	} {
		fs, err := Open(t.Context(), patched(t, image, c.at, c.b...))
		if !errors.Is(err, c.err) {
			t.Errorf("%x at %d: %v", c.b, c.at, err)
		}
		if err != nil {
			continue
		}
		if st := fs.State(); st.Reason != c.reason {
			t.Errorf("%x at %d: %+v", c.b, c.at, st)
		}
		err = fs.Free(t.Context(), func(guest.Range) bool { return true })
		if sure := c.reason == ""; sure != (err == nil) || !sure && !errors.Is(err, guest.ErrUnsupported) {
			t.Errorf("%x at %d: free: %v", c.b, c.at, err)
		}
		fattest.Compare(t, fs, dir, keeps)
	}
}

// TestConcurrent walks one volume many times at once, with a context that ends
// among them.
func TestConcurrent(t *testing.T) {
	fs := guesttest.OpenImage(t, smallImage(t, "16", 8<<20), open)
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%3 == 2 {
				time.AfterFunc(time.Millisecond, cancel)
			}
			if err := guesttest.Walk(ctx, fs); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// TestNames decodes what mtools does not write.
func TestNames(t *testing.T) {
	raw := make([]byte, entryLen)
	copy(raw, "\x05A\x81     TXT")
	raw[12] = caseExt
	e := parseEntry(raw, 16)
	if got := e.shortName(); got != "σAü.txt" {
		t.Errorf("%q", got)
	}
	long := make([]byte, entryLen)
	long[0], long[11], long[13] = 1|lastLong, attrLong, e.sum()
	for i, at := range []int{1, 3, 5} {
		le.PutUint16(long[at:], []uint16{0xd83d, 0xde00, 0}[i])
	}
	var l longName
	l.add(long)
	if got := l.name(&e); got != "😀" {
		t.Errorf("%q", got)
	}
	raw[0] = 'B' // another short name
	e = parseEntry(raw, 16)
	if got := l.name(&e); got != "" {
		t.Errorf("%q for another file", got)
	}
	if at := parseTime(0, 0, 150); !at.Equal(time.Date(1980, 1, 1, 0, 0, 1, 500e6, time.UTC)) {
		t.Errorf("%v", at)
	}
}
