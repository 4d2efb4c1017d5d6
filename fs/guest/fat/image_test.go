package fat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

var open = guesttest.Opener(Open)

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

// source makes the tree that goes into an image.
func source(t testing.TB, many int) string {
	t.Helper()
	dir := t.TempDir()
	rnd := rand.NewChaCha8([32]byte{1})
	put := func(path string, size int) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		rnd.Read(b)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Date(1981+size%100, time.Month(1+size%12), 1+size%28, size%24, size%60, size%60, 0, time.UTC)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"SHORT.TXT", "lower.txt", "Mixed Case.text", "no extension", "a.b.c.d", "émile.txt", "日本語.txt",
		"thirteen char", "twenty-six characters here", strings.Repeat("n", 200) + ".long", "UPPER.low", "lower.UPP", "~tilde~1.txt", "sp ace.tx t", "+,;=[].txt"} {
		put("odd/"+name, 100+i)
	}
	for _, size := range []int{0, 1, 511, 512, 513, 1023, 1024, 2048, 4095, 4096, 4097, 65535, 65536, 65537, 300_000} {
		put(fmt.Sprint("sizes/s", size), size)
	}
	for i := range many {
		put(fmt.Sprintf("many/a file with number %d", i), i%3)
	}
	put("deep/1/2/3/4/5/6/7/8/9/leaf", 10)
	if err := os.Mkdir(dir+"/empty", 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
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
			dir := source(t, kind.many)
			fill(t, image, dir)
			fs := guesttest.OpenImage(t, image, open)
			if st := fs.State(); st.Type != kind.name || st.Label != "LABEL TWO" || st.UUID != "1234-ABCD" || st.Reason != "" || st.Size > kind.size {
				t.Errorf("state %+v", st)
			}
			compare(t, fs, dir)
			compareFree(t, fs, image)
			if err := guesttest.Walk(t.Context(), fs); err != nil {
				t.Error(err)
			}
		})
	}
}

// compare holds the reader's tree against a directory.
func compare(t testing.TB, fs guest.Filesystem, dir string) {
	t.Helper()
	seen := map[string]guest.Node{}
	var walk func(path string, n guest.Node)
	walk = func(path string, n guest.Node) {
		err := fs.ReadDir(t.Context(), n, 0, func(e guest.Entry) bool {
			seen[path+e.Name] = e.Node
			if m, err := fs.Lookup(t.Context(), n, e.Name); err != nil || m != e.Node {
				t.Errorf("lookup of %s%s: %d, %v", path, e.Name, m, err)
			}
			if e.Type == guest.Directory {
				walk(path+e.Name+"/", e.Node)
			}
			return true
		})
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	walk("", fs.Root())
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel := path[len(dir)+1:]
		n, ok := seen[rel]
		delete(seen, rel)
		if !ok {
			t.Errorf("%s: missing", rel)
			return nil
		}
		compareFile(t, fs, n, path, info)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range seen {
		t.Errorf("%s: not in the tree", name)
	}
}

func compareFile(t testing.TB, fs guest.Filesystem, n guest.Node, path string, info os.FileInfo) {
	t.Helper()
	a, err := fs.Stat(t.Context(), n)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	if info.IsDir() {
		if a.Type != guest.Directory || a.Perm != 0o755 || a.Size == 0 {
			t.Errorf("%s: %+v", path, a)
		}
		return
	}
	perm := uint16(0o755)
	if info.Name() == "s512" {
		perm = 0o555
	}
	if want := info.ModTime().UTC().Truncate(2 * time.Second); !a.Mtime.Equal(want) {
		t.Errorf("%s: time %v, want %v", path, a.Mtime, want)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if a.Type != guest.Regular || a.Size != int64(len(want)) || a.Perm != perm || a.Links != 1 {
		t.Errorf("%s: %+v", path, a)
	}
	got := make([]byte, len(want)+3)
	m, err := fs.ReadAt(t.Context(), n, got, 0)
	if !errors.Is(err, io.EOF) || !bytes.Equal(got[:m], want) {
		t.Errorf("%s: %d bytes of %d, %v", path, m, len(want), err)
	}
	rnd := rand.New(rand.NewPCG(uint64(n), 1))
	for range 5 {
		if len(want) == 0 {
			break
		}
		off := rnd.IntN(len(want))
		p := make([]byte, 1+rnd.IntN(len(want)-off))
		if _, err := fs.ReadAt(t.Context(), n, p, int64(off)); err != nil || !bytes.Equal(p, want[off:off+len(p)]) {
			t.Errorf("%s: %d bytes at %d: %v", path, len(p), off, err)
		}
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
	fill(t, image, source(t, 70))
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
	dir := source(t, 70)
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
		compare(t, fs, dir)
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
