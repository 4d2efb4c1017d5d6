package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
	"holdfast/fs/image"
)

// changes overwrites ranges of b: at odd places, at both ends, in holes and over
// many windows. It returns them.
func changes(r *rand.Rand, b []byte) []Range {
	taken := make([]bool, len(b))
	var list []Range
	at := func(off, n int) {
		n = min(n, len(b)-off)
		if n <= 0 || bytes.Contains(boolBytes(taken[off:off+n]), []byte{1}) {
			return
		}
		for i := off; i < off+n; i++ {
			taken[i] = true
			b[i] += byte(1 + r.IntN(255))
		}
		list = append(list, Range{int64(off), int64(n)})
	}
	at(0, 1+r.IntN(700))
	last := 1 + r.IntN(700)
	at(max(0, len(b)-last), last)
	for range 12 {
		at(r.IntN(len(b)), 1+r.IntN([]int{1, 512, 70_000, 9 << 20}[r.IntN(4)]))
		at(r.IntN(len(b))&^4095, 4096*(1+r.IntN(16)))
	}
	return list
}

func boolBytes(in []bool) []byte {
	out := make([]byte, len(in))
	for i, b := range in {
		if b {
			out[i] = 1
		}
	}
	return out
}

// listed writes ranges as lines, in any order, and reads them as a list.
func listed(t *testing.T, r *rand.Rand, ranges []Range, size int) Changed {
	t.Helper()
	var text strings.Builder
	for _, i := range r.Perm(len(ranges)) {
		fmt.Fprintln(&text, ranges[i].Off, ranges[i].Len)
	}
	c, err := ParseChanged(strings.NewReader(text.String()), int64(size))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestChanged restores what a list names, and finds all that was changed as the
// version has it, and all that it does not name as it was.
func TestChanged(t *testing.T) {
	for i, size := range []int{1, 511, 4096, windowBytes + 1, 21<<20 + 12345} {
		s, r := newStore(t), rand.New(rand.NewPCG(uint64(i), 9))
		b := diskBytes(uint64(size), size)
		d := s.put(t, b)
		for round := range 3 {
			out := filepath.Join(t.TempDir(), "disk")
			now := bytes.Clone(b)
			list := changes(r, now)
			c := listed(t, r, list, size)
			want := bytes.Clone(b)
			if round > 0 { // what is changed and not named stays, byte for byte
				for range 30 {
					if at := int64(r.IntN(size)); !within(c, at) {
						now[at] ^= 0xff
						want[at] = now[at]
					}
				}
			}
			if err := os.WriteFile(out, now, 0o600); err != nil {
				t.Fatal(err)
			}
			p := new(Progress)
			res := mustRun(t, s, Options{Disk: d, Out: out, Overwrite: true, Changed: c, Progress: p})
			sameFile(t, out, want)
			if p.Total.Load() != c.Bytes() || p.Done.Load() != c.Bytes() || res.Trusted != int64(size)-c.Bytes() {
				t.Errorf("told %d of %d, %d trusted; the list names %d of %d", p.Done.Load(), p.Total.Load(), res.Trusted, c.Bytes(), size)
			}
		}
	}
}

func within(c Changed, at int64) bool {
	for _, r := range c {
		if at >= r.Off && at < r.end() {
			return true
		}
	}
	return false
}

// TestChangedSuperset: what is named and right is not written, and nothing is
// fetched for what is not named.
func TestChangedSuperset(t *testing.T) {
	s := newStore(t)
	b := diskBytes(31, 24<<20)
	d := s.put(t, b)
	out := filepath.Join(t.TempDir(), "disk")
	now := bytes.Clone(b)
	now[13<<20+5] ^= 1
	for name, c := range map[string]Changed{"all": {{0, 24 << 20}}, "more": {{13 << 20, 1 << 20}, {20 << 20, 1}}} {
		if err := os.WriteFile(out, now, 0o600); err != nil {
			t.Fatal(err)
		}
		before := s.gets.Load()
		res := mustRun(t, s, Options{Disk: d, Out: out, Overwrite: true, Changed: c})
		sameFile(t, out, b)
		if res.Written == 0 || res.Written > 2*compareBlock {
			t.Errorf("%s: %d bytes written for one", name, res.Written)
		}
		// Maps of the regions that are named, and the chunks at the place that differs
		// and at the ranges' edges.
		if n := s.gets.Load() - before; name == "more" && n > 2+2+6 {
			t.Errorf("%d chunks fetched", n)
		}
	}
	if err := os.WriteFile(out, now, 0o600); err != nil {
		t.Fatal(err)
	}
	if res := mustRun(t, s, Options{Disk: d, Out: out, Overwrite: true, Changed: Changed{}}); res.Written+res.Same+res.Holes != 0 {
		t.Errorf("no change, and %+v", res)
	}
	sameFile(t, out, now)
}

// TestChangedTargets: what is no target of a list stays as it is.
func TestChangedTargets(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	b := diskBytes(32, 5<<20)
	d := s.put(t, b)
	all := Changed{{0, 5 << 20}}
	file := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	short, long, right := file("short", make([]byte, 5<<20-1)), file("long", make([]byte, 5<<20+1)), file("right", make([]byte, 5<<20))
	for name, c := range map[string]struct {
		opts Options
		want string
	}{
		"not there":    {Options{Out: filepath.Join(dir, "none"), Overwrite: true, Changed: all}, "for a disk that is there"},
		"shorter":      {Options{Out: short, Overwrite: true, Changed: all}, "has 5242879 bytes"},
		"longer":       {Options{Out: long, Overwrite: true, Changed: all}, "has 5242881 bytes"},
		"qcow2":        {Options{Out: right, Overwrite: true, Changed: all, Format: image.Qcow2}, "raw disk only"},
		"no overwrite": {Options{Out: right, Changed: all}, "exists"},
		"beyond":       {Options{Out: right, Overwrite: true, Changed: Changed{{1, 5 << 20}}}, "not on the disk"},
		"order":        {Options{Out: right, Overwrite: true, Changed: Changed{{9, 1}, {1, 2}}}, "out of order"},
	} {
		c.opts.Disk = d
		if _, err := Run(context.Background(), s, c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		} else if name == "not there" && !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	sameFile(t, right, make([]byte, 5<<20))
	noLeftovers(t, dir, "long", "right", "short")
}

// TestChangedWithDamage: a damaged map of what is named leaves the target as it was,
// one elsewhere does not matter.
func TestChangedWithDamage(t *testing.T) {
	s := newStore(t)
	const regions = 10 // more than are under way at once: the first are written before the last is looked at
	b := diskBytes(33, regions*disk.RegionSize)
	d := s.put(t, b)
	maps := s.ids(t, d, pack.KindRegionMap)
	if len(maps) != regions {
		t.Fatalf("%d regions", len(maps))
	}
	s.hurt = maps[regions-1]
	for end, works := range map[int64]bool{regions - 1: true, regions: false} {
		now, want := bytes.Clone(b), b
		var list Changed
		for n := range end {
			list = append(list, Range{n*disk.RegionSize + 5, 9 << 10})
		}
		for _, r := range list {
			now[r.Off] ^= 1
		}
		if !works {
			want = now
		}
		out := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(out, now, 0o600); err != nil {
			t.Fatal(err)
		}
		var damage *pack.Damage
		if _, err := Run(context.Background(), s, Options{Disk: d, Out: out, Overwrite: true, Changed: list, Workers: 1}); works != (err == nil) || !works && !errors.As(err, &damage) {
			t.Errorf("changes in %d regions: %v", end, err)
		}
		sameFile(t, out, want)
	}
}

// loopDevice shows a file as a block device until the test ends.
func loopDevice(t *testing.T, backing string) string {
	t.Helper()
	dev := strings.TrimSpace(string(run(t, "losetup", "--find", "--show", backing)))
	t.Cleanup(func() { exec.Command("losetup", "-d", dev).Run() })
	return dev
}

// TestChangedOnDevice: a device may be larger than the disk.
func TestChangedOnDevice(t *testing.T) {
	s := newStore(t)
	b := diskBytes(34, 9<<20+1536)
	d := s.put(t, b)
	now := append(bytes.Clone(b), bytes.Repeat([]byte{0xee}, 1<<20)...)
	want := bytes.Clone(now)
	list := changes(rand.New(rand.NewPCG(3, 3)), now[:len(b)])
	backing := filepath.Join(t.TempDir(), "backing")
	if err := os.WriteFile(backing, now, 0o600); err != nil {
		t.Fatal(err)
	}
	dev := loopDevice(t, backing)
	mustRun(t, s, Options{Disk: d, Out: dev, Overwrite: true, Changed: listed(t, rand.New(rand.NewPCG(4, 4)), list, len(b))})
	sameFile(t, dev, want[:len(want)/512*512])
}

// run returns what a program prints.
func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stderr = new(bytes.Buffer)
	msg, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, msg, cmd.Stderr)
	}
	return msg
}

// TestChangedByDirtyBitmap takes the list from qemu: a raw disk under a qcow2 file that
// keeps a dirty bitmap, which a guest's writes mark.
func TestChangedByDirtyBitmap(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	b := diskBytes(35, 12<<20+3*512)
	d := s.put(t, b)
	raw, head := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "disk.qcow2")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+raw+",data_file_raw=on", head, fmt.Sprint(len(b)))
	if err := os.WriteFile(raw, b, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "qemu-img", "bitmap", "--add", "-g", "4096", head, "since")
	run(t, "qemu-io", "-f", "qcow2", "-c", "write -P 7 0 512", "-c", "write -P 8 5001k 100k", "-c", "write -z 7M 128k",
		"-c", fmt.Sprintf("write -P 9 %d 512", len(b)-512), head)
	for _, form := range [][]string{{"--json"}, nil} {
		now, err := os.ReadFile(raw)
		if err != nil || bytes.Equal(now, b) {
			t.Fatalf("nothing was changed, %v", err)
		}
		list := run(t, "nbdinfo", append(form, "--map=qemu:dirty-bitmap:since", "--", "[", "qemu-nbd", "-r", "-f", "qcow2", "-B", "since", head, "]")...)
		c, err := ParseChanged(bytes.NewReader(list), int64(len(b)))
		if err != nil || len(c) != 4 {
			t.Fatalf("%d changes, %v, of\n%s", len(c), err, list)
		}
		out := filepath.Join(dir, "copy")
		if err := os.WriteFile(out, now, 0o600); err != nil {
			t.Fatal(err)
		}
		mustRun(t, s, Options{Disk: d, Out: out, Overwrite: true, Changed: c})
		sameFile(t, out, b)
	}
	allocated := run(t, "nbdinfo", "--json", "--map", "--", "[", "qemu-nbd", "-r", "-f", "raw", raw, "]")
	if c, err := ParseChanged(bytes.NewReader(allocated), int64(len(b))); err == nil || !strings.Contains(err.Error(), "dirty bitmap") {
		t.Errorf("a map of what is allocated: %v, %v", c, err)
	}
	allocated = run(t, "qemu-img", "map", "--output=json", "-f", "raw", raw)
	if c, err := ParseChanged(bytes.NewReader(allocated), int64(len(b))); err == nil || !strings.Contains(err.Error(), "qemu-img map") {
		t.Errorf("qemu-img map: %v, %v", c, err)
	}
}

// TestChangedUnderQcow2: a qcow2 image with a bitmap is restored through qemu, which
// shows its disk as a file: also where the guest wrote zeros and discarded, what the
// image has is the version's. (A raw data file that is written below its qcow2 file has
// it too, but the guest sees zeros there: qcow2 has an account of its own of them.)
func TestChangedUnderQcow2(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	b := diskBytes(36, 12<<20+3*512)
	d := s.put(t, b)
	raw, img, live := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "disk.qcow2"), filepath.Join(dir, "live")
	for path, b := range map[string][]byte{raw: b, live: nil} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, img)
	run(t, "qemu-img", "bitmap", "--add", img, "since")
	run(t, "qemu-io", "-f", "qcow2", "-c", "write -z 1M 256k", "-c", "discard 5M 1M", "-c", "write -P 8 9001k 100k", img)
	list := run(t, "nbdinfo", "--json", "--map=qemu:dirty-bitmap:since", "--", "[", "qemu-nbd", "-r", "-f", "qcow2", "-B", "since", img, "]")
	c, err := ParseChanged(bytes.NewReader(list), int64(len(b)))
	if err != nil || len(c) != 3 {
		t.Fatalf("%d changes, %v, of\n%s", len(c), err, list)
	}
	pid := filepath.Join(dir, "pid")
	run(t, "qemu-storage-daemon", "--daemonize", "--pidfile", pid, "--blockdev", "driver=qcow2,node-name=q,file.driver=file,file.filename="+img,
		"--export", "fuse,id=e,node-name=q,mountpoint="+live+",writable=on")
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Run(context.Background(), s, Options{Disk: d, Out: live, Overwrite: true, Changed: c})
	if err := unix.Kill(n, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); unix.Kill(n, 0) == nil; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("qemu-storage-daemon does not end")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, img)
}
