package files

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/volume"
)

// kernelTree is a filesystem of all kinds of files, and where the kernel has it.
func kernelTree(t *testing.T) (s *Space, dir string) {
	t.Helper()
	image := guesttest.Mkfs(t, 48<<20, "mkfs.ext4", "-q", "-F")
	guesttest.Mounted(t, image, func(dir string) {
		guesttest.PopulateFew(t, dir, 7)
		run(t, dir, `mkdir -p etc && echo "/dev/vda / ext4" > etc/fstab && cp /bin/true suid && chmod 6755 suid && mknod null c 1 3 && mkfifo pipe &&
setcap cap_net_raw+ep suid 2>/dev/null || setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 suid
ln suid etc/suid2 && truncate -s 30M sparse && echo x | dd of=sparse bs=1 seek=20000000 conv=notrunc status=none`)
	})
	dir, unmount := guesttest.Mount(t, image, "ro")
	t.Cleanup(unmount)
	return space(t, volume.Disk{Name: "vda", Volume: guesttest.OpenFile(t, image)}), dir
}

func run(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func extract(t *testing.T, s *Space, from, dir, name string, o ExtractOptions) Extracted {
	t.Helper()
	p, err := s.Resolve(context.Background(), from, false)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Extract(context.Background(), p, dir, name, o)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// lookAll tells everything of a tree that a copy must keep.
const lookAll = `find . -mindepth 1 ! -name lost+found \( -type d -printf '%p|d|%m|%U|%G|%T@\n' -o -printf '%p|%y|%m|%U|%G|%s|%n|%T@|%l\n' \) | sort
find . -type f -print0 | sort -z | xargs -0 sha256sum
getfattr -R -h -d -m - -e hex . | awk -v RS= '{gsub("\n"," "); print}' | sort; find . -samefile suid | sort; test $(du -k sparse | cut -f1) -lt 100`

// A copy with --privileged is what the kernel shows, in everything.
func TestExtractEqualsTheKernels(t *testing.T) {
	s, kernel := kernelTree(t)
	dir := t.TempDir()
	got := extract(t, s, "/", dir, "all", ExtractOptions{Privileged: true})
	if got.Problems > 0 || got.First != nil {
		t.Fatalf("problems: %+v", got)
	}
	want, have := run(t, kernel, lookAll), run(t, filepath.Join(dir, "all"), lookAll)
	if want != have {
		t.Errorf("the copy differs:\n%s", run(t, dir, "diff <(cd "+kernel+"; "+lookAll+") <(cd all; "+lookAll+") | head -20; true"))
	}
	if got.Bytes > 25<<20 || got.Skipped > 0 || got.Links == 0 || got.Others == 0 {
		t.Errorf("counted %+v", got)
	}
}

// Without it nothing of the guest acts here.
func TestExtractLeavesPrivilegesOut(t *testing.T) {
	s, _ := kernelTree(t)
	dir := t.TempDir()
	got := extract(t, s, "/", dir, "all", ExtractOptions{})
	out := run(t, filepath.Join(dir, "all"), `stat -c '%a' suid etc/suid2; find . -type c -o -type b; getfattr -h -d -m security.capability suid; find . -type f -perm /6000`)
	if out != "755\n755\n" || got.Skipped == 0 {
		t.Errorf("left: %q, %+v", out, got)
	}
}

// One file, its link by itself, and what is refused.
func TestExtractOne(t *testing.T) {
	s := space(t, gptDisk(t, "vda", partition{"", "", tree{"etc/fstab": "/dev/sda1 / ext4\n", "empty": "", "link": "->/etc/fstab", "dir/x": "y"}}))
	dir := t.TempDir()
	extract(t, s, "/etc/fstab", dir, "one", ExtractOptions{})
	extract(t, s, "/empty", dir, "empty", ExtractOptions{})
	extract(t, s, "/link", dir, "link", ExtractOptions{})
	if got := run(t, dir, "cat one; wc -c <empty; readlink link"); got != "/dev/sda1 / ext4\n0\n/etc/fstab\n" {
		t.Errorf("got %q", got)
	}
	p := s.Root()
	for name, want := range map[string]error{"one": os.ErrExist, "link": os.ErrExist, "..": errName, "a/b": errName, "": errName} {
		if _, err := s.Extract(context.Background(), p, dir, name, ExtractOptions{}); !errors.Is(err, want) {
			t.Errorf("to %q: %v, want %v", name, err, want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Extract(ctx, p, dir, "never", ExtractOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A directory that holds a link and a directory of one name: what is in the
// second must not go where the first leads.
func TestExtractStaysInside(t *testing.T) {
	outside := t.TempDir()
	image := ext4(t, partition{"", "", tree{"etc/fstab": "/dev/vda / ext4\n", "d/aaaa": "->" + outside, "d/aaab/evil": "x", "d/up": "->..", "d/uq/evil2": "x"}})
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("aaab")) {
		t.Fatal("no such name in the image")
	}
	b = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("aaab"), []byte("aaaa")), []byte("\x02\x02uq"), []byte("\x02\x02up"))
	if err := os.WriteFile(image, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s := space(t, volume.Disk{Name: "vda", Volume: guesttest.OpenFile(t, image)})
	dir := t.TempDir()
	var told []string
	got := extract(t, s, "/", dir, "copy", ExtractOptions{Problem: func(path string, err error) { told = append(told, path) }})
	if got.Problems != 2 || strings.Join(told, " ") == "" {
		t.Errorf("%+v, told %q", got, told)
	}
	if found := run(t, outside, "find . | wc -l"); found != "1\n" {
		t.Errorf("something was written outside: %s", run(t, outside, "find ."))
	}
	if found := run(t, dir, "find . -name 'evil*'"); found != "" {
		t.Errorf("written through a link: %s", found)
	}
}
