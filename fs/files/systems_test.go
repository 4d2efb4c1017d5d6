package files

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/volume"
)

// A root and a home in subvolumes of one btrfs, as Ubuntu and openSUSE have them:
// the default subvolume is the top level, or another one.
func TestSpaceOfSubvolumes(t *testing.T) {
	for _, byDefault := range []string{"", "@"} {
		image := guesttest.Mkfs(t, 128<<20, "mkfs.btrfs", "-q", "-U", "12345678-0000-4000-8000-000000000001")
		guesttest.Mounted(t, image, func(dir string) {
			run(t, dir, `btrfs subvolume create @ >/dev/null && btrfs subvolume create @home >/dev/null && mkdir -p @/etc @/home @/by-number @/top && cat > @/etc/fstab <<END
UUID=12345678-0000-4000-8000-000000000001 / btrfs subvol=@ 0 0
UUID=12345678-0000-4000-8000-000000000001 /home btrfs defaults,subvol=/@home 0 0
UUID=12345678-0000-4000-8000-000000000001 /by-number btrfs subvolid=257 0 0
END
echo root > @/which && echo home > @home/which`)
			if byDefault != "" {
				run(t, dir, "btrfs subvolume set-default "+byDefault)
			}
		})
		s := space(t, volume.Disk{Name: "vda", Volume: guesttest.OpenFile(t, image)})
		if a, b := read(s, "/which"), read(s, "/home/which"); a != "root\n" || b != "home\n" {
			t.Errorf("default %q: root %q, home %q, notes %q, mounts %+v", byDefault, a, b, s.Notes, s.Mounts)
		}
		if len(s.Mounts) != 3 || s.Mounts[2].Problem == "" || names(t, s, "/by-number") != "" {
			t.Errorf("default %q: mounts %+v", byDefault, s.Mounts)
		}
	}
}

// Windows on the second disk: it is C all the same, the others follow.
func TestSpaceOfDrives(t *testing.T) {
	data, system := ntfs(t, "mkdir -p docs && echo data > docs/file"), ntfs(t, "mkdir -p WINDOWS/system32/config && echo pad > WINDOWS/win.ini")
	s := space(t, volume.Disk{Name: "one", Volume: guesttest.OpenFile(t, data)}, volume.Disk{Name: "two", Volume: guesttest.OpenFile(t, system)})
	if s.System != Windows || names(t, s, "/") != "C D" {
		t.Fatalf("system %q of %q, notes %q", s.System, names(t, s, "/"), s.Notes)
	}
	for path, want := range map[string]string{"/C/WINDOWS/win.ini": "pad\n", "/D/docs/file": "data\n", "/d:/docs/file": "data\n", "/D/../C/WINDOWS/win.ini": "pad\n"} {
		if got := read(s, path); got != want {
			t.Errorf("%s holds %q", path, got)
		}
	}
	mounts := s.describe(func(disk, volume string) string { return disk + "/" + volume })
	if got := fmt.Sprintf("%s %s", mounts[0].Volume, mounts[1].Volume); got != "two/disk one/disk" {
		t.Errorf("mounts %s", got)
	}
	dir := t.TempDir()
	got := extract(t, s, "/", dir, "all", ExtractOptions{})
	if out := run(t, dir, "cat all/C/WINDOWS/win.ini all/D/docs/file"); out != "pad\ndata\n" {
		t.Errorf("copied %q, %+v", out, got)
	}
}

// ntfs makes a volume and fills it through ntfs-3g, whose end says that all of it
// is written.
func ntfs(t *testing.T, script string) string {
	t.Helper()
	image := guesttest.Mkfs(t, 16<<20, "mkntfs", "-q", "-F")
	dir := t.TempDir()
	cmd := exec.Command("ntfs-3g", "-o", "no_detach", image, dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
			cmd.Process.Kill()
		}
		if err := <-ended; err != nil {
			t.Errorf("ntfs-3g: %v", err)
		}
	}()
	for began := time.Now(); !mountedOn(t, dir); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("ntfs-3g does not mount")
		}
	}
	run(t, dir, script)
	return image
}

func mountedOn(t *testing.T, dir string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(b), " "+dir+" ")
}
