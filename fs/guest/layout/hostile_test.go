package layout

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"holdfast/fs/guest"
	"holdfast/fs/guest/ext4"
	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/readers"
	"holdfast/fs/guest/volume"
	"holdfast/fs/guest/volume/mapped"
	"holdfast/fs/guest/xfs"
)

// TestCrashImages writes garbage into what is out of a disk that was copied
// under a workload: the kernel's recovery finds what it finds without.
func TestCrashImages(t *testing.T) {
	for _, c := range []guesttest.Crash{
		{Mkfs: []string{"mkfs.ext4", "-q", "-F"}},
		{Mkfs: []string{"mkfs.ext4", "-q", "-F", "-O", "fast_commit"}},
		{Mkfs: []string{"mkfs.xfs", "-q", "-f"}, Size: 320 << 20},
	} {
		t.Run(fmt.Sprint(c.Mkfs), func(t *testing.T) {
			t.Parallel()
			outBytes := int64(0)
			guesttest.CrashImages(t, c, guesttest.Rounds(t, 2), func(t testing.TB, snapshot, recovered string) {
				v := guesttest.OpenFile(t, snapshot)
				filled := guesttest.Copy(t, snapshot)
				outBytes += fill(t, filled, scanOne(t, v, all).Out(nil, "a", 0, v.Size()))
				var options []string
				if c.Mkfs[0] == "mkfs.xfs" {
					options = []string{"nouuid"} // that of the other is the same
				}
				guesttest.Mounted(t, filled, func(dir string) {
					if want, got := list(t, recovered), list(t, dir); want != got {
						t.Errorf("want\n%s\ngot\n%s", want, got)
					}
				}, options...)
			})
			if outBytes == 0 {
				t.Error("nothing is out of any of them")
			}
		})
	}
}

// list is every file with its sum, as the kernel has them.
func list(t testing.TB, dir string) string {
	return guesttest.Run(t, "sh", "-c", `cd "$1" && find . -printf '%p %y %s %l\n' | sort && find . -type f -print0 | sort -z | xargs -0 -r sha256sum`, "sh", dir)
}

// fill writes garbage into ranges of a file.
func fill(t testing.TB, path string, ranges []guest.Range) (total int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, r := range ranges {
		garbage := make([]byte, r.Length)
		for i := range garbage {
			garbage[i] = 0xa5
		}
		if _, err := f.WriteAt(garbage, r.Offset); err != nil {
			t.Fatal(err)
		}
		total += r.Length
	}
	return total
}

// lacking is a volume as a version without what is out has it.
type lacking struct {
	guest.Volume
	l *Layout
}

func (v lacking) ReadAt(p []byte, off int64) (int, error) {
	n, err := v.Volume.ReadAt(p, off)
	begin := off / coarse * coarse
	for _, r := range v.l.Out(nil, "a", begin, min(off+int64(n), v.Size())) {
		from, to := max(r.Offset, off), min(r.Offset+r.Length, off+int64(n))
		for i := from; i < to; i++ {
			p[i-off] = 0xa5
		}
	}
	return n, err
}

// TestMutants scans images that differ from a sound one in bytes of their
// metadata. A scan never fails, and what a reader finds of the files does not
// change with what is out.
func TestMutants(t *testing.T) {
	for _, c := range []struct {
		mkfs []string
		size int64
		open guesttest.OpenFunc
	}{
		{[]string{"mkfs.ext4", "-q", "-F", "-O", "^metadata_csum"}, 24 << 20, guesttest.Opener(ext4.Open)},
		{[]string{"mkfs.ext2", "-q", "-F", "-b", "1024"}, 24 << 20, guesttest.Opener(ext4.Open)},
		{[]string{"mkfs.xfs", "-q", "-f", "--unsupported"}, 20 << 20, guesttest.Opener(xfs.Open)},
	} {
		t.Run(fmt.Sprint(c.mkfs), func(t *testing.T) {
			image := guesttest.Mkfs(t, c.size, c.mkfs...)
			guesttest.Mounted(t, image, func(dir string) {
				guesttest.PopulateFew(t, dir, 3)
				guesttest.Run(t, "sh", "-c", `cd "$1" && head -c 6M /dev/urandom >gone && sync -f gone && rm gone`, "sh", dir)
			})
			scans := 0
			open := func(ctx context.Context, v guest.Volume) (guest.Filesystem, error) {
				l := scanOne(t, v, all)
				without, err := c.open(ctx, lacking{v, l})
				whole, wholeErr := c.open(ctx, v)
				if (err == nil) != (wholeErr == nil) {
					t.Errorf("whole: %v, without what is out: %v", wholeErr, err)
				}
				if err != nil || wholeErr != nil {
					return nil, wholeErr
				}
				if want, got := contents(whole), contents(without); want != got {
					t.Errorf("files differ: whole\n%s\nwithout what is out\n%s", want, got)
				}
				scans++
				return whole, nil
			}
			guesttest.Mutate(t, image, open, guesttest.Rounds(t, 60), 5)
			if scans < 30 {
				t.Errorf("only %d of them could be opened", scans)
			}
		})
	}
}

// contents sums what a reader finds in each file, errors among it.
func contents(fs guest.Filesystem) string {
	ctx := context.Background()
	h := sha256.New()
	nodes := map[guest.Node]bool{}
	b := make([]byte, 256<<10)
	err := fs.Files(ctx, func(n guest.Node, size int64, e guest.Extent) bool {
		if !nodes[n] && len(nodes) < 400 {
			nodes[n] = true
			got, err := fs.ReadAt(ctx, n, b, 0)
			if errors.Is(err, io.EOF) {
				err = nil
			}
			fmt.Fprintln(h, n, size, got, err == nil)
			h.Write(b[:got])
		}
		return true
	})
	return fmt.Sprintf("%x %d %v", h.Sum(nil), len(nodes), err == nil)
}

// shared is a volume of which a half has a snapshot.
type shared struct{ on *mapped.Device }

func (m shared) Piece(off, limit int64) (mapped.Piece, error) {
	half := m.on.Size() / 2
	p := mapped.Piece{Length: limit, Places: []mapped.Place{{On: m.on, Off: off}}}
	if off < half {
		p.Length, p.Shared = min(limit, half-off), true
	}
	return p, nil
}

// TestSnapshots: what a snapshot may read is not out, whatever its origin says.
func TestSnapshots(t *testing.T) {
	v := guesttest.OpenFile(t, disk(t, images[0].mkfs, 0))
	plain := scanOne(t, v, all)
	dev := mapped.Disk("a", v)
	thin, err := mapped.New(v.Size(), shared{dev}, 1, dev)
	if err != nil {
		t.Fatal(err)
	}
	l := &Layout{names: []string{"a"}, pages: newPages(1<<20, "")}
	s := &scan{Layout: l, options: all, meter: new(meter)}
	s.options.Patience, s.options.grace = 1<<40, 1<<40
	s.until = time.Now().Add(1 << 40)
	vol := &volume.Volume{Description: volume.Description{Name: "vg0-thin", Type: "ext4", State: volume.OK, Disks: []string{"a"}}, Device: thin}
	if !readers.Knows(vol.Type) {
		t.Fatal("no reader")
	}
	s.refineFor(t.Context(), []*volume.Volume{vol})
	if err := s.look(t.Context(), vol); err != nil {
		t.Fatal(err)
	}
	half := v.Size() / 2
	if out := l.Out(nil, "a", 0, half); len(out) > 0 {
		t.Errorf("%d ranges of a snapshot are out", len(out))
	}
	if got, want := fmt.Sprint(l.Out(nil, "a", half, v.Size())), fmt.Sprint(plain.Out(nil, "a", half, v.Size())); got != want {
		t.Errorf("out of the rest: %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(l.Cuts(nil, "a", 0, v.Size())), fmt.Sprint(plain.Cuts(nil, "a", 0, v.Size())); got != want {
		t.Errorf("the cuts depend on the snapshot")
	}
}

// TestPageFiles: the content of Windows' page files is out if it lies in the
// volume byte for byte, and files of other names are not.
func TestPageFiles(t *testing.T) {
	image := guesttest.Mkfs(t, 32<<20, "mkntfs", "-q", "-F", "-f")
	data := t.TempDir() + "/data"
	guesttest.Run(t, "sh", "-c", `head -c 3000000 /dev/urandom >"$1"`, "sh", data)
	for _, name := range []string{"pagefile.sys", "swapfile.sys", "other.sys"} {
		guesttest.Run(t, "ntfscp", "-q", "-f", image, data, name)
	}
	v := guesttest.OpenFile(t, image)
	count := func(o Options) (n int64) {
		l := scanOne(t, v, o)
		for _, r := range l.Out(nil, "a", 0, v.Size()) {
			n += r.Length
		}
		t.Log(l.Notices("a"))
		return n
	}
	free, both, none := count(Options{Free: true}), count(Options{Free: true, Swap: true}), count(Options{Cuts: true})
	const two = 2 * 3000000 / coarse * coarse
	if none != 0 || free < 8<<20 || both-free < two-2*coarse || both-free > two {
		t.Errorf("%d bytes are out for nothing, %d for free space, %d with page files", none, free, both)
	}
}
