package files

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/regf"
	"holdfast/fs/guest/volume"
)

// partitioned puts volumes of 16 MiB into a table that sfdisk makes of a script.
// An image is a path, and behind a blank what sfdisk is told of its partition.
func partitioned(t *testing.T, name, script string, images ...string) volume.Disk {
	t.Helper()
	const size = 16 << 20
	path := filepath.Join(t.TempDir(), name)
	b := make([]byte, int64(len(images))*size+2<<20)
	for i, image := range images {
		image, fields, _ := strings.Cut(image, " ")
		content, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		copy(b[1<<20+i*size:], content)
		script += "\nsize=32768" + fields
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", path)
	cmd.Stdin = strings.NewReader(script + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	return volume.Disk{Name: name, Volume: guesttest.OpenFile(t, path)}
}

// bytesOf is binary data as hivexsh takes it.
func bytesOf(hexed string) string {
	var pairs []string
	for i := 0; i < len(hexed); i += 2 {
		pairs = append(pairs, hexed[i:i+2])
	}
	return "hex:3:" + strings.Join(pairs, ",")
}

// hive makes the registry of a guest that gives these letters.
func hive(t *testing.T, given map[string]string) string {
	script := fmt.Sprintf("add MountedDevices\ncd MountedDevices\nsetval %d\n", len(given))
	for name, data := range given {
		script += name + "\n" + bytesOf(data) + "\n"
	}
	return guesttest.Hive(t, script)
}

// A guest's disks come in any order; its registry tells the letters: of
// partitions of an MBR and of a GPT, of one that is gone and of a CD drive.
func TestLettersOfTheRegistry(t *testing.T) {
	const guid = "01020304-0506-0708-090a-0b0c0d0e0f10"
	registry := hive(t, map[string]string{
		`\DosDevices\C:`: "78563412" + "0000100000000000", `\DosDevices\e:`: "78563412" + "0000100200000000",
		`\DosDevices\Q:`: hex.EncodeToString([]byte("DMIO:ID:")) + "0403020106050807090a0b0c0d0e0f10",
		`\DosDevices\G:`: "efbeadde" + "0000100000000000", `\DosDevices\H:`: hex.EncodeToString([]byte(`_\x00?\x00?\x00_\x00I\x00D\x00E`)),
		`\??\Volume{0}`: "78563412" + "0000100000000000",
	})
	system := ntfs(t, "mkdir -p Windows/System32/Config && cp "+registry+" Windows/System32/Config/SYSTEM && echo c > is")
	old, data, other := ntfs(t, "echo e > is"), ntfs(t, "echo q > is"), ntfs(t, "echo none > is")
	gpt := partitioned(t, "one", "label: gpt", data+" ,uuid="+guid, other)
	mbr := partitioned(t, "two", "label: dos\nlabel-id: 0x12345678", system, other, old)
	s := space(t, gpt, mbr)
	if got := names(t, s, "/"); got != "C E Q" {
		t.Fatalf("drives %q, mounts %+v, notes %q", got, s.Mounts, s.Notes)
	}
	for letter, want := range map[string]string{"C": "c\n", "E": "e\n", "Q": "q\n"} {
		if got := read(s, "/"+letter+"/is"); got != want {
			t.Errorf("%s is %q", letter, got)
		}
	}
	notes := strings.Join(s.Notes, "\n")
	if notes != "one/p2 has no letter\ntwo/p2 has no letter" {
		t.Errorf("notes %q", notes)
	}
	gone := s.Mounts[2]
	if gone.Path != "/G" || gone.Source != "byte 1048576 of disk deadbeef" || gone.Problem != errNoVolume.Error() {
		t.Errorf("a drive that is gone: %+v", gone)
	}
}

// A registry that says nothing, one that is no hive, and one that does not know
// the volume it lies on.
func TestLettersInDoubt(t *testing.T) {
	for _, c := range []struct{ config, want, note string }{
		{"echo no hive > Windows/System32/config/SYSTEM", "C D", "in the order of the volumes"},
		{"cp " + hive(t, nil) + " Windows/System32/config/SYSTEM", "C D", "in the order of the volumes"},
		{"cp " + hive(t, map[string]string{`\DosDevices\C:`: "785634120000100100000000"}) + " Windows/System32/config/SYSTEM", "C D", "no letter of the volume that holds it"},
		{"mkdir Windows/System32/config/SYSTEM", "C D", "in the order of the volumes"},
	} {
		system := ntfs(t, "mkdir -p Windows/System32/config && "+c.config)
		s := space(t, partitioned(t, "one", "label: dos\nlabel-id: 0x12345678", system, ntfs(t, "echo other > is")))
		if got := names(t, s, "/"); got != c.want || !strings.Contains(strings.Join(s.Notes, "\n"), c.note) {
			t.Errorf("%s: %q, %q", c.config, got, s.Notes)
		}
	}
}

func TestParseAssigned(t *testing.T) {
	for _, name := range []string{"", `\DosDevices\`, `\DosDevices\C`, `\DosDevices\CC:`, `\DosDevices\1:`, `\DosDevices\ä`, `\??\Volume{}`} {
		if a, ok := parseAssigned(regf.Value{Name: name, Data: make([]byte, 12)}); ok {
			t.Errorf("%q is %+v", name, a)
		}
	}
	for n := range 40 {
		_, ok := parseAssigned(regf.Value{Name: `\DosDevices\C:`, Data: append([]byte(guidMark), make([]byte, n)...)})
		if ok != (n == 16 || n == 4) {
			t.Errorf("%d bytes: %v", n+8, ok)
		}
	}
}
