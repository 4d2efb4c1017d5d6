package files

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/volume"
)

// A squashfs and a CD image have no reader: volumes.json names
// them and says so, their bytes are those of the disk, and the volumes beside
// them are shown as ever.
func TestNamedWithoutReader(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	squash, cd := filepath.Join(t.TempDir(), "squash"), filepath.Join(t.TempDir(), "cd")
	guesttest.Run(t, "mksquashfs", dir, squash, "-quiet", "-no-progress", "-processors", "1")
	guesttest.Run(t, "xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-V", "DRIVERS", "-o", cd, dir)
	inside, err := os.ReadFile(squash)
	if err != nil {
		t.Fatal(err)
	}

	f := look(t, gptDisk(t, "vda", partition{label: "root", files: tree{"etc/": ""}}),
		volume.Disk{Name: "vdb", Volume: guesttest.OpenFile(t, squash)}, volume.Disk{Name: "cd", Volume: guesttest.OpenFile(t, cd)})
	if len(f.Volumes) != 1 || f.Volumes[0].Name != "p1" {
		t.Errorf("%d volumes are shown", len(f.Volumes))
	}
	doc, err := f.Describe(context.Background(), func(disk, volume string) string { return disk + "/" + volume })
	if err != nil {
		t.Fatal(err)
	}
	text, err := doc.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Volumes []struct{ Name, Type, Label, State, Reason, Path string }
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	named := map[string]string{}
	for _, v := range got.Volumes {
		if v.Type == "ext4" {
			continue
		}
		named[v.Type] = v.Label
		if v.State != "unsupported" || v.Path != "" || !strings.Contains(v.Reason, "no reader") {
			t.Errorf("%+v", v)
		}
	}
	if label, ok := named["squashfs"]; len(named) != 2 || !ok || label != "" || named["iso9660"] != "DRIVERS" {
		t.Errorf("volumes.json: %s", text)
	}
	for _, v := range f.Layout.Volumes {
		if v.Type != "squashfs" {
			continue
		}
		raw := make([]byte, len(inside))
		if _, err := v.ReadAt(raw, 0); err != nil || !bytes.Equal(raw, inside) {
			t.Errorf("the volume's bytes are not the image's: %v", err)
		}
	}
}
