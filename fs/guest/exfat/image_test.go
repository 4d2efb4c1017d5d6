package exfat

import (
	"bytes"
	"context"
	"errors"
	"os"
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

// openLax opens a volume whose checksums are all taken as right.
var openLax = guesttest.Opener(func(ctx context.Context, v guest.Volume) (*FS, error) {
	return openFS(ctx, &FS{volume: v, lax: true})
})

// image makes an image with a tree in it, and gives that tree.
func image(t testing.TB, size int64, many int, options ...string) (path, dir string) {
	t.Helper()
	path = guesttest.Mkfs(t, size, append([]string{"mkfs.exfat", "-L", "Labél"}, options...)...)
	dir = fattest.Source(t, many)
	for _, name := range []string{"emoji-😀.bin", "Ünïcödé"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fattest.Mounted(t, path, func(mnt string) {
		guesttest.Run(t, "cp", "-r", "--preserve=timestamps", dir+"/.", mnt)
		// Pieces of two files in turns, so that neither lies in one run.
		for i := range 30 {
			for _, name := range []string{"/turns1", "/turns2"} {
				for _, to := range []string{dir, mnt} {
					f, err := os.OpenFile(to+name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
					if err == nil {
						_, err = f.Write(bytes.Repeat([]byte{byte(i), name[6]}, 3000))
						err = errors.Join(err, f.Close())
					}
					if err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		for _, name := range []string{"/turns1", "/turns2"} {
			at := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
			if err := errors.Join(os.Chtimes(dir+name, at, at), os.Chtimes(mnt+name, at, at)); err != nil {
				t.Fatal(err)
			}
		}
	})
	return path, dir
}

// TestImages compares filesystems with the tree that exfat-fuse wrote into them.
func TestImages(t *testing.T) {
	for _, options := range [][]string{{}, {"-c", "512"}, {"-c", "128K"}} {
		path, dir := image(t, 48<<20, 100, options...)
		fs := guesttest.OpenImage(t, path, open)
		if st := fs.State(); st.Type != "exfat" || st.Label != "Labél" || st.Reason != "" || st.Size != 48<<20 || st.Used < 500_000 {
			t.Errorf("%q: state %+v", options, st)
		}
		fattest.Compare(t, fs, dir, fattest.Options{Times: time.Second})
		compareFree(t, fs, path)
		if err := guesttest.Walk(t.Context(), fs); err != nil {
			t.Error(err)
		}
	}
}

// compareFree holds free space against dump.exfat's count, and the files.
func compareFree(t testing.TB, fs guest.Filesystem, path string) {
	t.Helper()
	out := guesttest.Run(t, "dump.exfat", path)
	m := regexp.MustCompile(`(?i)free clusters:\s*(\d+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatal(out)
	}
	want, _ := strconv.ParseInt(m[1], 10, 64)
	var free []guest.Range
	total := int64(0)
	if err := fs.Free(t.Context(), func(r guest.Range) bool { free, total = append(free, r), total+r.Length; return true }); err != nil {
		t.Fatal(err)
	}
	if cluster := fs.(*FS).g.cluster; total != want*cluster {
		t.Errorf("%d clusters free, dump.exfat says %d", total/cluster, want)
	}
	runs := 0
	if err := fs.Files(t.Context(), func(n guest.Node, _ int64, e guest.Extent) bool {
		runs++
		for _, r := range free {
			if e.Place < r.Offset+r.Length && r.Offset < e.Place+e.Length {
				t.Errorf("node %d: %+v is free: %+v", n, e, r)
			}
		}
		return !t.Failed()
	}); err != nil || runs < 40 {
		t.Errorf("%d runs, %v", runs, err)
	}
}

// TestMutants changes what the reader reads, with and without checksums.
func TestMutants(t *testing.T) {
	path, _ := image(t, 8<<20, 60, "-c", "512")
	t.Run("checked", func(t *testing.T) { guesttest.Mutate(t, path, open, guesttest.Rounds(t, 600), 1) })
	t.Run("lax", func(t *testing.T) { guesttest.Mutate(t, path, openLax, guesttest.Rounds(t, 1500), 2) })
}

func TestTruncated(t *testing.T) {
	path, _ := image(t, 8<<20, 60)
	guesttest.Truncate(t, path, open, 30)
}

func FuzzReader(f *testing.F) {
	path, _ := image(f, 8<<20, 60, "-c", "512")
	guesttest.Fuzz(f, path, openLax)
}

// TestStates opens what is damaged in part, or dirty.
func TestStates(t *testing.T) {
	path, dir := image(t, 8<<20, 60)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at     int
		b      byte
		err    error
		reason string
	}{
		{106, 2, nil, "it was not unmounted"},
		{96, 99, nil, "the boot region is damaged, its backup is used"},
		{3, 'X', nil, "the boot region is damaged, its backup is used"},
	} {
		changed := bytes.Clone(content)
		changed[c.at] = c.b
		copied := filepath.Join(t.TempDir(), "changed")
		if err := os.WriteFile(copied, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		fs, err := Open(t.Context(), guesttest.OpenFile(t, copied))
		if !errors.Is(err, c.err) {
			t.Errorf("%x at %d: %v", c.b, c.at, err)
			continue
		}
		if st := fs.State(); st.Reason != c.reason {
			t.Errorf("%x at %d: %+v", c.b, c.at, st)
		}
		err = fs.Free(t.Context(), func(guest.Range) bool { return true })
		if sure := !fs.g.dirty; sure != (err == nil) || !sure && !errors.Is(err, guest.ErrUnsupported) {
			t.Errorf("%x at %d: free: %v", c.b, c.at, err)
		}
		fattest.Compare(t, fs, dir, fattest.Options{Times: time.Second})
	}
}

// TestValidLength reads zeros behind what is valid.
func TestValidLength(t *testing.T) {
	path, _ := image(t, 8<<20, 60)
	fs := guesttest.OpenImage(t, path, open).(*FS)
	n, err := fs.Lookup(t.Context(), rootNode, "turns1")
	if err != nil {
		t.Fatal(err)
	}
	x, err := fs.file(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	for _, valid := range []int64{0, 1, 4095, 4096, 10_001, x.size} {
		s, end := x.stream, int64(0)
		s.valid = valid
		for _, from := range []int64{0, valid / 2, valid, (valid + x.size) / 2} {
			first := true
			err := fs.eachExtent(t.Context(), s, from, func(e guest.Extent) bool {
				if first && e.Offset > from || e.Hole != (e.Offset >= valid) || e.Length < 1 {
					t.Errorf("%d valid, from %d: %+v", valid, from, e)
				}
				first, end = false, e.Offset+e.Length
				return true
			})
			if err != nil || end != x.size {
				t.Errorf("%d valid: end at %d, %v", valid, end, err)
			}
		}
	}
}

// TestTimes reads times with zones.
func TestTimes(t *testing.T) {
	b := le.AppendUint32(nil, 40<<25|7<<21|9<<16|13<<11|30<<5|11)
	for zone, want := range map[byte]string{
		0x00: "2020-07-09T13:30:23.5Z", 0x80: "2020-07-09T13:30:23.5Z", 0x88: "2020-07-09T11:30:23.5Z", 0xf0: "2020-07-09T17:30:23.5Z",
	} {
		if got := parseTime(b, 150, zone).Format(time.RFC3339Nano); got != want {
			t.Errorf("zone %#x: %s, want %s", zone, got, want)
		}
	}
}

// TestConcurrent walks one volume many times at once, with a context that ends
// among them.
func TestConcurrent(t *testing.T) {
	path, _ := image(t, 8<<20, 60)
	fs := guesttest.OpenImage(t, path, open)
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
