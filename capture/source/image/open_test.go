package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/capture/source"
	"holdfast/capture/source/sourcetest"
)

func mustOpen(t testing.TB, path string, opts source.Options) *source.Opened {
	t.Helper()
	d, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestErrors(t *testing.T) {
	sourcetest.CheckClosed(t)
	dir := t.TempDir()
	for path, want := range map[string]error{
		filepath.Join(dir, "absent"): fs.ErrNotExist,
		dir:                          source.ErrNotDisk,
		sourcetest.WriteFile(t, dir, "empty.img", nil): source.ErrEmpty,
	} {
		for _, format := range append([]string{""}, formats...) {
			d, err := Open(path, source.Options{Format: format})
			if !errors.Is(err, want) || !strings.Contains(err.Error(), path) || d != nil {
				t.Errorf("open %s as %q: %v, %v; want %v", path, format, d, err, want)
			}
		}
	}
	path := sourcetest.WriteFile(t, dir, "x", []byte("x"))
	if _, err := Open(path, source.Options{Format: "vdi"}); err == nil || !strings.Contains(err.Error(), "raw, qcow2, vhd, vhdx, vmdk") {
		t.Errorf("unknown format: %v", err)
	}
	for _, format := range formats[1:] {
		if d, err := Open(path, source.Options{Format: format}); err == nil || !strings.Contains(err.Error(), path) || d != nil {
			t.Errorf("one byte as %s: %v", format, err)
		}
	}
}

func TestPermission(t *testing.T) {
	path := sourcetest.WriteFile(t, t.TempDir(), "x", []byte("x"))
	result := make(chan error)
	go func() {
		// This thread gives up its rights, and ends with the goroutine.
		runtime.LockOSThread()
		unix.RawSyscall(unix.SYS_SETFSUID, 65534, 0, 0)
		_, err := Open(path, source.Options{})
		result <- err
	}()
	if err := <-result; !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), path) {
		t.Errorf("open what belongs to root: %v", err)
	}
}

// TestRaw reads a sparse file of an odd size.
func TestRaw(t *testing.T) {
	for _, size := range []int64{1, 511, 512, 513, 3<<20 + 77} {
		guest := sourcetest.Guest(size, 1)
		if size > 2<<20 {
			clear(guest[64<<10 : 1<<20])
		}
		path := sourcetest.WriteFile(t, t.TempDir(), "x", guest)
		sourcetest.Qemu(t, "fallocate", "--dig-holes", path)
		d := mustOpen(t, path, source.Options{})
		if d.Format != "raw" || len(d.Files) != 1 || len(d.Notices) != 0 {
			t.Errorf("opened %+v", d)
		}
		sourcetest.CheckBytes(t, d, guest)
		if size > 2<<20 {
			if ext := sourcetest.Extent(t, d, 100<<10+1); ext.Data || ext.Length < 900<<10 {
				t.Errorf("the hole is reported as %+v", ext)
			}
		}
	}
}

// TestFormats detects what qemu-img makes, whatever its name.
func TestFormats(t *testing.T) {
	sourcetest.CheckClosed(t)
	dir := t.TempDir()
	guest := sourcetest.Guest(2<<20, 1)
	raw := sourcetest.WriteFile(t, dir, "x.vmdk", guest)
	for args, want := range map[string]string{
		"raw":                                   "raw",
		"qcow2":                                 "qcow2",
		"vmdk":                                  "vmdk",
		"vmdk -o subformat=monolithicFlat":      "vmdk",
		"vpc -o force_size":                     "vhd",
		"vpc -o subformat=fixed,force_size":     "vhd",
		"vhdx":                                  "vhdx",
		"vhdx -o subformat=fixed,block_size=1M": "vhdx",
	} {
		path := filepath.Join(dir, "y.raw")
		all := append([]string{"convert", "-t", "unsafe", "-f", "raw", "-O"}, strings.Fields(args)...)
		sourcetest.Qemu(t, "qemu-img", append(all, raw, path)...)
		d := mustOpen(t, path, source.Options{})
		if d.Format != want {
			t.Errorf("%s is detected as %s", args, d.Format)
		}
		sourcetest.CheckBytes(t, d, guest)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sourcetest.CheckBytes(t, mustOpen(t, path, source.Options{Format: "raw"}), whole)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDevice reads a loop device: it has no holes and no tree of its own.
func TestDevice(t *testing.T) {
	sourcetest.CheckClosed(t)
	dir := t.TempDir()
	guest := sourcetest.Guest(1<<20+512, 1)
	loop := attach(t, sourcetest.WriteFile(t, dir, "raw", guest))
	d := mustOpen(t, loop, source.Options{})
	if d.Format != "raw" {
		t.Errorf("opened %+v", d)
	}
	sourcetest.CheckBytes(t, d, guest)
	if ext := sourcetest.Extent(t, d, 513); !ext.Data || ext.Length != d.Size()-513 {
		t.Errorf("extent %+v", ext)
	}

	image := filepath.Join(dir, "image")
	sourcetest.Qemu(t, "qemu-img", "create", "-f", "qcow2", "-u", "-F", "raw", "-b", loop, image, "1M")
	sourcetest.Qemu(t, "truncate", "-s", "1M", image)
	device := attach(t, image)
	var refused *source.RefusedError
	if _, err := Open(device, source.Options{}); !errors.As(err, &refused) {
		t.Errorf("a device refers to its neighbour: %v", err)
	}
	both := mustOpen(t, device, source.Options{FollowBacking: []string{"/dev"}})
	if len(both.Files) != 2 || len(both.Notices) != 1 || !strings.Contains(both.Notices[0], "--format raw") {
		t.Errorf("opened %+v", both)
	}
	sourcetest.CheckBytes(t, both, guest[:1<<20])
}

// attach makes a loop device of a file until the test ends.
func attach(t *testing.T, path string) string {
	t.Helper()
	loop := strings.TrimSpace(sourcetest.Qemu(t, "losetup", "--find", "--show", "--read-only", path))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", loop).CombinedOutput(); err != nil {
			t.Errorf("losetup -d %s: %v: %s", loop, err, out)
		}
	})
	return loop
}

// TestGuestWritten: a guest cannot make its large raw disk name a file of the
// host with a descriptor, nor by a footer that is not right.
func TestGuestWritten(t *testing.T) {
	guest := make([]byte, 2<<20)
	copy(guest, "# Disk DescriptorFile\nRW 1 FLAT \"other\" 0\n")
	copy(guest[len(guest)-512:], "conectix")
	d := mustOpen(t, sourcetest.WriteFile(t, t.TempDir(), "x", guest), source.Options{})
	if d.Format != "raw" || len(d.Notices) != 1 || !strings.Contains(d.Notices[0], "damaged") {
		t.Errorf("opened %+v", d)
	}
	sourcetest.CheckBytes(t, d, guest)
}

func TestDetect(t *testing.T) {
	footer := make([]byte, 512)
	copy(footer, "conectix")
	sum := uint32(0)
	for _, b := range footer {
		sum += uint32(b)
	}
	for i := range 4 {
		footer[vhdSumAt+i] = byte(^sum >> (24 - 8*i))
	}
	for _, c := range []struct{ head, tail, want string }{
		{"", "", "raw"},
		{"Q", "Q", "raw"},
		{"QFI\xfa", "", "raw"},
		{"QFI\xfb", "", "qcow2"},
		{"vhdxfile", "", "vhdx"},
		{"vhdxfil", "", "raw"},
		{"KDMV", "", "vmdk"},
		{"COWD", "", "vmdk"},
		{"# Disk DescriptorFile\n", "", "vmdk"},
		{"conectix", "", "vhd"},
		{"boot", string(footer), "vhd"},
		{"boot", "x" + string(footer[:511]), "vhd"},
		{"boot", string(footer[1:]), "raw"},
		{"boot", strings.Replace(string(footer), "\x00", "\x01", 1), "raw"},
	} {
		got, _ := detect([]byte(c.head), []byte(c.tail), 4096)
		if got != c.want {
			t.Errorf("%s is detected as %s, want %s", fmt.Sprintf("%.20q...%.20q", c.head, c.tail), got, c.want)
		}
	}
}

// TestHugeAndEmpty walks disks of many TiB without data in a few steps.
func TestHugeAndEmpty(t *testing.T) {
	dir := t.TempDir()
	for _, args := range []string{"qcow2 64T", "qcow2 -o cluster_size=512 8G", "qcow2 -o extended_l2=on 64T", "vmdk 1T"} {
		path := filepath.Join(dir, "x")
		fields := strings.Fields(args)
		last := len(fields) - 1
		create := append([]string{"create", "-f"}, fields[:last]...)
		sourcetest.Qemu(t, "qemu-img", append(create, path, fields[last])...)
		d := mustOpen(t, path, source.Options{})
		steps := 0
		for off := int64(0); off < d.Size(); steps++ {
			ext := sourcetest.Extent(t, d, off)
			if ext.Data {
				t.Fatalf("%s: data at %d", args, off)
			}
			off += ext.Length
		}
		if steps > 40000 { // qemu's VMDKs have a table for each 32 MiB
			t.Errorf("%s: %d steps", args, steps)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
