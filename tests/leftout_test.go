package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/tests/vm"
)

// TestLeftOut captures real disks as a person does, without what the guest has
// freed: restored, the filesystem is clean and every file is there; the source
// does not differ from the version, until a byte of a file does.
func TestLeftOut(t *testing.T) {
	for _, c := range []struct {
		disk  *vm.Disk
		check []string
	}{
		{vm.Debian(t), []string{"e2fsck", "-fn"}},
		{vm.DebianXFS(t), []string{"xfs_repair", "-n"}},
	} {
		t.Run(string(c.disk.Kind), func(t *testing.T) {
			p := newStore(t)
			dir := t.TempDir()
			disk := c.disk.Clone(t, dir)
			vm.Change(t, disk, 5)
			freeFiles(t, disk)
			var got struct {
				Version struct {
					Cut     string
					LeftOut []string `json:"left_out"`
					Bytes   int64    `json:"left_out_bytes"`
				}
			}
			out := p.must("capture", "--json", "--vm", "web", "vda="+disk)
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatal(err)
			}
			if v := got.Version; v.Cut != "files" || strings.Join(v.LeftOut, " ") != "free swap" || v.Bytes < 20<<20 {
				t.Errorf("of 20 MiB of deleted files the version says %+v", v)
			}
			if shown := p.must("show", "web"); !strings.Contains(shown, "left out: free space, swap") {
				t.Errorf("show:\n%s", shown)
			}
			restored := filepath.Join(dir, "restored.raw")
			p.must("restore", "web", restored)
			checkRoot(t, restored, c.check)
			if want, got := rootSums(t, disk), rootSums(t, restored); want != got {
				t.Errorf("files differ: %s", firstDifference(want, got))
			}
			if sum(t, restored) == sum(t, disk) {
				t.Error("what was deleted came back")
			}
			p.must("verify", "web", "--against", disk)

			if c.disk.Kind == vm.KindXFS {
				return // the rest does not depend on the filesystem
			}
			// Onto the disk itself: what is free becomes zeros, files stay.
			again := filepath.Join(dir, "again.raw")
			if err := vm.Copy(again, disk); err != nil {
				t.Fatal(err)
			}
			p.must("restore", "--overwrite", "web", again)
			if sum(t, again) != sum(t, restored) {
				t.Error("restored onto the disk it is not what it is in a new file")
			}

			damageFile(t, disk)
			if _, err := p.run("verify", "web", "--against", disk); err == nil || !strings.Contains(err.Error(), "differ") {
				t.Errorf("a changed file is no difference: %v", err)
			}
		})
	}
}

// freeFiles makes the guest delete 24 MiB that nothing else takes.
func freeFiles(t *testing.T, disk string) {
	t.Helper()
	root := vm.MountRoot(t, disk, vm.ReadWrite)
	shell(t, root, "head -c 24M /dev/urandom >deleted && sync -f . && rm deleted && sync -f .")
	vm.Unmount(t, root)
}

// checkRoot proves the root filesystem of a disk by its own tool.
func checkRoot(t *testing.T, disk string, check []string) {
	t.Helper()
	off, size := vm.RootExtent(t, disk)
	part := filepath.Join(t.TempDir(), "part")
	in, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := vm.CopyRange(part, in, off, size); err != nil {
		t.Fatal(err)
	}
	tool(t, check[0], append(check[1:], part)...)
}

func rootSums(t *testing.T, disk string) string {
	t.Helper()
	root := vm.MountRoot(t, disk, vm.ReadOnly)
	defer vm.Unmount(t, root)
	return shell(t, root, `find . -printf '%p|%y|%m|%U|%G|%s|%T@|%l\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum`)
}

// damageFile changes one byte of a file's content behind the guest's back.
func damageFile(t *testing.T, disk string) {
	t.Helper()
	root := vm.MountRoot(t, disk, vm.ReadWrite)
	shell(t, root, "printf X | dd of=srv/words.txt bs=1 seek=5000000 conv=notrunc status=none")
	vm.Unmount(t, root)
}
