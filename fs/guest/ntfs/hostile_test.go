package ntfs

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/ntfs/wimtest"
)

// smallImage makes a volume that is quick to walk, with one of each structure.
func smallImage(t testing.TB, args ...string) string {
	t.Helper()
	image := mkntfs(t, 8<<20, args...)
	mounted(t, image, func(dir string) {
		populateFew(t, dir)
	}, "streams_interface=xattr", "compression")
	return image
}

// populateFew makes one of each kind of structure, and no more: it is walked
// thousands of times.
func populateFew(t testing.TB, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	must(os.Mkdir(path("many"), 0o755))
	for i := range 24 { // an index with blocks
		must(os.WriteFile(path(fmt.Sprintf("many/%02d-%s", i, strings.Repeat("x", 100+i))), nil, 0o644))
	}
	must(os.Mkdir(path("packed"), 0o755))
	compressed(t, path("packed"))
	must(os.WriteFile(path("packed/text"), []byte(strings.Repeat("the same again and ", 3700)), 0o644))
	must(os.WriteFile(path("resident"), []byte("resident"), 0o644))
	for i := range 12 { // in several records
		must(os.Link(path("resident"), path(strings.Repeat("n", 60)+string(rune('a'+i)))))
	}
	f, err := os.Create(path("holes"))
	must(err)
	for i := range int64(20) {
		_, err := f.WriteAt([]byte("not a hole"), i*i*8192)
		must(err)
	}
	must(f.Close())
	must(os.Symlink("a target", path("link")))
	must(unix.Mknod(path("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(300, 70000))))
	must(unix.Setxattr(path("resident"), "user.small", []byte("value"), 0))
	must(unix.Setxattr(path("holes"), "user.large", bytes.Repeat([]byte("large "), 900), 0))
	for _, p := range wimtest.Pack(t, [][]byte{bytes.Repeat([]byte("packed as a whole "), 700)}, "xpress", 4096) {
		must(os.WriteFile(path("whole"), nil, 0o644))
		must(os.Truncate(path("whole"), int64(len(p.Plain))))
		must(unix.Setxattr(path("whole"), "user.WofCompressedData", p.Bytes, 0))
		must(unix.Setxattr(path("whole"), xattrReparse, wofPoint(0), 0))
	}
	must(os.Mkdir(path("junction"), 0o755))
	must(unix.Setxattr(path("junction"), xattrReparse, mountPoint(`\??\C:\many`), 0))
	must(os.WriteFile(path("owned"), []byte("by a user of WSL"), 0o644))
	must(unix.Setxattr(path("owned"), xattrEA, linuxEAs(map[string][]uint32{"$LXUID": {1000}, "$LXGID": {1001}, "$LXMOD": {0o100640}}), 0))
}

// mountPoint makes the reparse point of a junction.
func mountPoint(target string) []byte {
	name := wide(target)
	b := le.AppendUint32(nil, tagMountPoint)
	b = le.AppendUint16(b, uint16(8+len(name)+4))
	b = append(b, 0, 0, 0, 0)
	b = le.AppendUint16(b, uint16(len(name)))
	b = le.AppendUint16(b, uint16(len(name)+2))
	b = append(append(b, 0, 0), name...)
	return append(b, 0, 0, 0, 0)
}

// linuxEAs makes the extended attributes of WSL.
func linuxEAs(all map[string][]uint32) []byte {
	var out []byte
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b := []byte{0, 0, 0, 0, 0, byte(len(name)), byte(4 * len(all[name])), 0}
		b = append(append(b, name...), 0)
		for _, v := range all[name] {
			b = le.AppendUint32(b, v)
		}
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		le.PutUint32(b, uint32(len(b)))
		out = append(out, b...)
	}
	return out
}

// compressed gives a directory the attribute that its new files inherit.
func compressed(t testing.TB, dir string) {
	t.Helper()
	if err := unix.Setxattr(dir, xattrAttrib, []byte{0, 0, 8, 0}, 0); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("getfattr", "-e", "hex", "-n", xattrAttrib, dir).CombinedOutput(); err != nil || !strings.Contains(string(out), "8") {
		t.Fatalf("%v: %s", err, out)
	}
}

// smallKinds are images for mutants.
var smallKinds = [][]string{{"-c", "512"}, {"-c", "4096"}, {"-s", "4096", "-c", "4096"}}

// TestMutants opens 2,040 damaged images, or as many of each kind as
// HOLDFAST_CAMPAIGN says.
func TestMutants(t *testing.T) {
	for i, args := range smallKinds {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			guesttest.Mutate(t, smallImage(t, args...), open, guesttest.Rounds(t, 680), uint64(i))
		})
	}
}

// TestTruncated opens images that end early.
func TestTruncated(t *testing.T) {
	guesttest.Truncate(t, smallImage(t, "-c", "4096"), open, 100)
}

// FuzzReader changes what the reader reads.
func FuzzReader(f *testing.F) {
	guesttest.Fuzz(f, smallImage(f, "-c", "512"), open)
}
