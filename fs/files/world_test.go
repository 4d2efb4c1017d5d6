package files

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/volume"
)

const partSize = 8 << 20

// tree is what a filesystem holds: paths to contents; a path that ends in a
// slash is a directory, a content that begins with "->" a link's target.
type tree map[string]string

// partition is one with an ext4 filesystem.
type partition struct {
	label, uuid string
	files       tree
}

// gptDisk makes a disk of partitions without root.
func gptDisk(t testing.TB, name string, parts ...partition) volume.Disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	script := "label: gpt\nunit: sectors\n"
	for range parts {
		script += "size=16384\n" // of 512 bytes: partSize
	}
	if err := os.WriteFile(path, make([]byte, (len(parts)+1)*partSize+2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", path)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, p := range parts {
		b, err := os.ReadFile(ext4(t, p))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(b, 1<<20+int64(i)*partSize); err != nil {
			t.Fatal(err)
		}
	}
	return volume.Disk{Name: name, Volume: guesttest.OpenFile(t, path)}
}

// ext4 makes a filesystem of a tree.
func ext4(t testing.TB, p partition) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range p.files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, at)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(at, 0o755)
		} else {
			err = os.WriteFile(at, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"mkfs.ext4", "-q", "-F", "-O", "^has_journal,^metadata_csum", "-L", p.label, "-d", dir}
	if p.uuid != "" {
		args = append(args, "-U", p.uuid)
	}
	return guesttest.Mkfs(t, partSize, args...)
}

// look finds what lies in the disks.
func look(t testing.TB, disks ...volume.Disk) *Found {
	t.Helper()
	f, err := New(nil, nil).look(context.Background(), disks)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func space(t testing.TB, disks ...volume.Disk) *Space {
	t.Helper()
	s, err := look(t, disks...).Space(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// read returns the content of a file, or the error.
func read(s *Space, path string) string {
	ctx := context.Background()
	text, err := s.text(ctx, path, 1<<20)
	if err != nil {
		return "error: " + err.Error()
	}
	return text
}

// names lists a directory.
func names(t testing.TB, s *Space, path string) string {
	t.Helper()
	ctx := context.Background()
	p, err := s.Resolve(ctx, path, true)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	err = s.ReadDir(ctx, p, 0, func(e Entry) bool {
		if e.Name != "lost+found" {
			list = append(list, e.Name)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, " ")
}
