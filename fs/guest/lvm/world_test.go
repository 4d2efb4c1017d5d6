package lvm

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/volume/mapped"
)

const (
	imageSize  = 32 << 20
	extentSize = 128 << 10
	peStart    = 1 << 20
)

// world is three disks with a volume group made by LVM's own tools, without
// device-mapper. Their extents are filled with a pattern: each word of 8 bytes
// is the disk's number and the word's offset, so that what is read tells where
// it lay.
type world struct {
	t      testing.TB
	images [3]string
	loops  [3]string
	env    []string
}

func newWorld(t testing.TB) *world {
	w := &world{t: t}
	dir := t.TempDir()
	var filter []string
	for i := range w.images {
		w.images[i] = filepath.Join(dir, fmt.Sprint("disk", i))
		if err := os.WriteFile(w.images[i], pattern(i), 0o600); err != nil {
			t.Fatal(err)
		}
		w.loops[i] = strings.TrimSpace(guesttest.Run(t, "losetup", "-f", "--show", w.images[i]))
		t.Cleanup(func() { guesttest.Run(t, "losetup", "-d", w.loops[i]) })
		filter = append(filter, fmt.Sprintf("%q", "a|^"+w.loops[i]+"$|"))
	}
	conf := fmt.Sprintf(`devices { filter=[%s,"r|.*|"] use_devicesfile=0 }
global { locking_dir=%q event_activation=0 use_lvmpolld=0 }
activation { udev_sync=0 udev_rules=0 monitoring=0 }
backup { backup=0 archive=0 }
`, strings.Join(filter, ","), filepath.Join(dir, "lock"))
	if err := os.WriteFile(filepath.Join(dir, "lvm.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	w.env = append(os.Environ(), "LVM_SYSTEM_DIR="+dir, "LVM_SUPPRESS_FD_WARNINGS=1", "LC_ALL=C")
	w.run("pvcreate", "-q", w.loops[0], w.loops[1], w.loops[2])
	w.run("vgcreate", "-s", "128k", "vg0", w.loops[0], w.loops[1], w.loops[2])
	return w
}

// pattern is a disk's content before LVM.
func pattern(number int) []byte {
	b := make([]byte, imageSize)
	for at := peStart; at < imageSize; at += 8 {
		binary.BigEndian.PutUint64(b[at:], word(number, int64(at)))
	}
	return b
}

func word(disk int, off int64) uint64 { return uint64(disk+1)<<56 | uint64(off) }

// run runs one of LVM's tools and gives its standard output.
func (w *world) run(tool string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(tool, append(args, "--driverloaded", "n")...)
	cmd.Env = w.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("%s %q: %v\n%s%s", tool, args, err, out, stderr.Bytes())
	}
	return string(out)
}

// backup gives the group's text as vgcfgbackup writes it.
func (w *world) backup() string {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "backup")
	w.run("vgcfgbackup", "-f", path, "vg0")
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// restore has LVM take a text with more volumes: it checks and writes them.
func (w *world) restore(volumes string) {
	w.t.Helper()
	s := w.backup()
	if at := strings.Index(s, "logical_volumes {"); at >= 0 {
		at += len("logical_volumes {")
		s = s[:at] + volumes + s[at:]
	} else {
		at = strings.LastIndex(s, "}")
		s = s[:at] + "logical_volumes {" + volumes + "}\n" + s[at:]
	}
	path := filepath.Join(w.t.TempDir(), "text")
	if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.run("vgcfgrestore", "--force", "-f", path, "vg0")
}

// assemble reads the disks of those numbers and gives the only group.
func (w *world) assemble(numbers ...int) Group {
	w.t.Helper()
	groups := w.groups(numbers...)
	if len(groups) != 1 {
		w.t.Fatalf("%d groups", len(groups))
	}
	return groups[0]
}

func (w *world) groups(numbers ...int) []Group {
	w.t.Helper()
	var pvs []*PV
	for _, n := range numbers {
		pv, err := Probe(w.t.(*testing.T).Context(), mapped.Disk(fmt.Sprint(n), guesttest.OpenFile(w.t, w.images[n])))
		if err != nil {
			w.t.Fatalf("disk %d: %v", n, err)
		}
		pvs = append(pvs, pv)
	}
	groups, err := Assemble(w.t.(*testing.T).Context(), pvs)
	if err != nil {
		w.t.Fatal(err)
	}
	return groups
}

// find gives a volume of the group.
func find(t testing.TB, g Group, name string) Volume {
	t.Helper()
	for _, v := range g.Volumes {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("no volume %s among %+v", name, g)
	return Volume{}
}

// lies checks, word by word of 4 KiB steps and at their ends, that the volume's
// bytes come from where at says; disk -1 means zeros.
func lies(t *testing.T, v Volume, at func(off int64) (disk int, place int64)) {
	t.Helper()
	size := v.Device.Size()
	buf := make([]byte, 64<<10)
	for off := int64(0); off < min(size, 64<<20); off += int64(len(buf)) {
		n, err := v.Device.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if err != nil && err != io.EOF {
			t.Fatalf("%s at %d: %v", v.Name, off, err)
		}
		for in := 0; in < n; in += 512 {
			disk, place := at(off + int64(in))
			want := uint64(0)
			if disk >= 0 {
				want = word(disk, place)
			}
			if got := binary.BigEndian.Uint64(buf[in:]); got != want {
				t.Fatalf("%s at %d reads disk %d at %d, not disk %d at %d", v.Name, off+int64(in), int(got>>56)-1, got<<8>>8, disk, place)
			}
		}
	}
	err := v.Device.EachRun(0, min(size, 64<<20), func(r mapped.Run) bool {
		disk, place := at(r.Offset)
		if r.Copy == 0 && (r.Disk != fmt.Sprint(disk) || r.DiskOffset != place) {
			t.Fatalf("%s: run %+v, want disk %d at %d", v.Name, r, disk, place)
		}
		return true
	})
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
}

// thinMeta is the metadata of a pool, made of testdata/thin.xml by
// thin_restore (Debian: thin-provisioning-tools) into a file of 2 MiB.
func thinMeta(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open("testdata/thin.meta.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// write changes an image.
func (w *world) write(number int, off int64, b []byte) {
	w.t.Helper()
	f, err := os.OpenFile(w.images[number], os.O_WRONLY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, off); err != nil {
		w.t.Fatal(err)
	}
}
