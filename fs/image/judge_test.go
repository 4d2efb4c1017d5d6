package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30
	tib = int64(1) << 40
)

// qemuDriver is what qemu calls the format.
func qemuDriver(f Format) string {
	if f == VHD {
		return "vpc"
	}
	return string(f)
}

// qemu runs a qemu tool and returns what it printed.
func qemu(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// scratch is a directory whose files may be 64 TiB long and sparse: ext4 ends
// at 16 TiB.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "holdfast-image-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// materialise writes the image to a sparse file, run by run as Extent tells,
// and returns its path.
func materialise(t testing.TB, img Image, d Disk, path string) string {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(img.Size()); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	buf := make([]byte, mib)
	for off := int64(0); off < img.Size(); {
		length, data, err := Extent(ctx, img, d, off)
		if err != nil {
			t.Fatalf("extent at %d: %v", off, err)
		}
		if data {
			length = min(length, int64(len(buf)))
			if _, err := ReadAt(ctx, img, d, buf[:length], off); err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteAt(buf[:length], off); err != nil {
				t.Fatal(err)
			}
		}
		off += length
	}
	return path
}

// guestFile writes the disk as qemu is to see it: whole sectors.
func guestFile(t testing.TB, d *sparseDisk, path string) string {
	t.Helper()
	materialise(t, makeImage(t, Raw, d), d, path)
	if err := os.Truncate(path, roundUp(d.size, sectorSize)); err != nil {
		t.Fatal(err)
	}
	return path
}

// qemuSize is the virtual size that qemu sees.
func qemuSize(t testing.TB, f Format, path string) int64 {
	t.Helper()
	var info struct {
		Size int64 `json:"virtual-size"`
	}
	out := qemu(t, "qemu-img", "info", "--output=json", "-f", qemuDriver(f), path)
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return info.Size
}

// qemuCheck runs qemu-img check. vpc has no check (exit status 63).
func qemuCheck(t testing.TB, f Format, path string) {
	t.Helper()
	out, err := exec.Command("qemu-img", "check", "-f", qemuDriver(f), path).CombinedOutput()
	var exit *exec.ExitError
	if f == VHD && errors.As(err, &exit) && exit.ExitCode() == 63 {
		return
	}
	if err != nil {
		t.Fatalf("qemu-img check %s: %v\n%s", path, err, out)
	}
}

// qemuSpots compares what qemu reads around each stored run, and at the
// disk's ends, with the disk: for disks too large to compare whole.
func qemuSpots(t testing.TB, f Format, path string, d *sparseDisk) {
	t.Helper()
	for _, at := range spots(d) {
		piece := filepath.Join(filepath.Dir(path), "piece")
		// qemu-img dd counts what it skips as well.
		qemu(t, "qemu-img", "dd", "-f", qemuDriver(f), "-O", "raw", "bs=64k",
			fmt.Sprintf("skip=%d", at/(64*kib)), fmt.Sprintf("count=%d", at/(64*kib)+1), "if="+path, "of="+piece)
		got, err := os.ReadFile(piece)
		if err != nil {
			t.Fatal(err)
		}
		sameAs(t, d, got, at/(64*kib)*(64*kib))
	}
}

// spots is where to look at a large disk. At each look qemu loads the whole
// table of a VHDX, 256 MiB for 64 TiB, so the largest get fewer.
func spots(d *sparseDisk) []int64 {
	at, runs := []int64{0, d.size - 1}, 4
	if d.size > 4*tib {
		runs = 1
	}
	for _, r := range d.stored[:min(len(d.stored), runs)] {
		at = append(at, r.start, r.end-1)
	}
	return at
}

// sameAs compares bytes of a virtual disk at off with the disk's own.
func sameAs(t testing.TB, d *sparseDisk, got []byte, off int64) {
	t.Helper()
	want := make([]byte, len(got))
	inside := max(min(d.size-off, int64(len(got))), 0)
	if err := d.ReadAtContext(context.Background(), want[:inside], off); err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 {
		t.Fatalf("nothing read at %d", off)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("byte %d of the disk is %#x, want %#x", off+int64(i), got[i], want[i])
		}
	}
}

type judged struct {
	size  int64
	fills []fill
}

// judgedDisks is the sizes that the judges see, with how they are filled.
func judgedDisks() []judged {
	small := []fill{empty, full, random, last}
	large := []fill{random, last}
	return []judged{
		{1, []fill{full}},
		{512, small},
		{512 * 3, small},
		{64*kib - 512, []fill{full}},
		{64 * kib, []fill{full, last}},
		{64*kib + 512, small},
		{2*mib - 512, []fill{full}},
		{2*mib + 512, []fill{full, last}},
		{4*mib + 512, small},
		{512*mib - 512, large},
		{512*mib + 512, large},
		{5*gib + 12345, large},
		{tib, large},
		{2040 * gib, large},
		{64 * tib, large},
	}
}

// seeds is how many random disks of each size are judged: more of them when
// HOLDFAST_LONG is set (about two minutes).
func seeds() int {
	if os.Getenv("HOLDFAST_LONG") != "" {
		return 12
	}
	return 1
}

// TestQemu lets qemu judge every format: check, virtual size, contents.
func TestQemu(t *testing.T) {
	for _, j := range judgedDisks() {
		for _, how := range j.fills {
			for seed := range seeds() {
				if seed > 0 && how != random {
					break
				}
				t.Run(fmt.Sprintf("%d-%s-%d", j.size, how, seed), func(t *testing.T) {
					judge(t, newDisk(j.size, how, uint64(seed+1)))
				})
			}
		}
	}
}

func judge(t *testing.T, d *sparseDisk) {
	dir := scratch(t)
	raw := guestFile(t, d, filepath.Join(dir, "disk.raw"))
	for _, f := range Formats()[1:] {
		img, err := New(f, d, testID)
		if errors.Is(err, ErrTooLarge) && f == VHD && d.size > maxVHD {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		path := materialise(t, img, d, filepath.Join(dir, "disk"+f.Ext()))
		if got, want := qemuSize(t, f, path), roundUp(d.size, sectorSize); got != want {
			t.Errorf("%s: qemu sees %d bytes, want %d", f, got, want)
		}
		if f != VMDK || d.size <= 5*gib { // looks at each grain, stored or not
			qemuCheck(t, f, path)
		}
		if f == Qcow2 || d.size <= gib {
			qemu(t, "qemu-img", "compare", "-f", qemuDriver(f), "-F", "raw", path, raw)
		} else {
			qemuSpots(t, f, path, d)
		}
		os.Remove(path)
	}
}

var mediaSize = regexp.MustCompile(`Media size\s*:.*?(\d+)(?: bytes|\))`)

// TestVhdi lets libvhdi judge VHD and VHDX: size and contents.
func TestVhdi(t *testing.T) {
	for _, f := range []Format{VHD, VHDX} {
		for _, d := range []*sparseDisk{
			newDisk(512*3, full, 1), newDisk(2*mib+512, full, 2), newDisk(4*mib+512, random, 3),
			newDisk(512*mib+512, random, 4), newDisk(5*gib+12345, random, 5), newDisk(2040*gib, random, 6), newDisk(64*tib, random, 7),
		} {
			if !Supports(f, d.size, d.Count(Grain)) {
				continue
			}
			t.Run(fmt.Sprintf("%s-%d", f, d.size), func(t *testing.T) { judgeVhdi(t, f, d) })
		}
	}
}

func judgeVhdi(t *testing.T, f Format, d *sparseDisk) {
	dir := scratch(t)
	path := materialise(t, makeImage(t, f, d), d, filepath.Join(dir, "disk"+f.Ext()))
	want := roundUp(d.size, sectorSize)
	out := qemu(t, "vhdiinfo", path)
	m := mediaSize.FindStringSubmatch(out)
	if m == nil || m[1] != strconv.FormatInt(want, 10) {
		t.Fatalf("vhdiinfo says %q, want %d bytes:\n%s", m, want, out)
	}
	mnt := filepath.Join(dir, "mnt")
	if err := os.Mkdir(mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	qemu(t, "vhdimount", path, mnt)
	defer qemu(t, "fusermount3", "-u", mnt)
	disk, err := os.Open(filepath.Join(mnt, "vhdi1"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if fi, err := disk.Stat(); err != nil || fi.Size() != want {
		t.Fatalf("vhdimount shows %v bytes (%v), want %d", fi.Size(), err, want)
	}
	buf := make([]byte, 64*kib)
	for _, at := range spots(d) {
		n, err := disk.ReadAt(buf, at/512*512)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		sameAs(t, d, buf[:n], at/512*512)
	}
}
