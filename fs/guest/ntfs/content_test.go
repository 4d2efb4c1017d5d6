package ntfs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/ntfs/wimtest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// noise is n bytes that can't be packed.
func noise(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// mixed is n bytes of text, noise and zeros in turns of some length.
func mixed(rnd *rand.Rand, n, turn int) []byte {
	var out []byte
	for i := 0; len(out) < n; i++ {
		switch k := 1 + rnd.IntN(turn); i % 3 {
		case 0:
			out = append(out, bytes.Repeat([]byte("the quick brown fox "), k/20+1)...)
		case 1:
			out = append(out, noise(rnd, k)...)
		case 2:
			out = append(out, make([]byte, k)...)
		}
	}
	return out[:n]
}

// TestCompressed compares files that ntfs-3g has compressed: units that are
// packed, stored as they are and holes; sizes around their edges; written over,
// grown and cut.
func TestCompressed(t *testing.T) {
	for i, cluster := range []int{512, 1024, 4096} {
		t.Run(fmt.Sprint(cluster), func(t *testing.T) {
			t.Parallel()
			unit := 16 * cluster
			image := mkntfs(t, 64<<20, "-c", fmt.Sprint(cluster))
			rnd := rand.New(rand.NewPCG(uint64(i), 5))
			mounted(t, image, func(dir string) {
				compressed(t, dir)
				for _, n := range []int{0, 1, 300, 4095, 4096, 4097, unit - 1, unit, unit + 1, 2*unit - 1, 3 * unit, 3*unit + 4096} {
					for kind, content := range map[string][]byte{
						"text": bytes.Repeat([]byte("all work and no play "), n/21+1)[:n], "zeros": make([]byte, n), "noise": noise(rnd, n), "mixed": mixed(rnd, n, 3000),
					} {
						must(t, os.WriteFile(fmt.Sprintf("%s/%s%d", dir, kind, n), content, 0o644))
					}
				}
				must(t, os.WriteFile(dir+"/large", mixed(rnd, 3<<20, 200_000), 0o644))
				for name, n := range map[string]int64{"cut": 100_001, "grown": 5 << 20} {
					must(t, os.WriteFile(filepath.Join(dir, name), mixed(rnd, 400_000, 50_000), 0o644))
					must(t, os.Truncate(filepath.Join(dir, name), n))
				}
				f, err := os.OpenFile(dir+"/large", os.O_RDWR, 0)
				must(t, err)
				for range 20 {
					_, err := f.WriteAt(mixed(rnd, 1+rnd.IntN(150_000), 9000), rnd.Int64N(3<<20))
					must(t, err)
				}
				must(t, f.Close())
			}, "compression")
			fs := compare(t, image)
			kinds := map[string]int{}
			must(t, fs.Extents(t.Context(), lookup(t, fs, "large"), 0, func(e guest.Extent) bool {
				kinds[fmt.Sprint(e.Hole, e.Place >= 0)]++
				return true
			}))
			if len(kinds) != 3 {
				t.Errorf("extents of kinds %v: not all of packed, raw and hole", kinds)
			}
		})
	}
}

// TestWOF reads files as Windows compresses them, packed by wimlib, and written
// here stream by stream as ntfs-3g lets one.
func TestWOF(t *testing.T) {
	image := mkntfs(t, 64<<20)
	rnd := rand.New(rand.NewPCG(7, 7))
	contents := [][]byte{mixed(rnd, 700_001, 5000), bytes.Repeat([]byte("wide world "), 3000), mixed(rnd, 32769, 900), mixed(rnd, 4097, 90), mixed(rnd, 32768, 90)}
	want := map[string][]byte{}
	mounted(t, image, func(dir string) {
		for algorithm, c := range []struct {
			name  string
			chunk int
		}{{"xpress", 4096}, {"lzx", 32768}, {"xpress", 8192}, {"xpress", 16384}} {
			for i, p := range wimtest.Pack(t, contents, c.name, c.chunk) {
				name := fmt.Sprintf("%s-%d-%d", c.name, c.chunk, i)
				want[name] = p.Plain
				writeWOF(t, filepath.Join(dir, name), p, uint32(algorithm))
			}
		}
		p := wimtest.Packed{Plain: make([]byte, 5000), Bytes: []byte("not packed")}
		writeWOF(t, dir+"/algorithm 9", p, 9)
	}, "streams_interface=windows")
	fs := guesttest.OpenImage(t, image, open)
	for name, content := range want {
		n := lookup(t, fs, name)
		a, err := fs.Stat(t.Context(), n)
		if err != nil || a.Type != guest.Regular || a.Size != int64(len(content)) || a.Allocated == 0 || a.Allocated >= a.Size+4096 {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
		for range 20 {
			off := rnd.IntN(len(content))
			length := 1 + rnd.IntN(len(content)-off)
			got := make([]byte, length)
			if m, err := fs.ReadAt(t.Context(), n, got, int64(off)); m != length || !bytes.Equal(got, content[off:off+length]) {
				t.Fatalf("%s: %d bytes at %d: %d, %v", name, length, off, m, err)
			}
		}
		if all, err := fs.Xattrs(t.Context(), n); err != nil || all["user.WofCompressedData"] != nil {
			t.Errorf("%s: xattrs %v, %v", name, len(all), err)
		}
		must(t, fs.Extents(t.Context(), n, 0, func(e guest.Extent) bool {
			if e.Hole || e.Place >= 0 || e.Length != a.Size {
				t.Errorf("%s: %+v", name, e)
			}
			return true
		}))
	}
	if len(want) < 16 {
		t.Errorf("only %d files", len(want))
	}
	isUnsupported(t, fs, "algorithm 9", "algorithm 9")
}

// writeWOF makes a file as Windows does: a hole with the content in a stream.
func writeWOF(t testing.TB, path string, p wimtest.Packed, algorithm uint32) {
	t.Helper()
	must(t, os.WriteFile(path, nil, 0o644))
	must(t, os.Truncate(path, int64(len(p.Plain))))
	must(t, os.WriteFile(path+":WofCompressedData", p.Bytes, 0o644))
	setReparse(t, path, wofPoint(algorithm))
}

// wofPoint makes the reparse point of a file that Windows has compressed.
func wofPoint(algorithm uint32) []byte {
	b := le.AppendUint32(nil, tagWOF)
	for _, v := range []uint32{wofLen, 1, wofProviderFile, 1, algorithm} {
		b = le.AppendUint32(b, v)
	}
	return b
}

// isUnsupported reads a file that can't be read, and can be listed all the same.
func isUnsupported(t testing.TB, fs guest.Filesystem, path, reason string) {
	t.Helper()
	n := lookup(t, fs, path)
	if a, err := fs.Stat(t.Context(), n); err != nil || a.Type != guest.Regular || a.Size == 0 {
		t.Errorf("%s: %+v, %v", path, a, err)
	}
	_, err := fs.ReadAt(t.Context(), n, make([]byte, 10), 0)
	wantError(t, path, err, guest.ErrUnsupported, reason)
}

func wantError(t testing.TB, what string, err, want error, says string) {
	t.Helper()
	if err == nil || !isError(err, want) || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v, want %v with %q", what, err, want, says)
	}
}

// TestFragmented fills a volume so that $MFT, a file and a directory's index lie
// in many pieces, with their runs in several records.
func TestFragmented(t *testing.T) {
	image := mkntfs(t, 14<<20, "-c", "512")
	rnd := rand.New(rand.NewPCG(3, 3))
	mounted(t, image, func(dir string) {
		must(t, os.Mkdir(dir+"/fill", 0o755))
		filler, n := noise(rnd, 1000), 0
		for ; ; n++ {
			if os.WriteFile(fmt.Sprintf("%s/fill/%d", dir, n), filler, 0o644) != nil {
				break
			}
		}
		for i := 0; i < n; i += 2 {
			must(t, os.Truncate(fmt.Sprintf("%s/fill/%d", dir, i), 0)) // its record stays, so $MFT must grow
		}
		f, err := os.Create(dir + "/pieces")
		must(t, err)
		_, err = f.Write(noise(rnd, 1_100_000))
		must(t, err)
		must(t, f.Close())
		must(t, os.Mkdir(dir+"/many", 0o755))
		for i := range 1000 {
			if os.WriteFile(fmt.Sprintf("%s/many/%04d-%s", dir, i, strings.Repeat("n", 40)), nil, 0o644) != nil {
				break
			}
		}
		must(t, os.WriteFile(dir+"/linked", []byte("by many names"), 0o644))
		for i := range 300 {
			if os.Link(dir+"/linked", fmt.Sprintf("%s/link-%04d-%s", dir, i, strings.Repeat("l", 200))) != nil {
				break
			}
		}
	})
	fs := compare(t, image).(*FS)
	x, err := fs.file(t.Context(), uint64(lookup(t, fs, "pieces")))
	must(t, err)
	s, err := fs.stream(t.Context(), x, attrData, "")
	must(t, err)
	table, err := fs.file(t.Context(), recordMFT)
	must(t, err)
	t.Logf("$MFT of %d records in %d runs and %d attributes; a file with %d attributes, %d parts of content", fs.records, len(fs.table), len(table.list), len(x.list), len(s.parts))
	if len(fs.table) < 400 || len(table.list) < 4 || len(s.parts) < 2 {
		t.Error("they are not fragmented")
	}
}

// TestLargeDirectory lists and looks up 21,000 names.
func TestLargeDirectory(t *testing.T) {
	const names = 21_000
	image := mkntfs(t, 96<<20)
	mounted(t, image, func(dir string) {
		for i := range names {
			must(t, os.WriteFile(fmt.Sprintf("%s/file-%06d.txt", dir, i*7919%names), nil, 0o644))
		}
	})
	fs := guesttest.OpenImage(t, image, open)
	seen := map[string]guest.Node{}
	cookie := uint64(0)
	for { // in batches, as a mount does
		count := 0
		must(t, fs.ReadDir(t.Context(), fs.Root(), cookie, func(e guest.Entry) bool {
			if seen[e.Name] != 0 {
				t.Fatalf("%q comes twice", e.Name)
			}
			seen[e.Name], cookie = e.Node, e.Cookie
			count++
			return count < 256
		}))
		if count < 256 {
			break
		}
	}
	if len(seen) != names {
		t.Errorf("%d names of %d", len(seen), names)
	}
	for i := 0; i < names; i += 5 {
		name := fmt.Sprintf("file-%06d.txt", i)
		if n, err := fs.Lookup(t.Context(), fs.Root(), name); err != nil || n != seen[name] {
			t.Fatalf("%s: %d, %v; listed as %d", name, n, err, seen[name])
		}
	}
	for _, name := range []string{"FILE-000001.TXT", "file-1", "file-000001.txt ", "zzz", "\x01"} {
		_, err := fs.Lookup(t.Context(), fs.Root(), name)
		wantError(t, name, err, guest.ErrNotExist, "")
	}
}
