package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/volume"
)

const manyDisksTable = `UUID=01234567-89ab-cdef-0123-456789abcdef / ext4 defaults 0 1
/dev/mapper/vg0-home /home ext4 defaults 0 2
LABEL=data /srv/data auto defaults 0 2
/dev/disk/by-uuid/ffffffff-ffff-ffff-ffff-ffffffffffff /lost ext4 defaults 0 2
/srv/data/shared /export none bind 0 0
`

// manyDisks makes the disks of a guest: its root on a partition, /home on LVM
// over a whole disk and /srv/data on another one.
func manyDisks(t *testing.T) (root, lvm, data string) {
	t.Helper()
	const size = 24 << 20
	tree := t.TempDir()
	shell(t, tree, `mkdir -p etc home srv/data lost/below export odd/closed && cat > etc/fstab <<'END'
`+manyDisksTable+`END
echo guest > etc/hostname && echo secret > etc/shadow && chmod 600 etc/shadow && chmod 700 odd/closed && echo in > odd/closed/file &&
cp /bin/true odd/program && chmod 6755 odd/program && mknod odd/null c 1 3 && mknod odd/disk b 7 0 && ln -s /etc/hostname odd/absolute`)
	root = filepath.Join(t.TempDir(), "root.raw")
	part := guesttest.Mkfs(t, size, "mkfs.ext4", "-q", "-U", "01234567-89ab-cdef-0123-456789abcdef", "-d", tree)
	shell(t, tree, fmt.Sprintf("truncate -s %d %s && echo 'start=2048, size=%d' | sfdisk -q --no-reread --no-tell-kernel %s", size+2<<20, root, size>>9, root))
	write(t, root, 1<<20, part)

	home := t.TempDir()
	shell(t, home, "mkdir alice && echo hello > alice/file && chown 1000:1000 alice/file")
	lvm = logicalVolume(t, guesttest.Mkfs(t, size, "mkfs.ext4", "-q", "-d", home), size)
	shared := t.TempDir()
	shell(t, shared, "mkdir shared && echo big > shared/payload")
	return root, lvm, guesttest.Mkfs(t, size, "mkfs.ext4", "-q", "-L", "data", "-d", shared)
}

func write(t *testing.T, path string, at int64, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			_, err = f.WriteAt(b, at)
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// logicalVolume makes a disk with the volume group vg0 and the image as its
// volume home. LVM's tools need no device-mapper for that.
func logicalVolume(t *testing.T, image string, size int64) string {
	t.Helper()
	dir := t.TempDir()
	disk := filepath.Join(dir, "lvm.raw")
	shell(t, dir, fmt.Sprintf("truncate -s %d lvm.raw", size+8<<20))
	loop := strings.TrimSpace(shell(t, dir, "losetup -f --show lvm.raw"))
	defer exec.Command("losetup", "-d", loop).Run()
	conf := fmt.Sprintf("devices { filter=[\"a|^%s$|\",\"r|.*|\"] use_devicesfile=0 }\nglobal { locking_dir=%q event_activation=0 }\nactivation { udev_sync=0 udev_rules=0 monitoring=0 }\nbackup { backup=0 archive=0 }\n", loop, dir+"/lock")
	if err := os.WriteFile(filepath.Join(dir, "lvm.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	shell(t, dir, fmt.Sprintf(`export LVM_SYSTEM_DIR=%s LVM_SUPPRESS_FD_WARNINGS=1
pvcreate -q --driverloaded n %s; vgcreate -q --driverloaded n -s 1M vg0 %s
lvcreate -q --driverloaded n -an -Zn -Wn -l 3 -n first vg0; lvcreate -q --driverloaded n -an -Zn -Wn -L %db -n home vg0`, dir, loop, loop, size))
	layout, err := volume.Find(context.Background(), []volume.Disk{{Name: "lvm", Volume: guesttest.OpenFile(t, disk)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range layout.Volumes {
		if _, at, ok := v.Solid(); ok && v.Name == "vg0-home" {
			write(t, disk, at, image)
			return disk
		}
	}
	t.Fatalf("no volume home among %+v", layout.Volumes)
	return ""
}

// TestGuestRoot shows a guest's own namespace over three disks.
func TestGuestRoot(t *testing.T) {
	p := newStore(t)
	root, lvm, data := manyDisks(t)
	p.must("capture", "--vm", "web", "root="+root, "vg="+lvm, "data="+data)
	m := p.mount("--allow-other")
	top := m.path("web", "latest", "files", "root")
	got := shell(t, top, `cat home/alice/file srv/data/shared/payload export/payload etc/hostname; ls lost; readlink odd/absolute;
stat -c %u:%g home/alice/file; stat -c %a odd/program; test "$(stat -c %i srv/data/shared/payload)" != "$(stat -c %i etc/hostname)"; ls ..`)
	want := "hello\nbig\nbig\nguest\nbelow\n/etc/hostname\n1000:1000\n6755\n%72oot\ndata\nroot\nvg\nvolumes.json\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	namesTheLost(t, m.path("web", "latest", "files", "volumes.json"))
	harmless(t, top)
	// The same files again, by their volumes: both keep their place.
	shell(t, m.path("web", "latest", "files"), `cmp vg/vg0-home/alice/file root/home/alice/file; cmp %72oot/p1/etc/hostname root/etc/hostname; cd root/home; cat alice/file; cd ../../vg/vg0-home; cat alice/file; cd ../../root/home/alice; ls ../../etc >/dev/null`)
	m.unmount()

	m = p.mount("--owner", "1234:5678")
	if got := shell(t, m.path("web", "latest", "files", "root"), "stat -c %u:%g:%a etc/shadow home/alice/file ."); got != "1234:5678:600\n1234:5678:644\n1234:5678:755\n" {
		t.Errorf("with --owner: %q", got)
	}
	m.unmount()
	noTraces(t, m.mnt)
}

// namesTheLost looks for the mount that can't be found.
func namesTheLost(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Root struct {
			System string
			Mounts []struct{ Path, Volume, Problem string }
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	got := doc.Root.System
	for _, m := range doc.Root.Mounts {
		got += fmt.Sprintf(" %s=%s", m.Path, m.Volume)
		if (m.Path == "/lost") != strings.Contains(m.Problem, "no volume of this version") {
			t.Errorf("%s: problem %q", m.Path, m.Problem)
		}
	}
	if want := "linux /=%72oot/p1 /home=vg/vg0-home /srv/data=data/disk /lost= /export=data/disk"; got != want {
		t.Errorf("volumes.json: %s\nwant          %s", got, want)
	}
}

// harmless proves that nothing of a guest acts on the machine that looks at it,
// and that an unprivileged user reads what the mount lets in.
func harmless(t *testing.T, top string) {
	t.Helper()
	for _, name := range []string{"odd/null", "odd/disk"} {
		if f, err := os.Open(filepath.Join(top, name)); !errors.Is(err, syscall.EACCES) {
			f.Close()
			t.Errorf("open %s: %v", name, err)
		}
	}
	if err := exec.Command(filepath.Join(top, "odd/program")).Run(); !errors.Is(err, syscall.EACCES) {
		t.Errorf("run a program of the guest: %v", err)
	}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(info) {
		if f := strings.Fields(string(line)); len(f) > 5 && strings.HasPrefix(top, f[4]+"/") && strings.Contains(string(line), "fuse.holdfast") {
			for _, flag := range []string{"ro", "nosuid", "nodev", "noexec"} {
				if !strings.Contains(","+f[5]+",", ","+flag+",") {
					t.Errorf("the mount lacks %s: %s", flag, f[5])
				}
			}
		}
	}
	cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", "env -C odd/closed cat file && cat etc/shadow && test -r etc/shadow && ! test -w etc/hostname")
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "in\nsecret\n" {
		t.Errorf("an unprivileged user reads %q, %v", out, err)
	}
}
