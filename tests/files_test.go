package tests

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/tests/vm"
)

// TestGuestFilesEqualTheKernels compares every file of a real guest, read
// through the mounted tree without any driver, with the kernel's own mount of
// the disk: paths, types, modes, owners, sizes, links, times, targets, contents
// and extended attributes.
func TestGuestFilesEqualTheKernels(t *testing.T) {
	for _, c := range []struct {
		disk *vm.Disk
		fs   string
	}{{vm.Debian(t), "ext4"}, {vm.DebianXFS(t), "xfs"}} {
		t.Run(c.fs, func(t *testing.T) {
			p := newStore(t)
			disk := c.disk.Clone(t, t.TempDir())
			vm.Change(t, disk, 3)
			addOddFiles(t, disk)
			p.must("capture", "--vm", "web", "vda="+disk)
			m := p.mount()
			volume := rootVolume(t, m.path("web", "latest", "files"), c.fs)
			kernel := vm.MountRoot(t, disk, vm.ReadOnly)
			for _, what := range []string{
				`find . -printf '%p|%y|%m|%U|%G|%s|%n|%b|%A@|%T@|%C@|%l\n' | sort`,
				`find . -type f -print0 | sort -z | xargs -0 sha256sum`,
				`getfattr -R -h -d -m - -e hex . 2>/dev/null | sort`,
				`cat big/names/* | sha256sum; ls -U big/names | sort | sha256sum`,
				`tar -cf - --sort=name --numeric-owner srv odd | sha256sum`,
			} {
				want, got := shell(t, kernel, what), shell(t, volume, what)
				if want != got {
					t.Errorf("%s:\n%s", what, firstDifference(want, got))
				}
			}
			if n := strings.Count(shell(t, volume, "find ."), "\n"); n < 10000 {
				t.Errorf("only %d names", n)
			}
			m.unmount()
			noTraces(t, m.mnt)
		})
	}
}

// addOddFiles adds what a package's files lack: sparse files, attributes, hard
// links, odd names, many names, fifos and old times.
func addOddFiles(t *testing.T, disk string) {
	t.Helper()
	root := vm.MountRoot(t, disk, vm.ReadWrite)
	shell(t, root, `mkdir -p odd big/names && cd odd &&
		truncate -s 100M sparse && echo middle | dd of=sparse bs=1 seek=50000000 conv=notrunc status=none &&
		echo linked > a && ln a b && ln -s /etc/passwd absolute && ln -s "$(printf '%0200d' 7)" long-target &&
		mkfifo pipe && mknod device c 1 3 && setfattr -n user.test -v value a && setfattr -n trusted.other -v 0x000102 a &&
		setfacl -m u:1234:rw a && touch -d '1965-03-04 05:06:07.123456789 UTC' old && touch -d '2090-01-01 UTC' future &&
		chown 70000:80000 a && chmod 6755 b && touch "$(printf 'new\nline')" "$(printf '\377\376')" "$(printf '%0255d' 1)" &&
		cd ../big/names && for i in $(seq 3000); do echo $i > name-$i; done`)
	vm.Unmount(t, root)
}

// rootVolume finds the guest's root in volumes.json and returns its directory.
func rootVolume(t *testing.T, files, fs string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(files, "volumes.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Volumes []struct {
			Type, Path, State string
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatalf("volumes.json: %v\n%s", err, b)
	}
	for _, v := range doc.Volumes {
		if v.Type == fs && v.Path != "" && v.State == "ok" {
			return filepath.Join(files, v.Path)
		}
	}
	t.Fatalf("no %s volume in\n%s", fs, b)
	return ""
}

func shell(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("bash", "-c", "set -eo pipefail; "+script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		var msg []byte
		if e, ok := err.(*exec.ExitError); ok {
			msg = e.Stderr
		}
		t.Fatalf("in %s: %s: %v\n%s", dir, script, err, msg)
	}
	return string(out)
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return "want " + w[i] + "\ngot  " + g[i]
		}
	}
	return "one listing ends before the other"
}
