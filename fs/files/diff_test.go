package files

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/volume"
)

func changes(t *testing.T, old, new *Space) []string {
	t.Helper()
	var got []string
	fail := func(path string, err error) error { return fmt.Errorf("%s: %w", path, err) }
	d := Differ{Old: old, New: new, Problem: fail, Report: func(c Change) error {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Kind, c.Path, strings.Join(c.What, ","))))
		return nil
	}}
	if err := d.Diff(context.Background(), old.Root(), new.Root()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	return got
}

func TestDiff(t *testing.T) {
	base := `mkdir -p etc d/e keep && echo "/dev/vda / ext4" > etc/fstab && echo one > same && echo aaa > content && echo mode > mode && echo o > owner &&
ln -s a link && echo x > d/e/gone && echo f > totype && mkdir todir fromdir && echo in > fromdir/in && echo attr > attr && mknod dev c 1 3 && touch "odd
name" && echo moved > moved &&
echo 11 > again && echo 22 > sly && touch -d '2002-02-02' sly`
	image := guesttest.Mkfs(t, 16<<20, "mkfs.ext4", "-q", "-F")
	guesttest.Mounted(t, image, func(dir string) { run(t, dir, base) })
	later := guesttest.Copy(t, image)
	guesttest.Mounted(t, later, func(dir string) {
		run(t, dir, `echo bbb > content && touch -d '2001-01-01' content && chmod 600 mode && chown 5:6 owner && ln -sfn b link && rm -r d/e && mkdir new &&
echo n > new/file && rm totype && mkdir totype && echo deep > totype/deep && rm -r fromdir && echo file > fromdir && setfattr -n user.x -v y attr &&
rm dev && mknod dev c 1 5 && mv moved moved2 && cp -a same copy && touch -r same copy && mv copy same &&
echo 11 > again && touch -d '2003-03-03' again && echo 33 > sly && touch -d '2002-02-02' sly && echo new > "$(printf 'b\303\244\377')"`)
	})
	open := func(path string) *Space {
		return space(t, volume.Disk{Name: "vda", Volume: guesttest.OpenFile(t, path)})
	}
	old, now := open(image), open(later)
	want := []string{
		"added b\xc3\xa4\xff", "added moved2", "added new", "added new/file", "added totype/deep",
		"changed again mtime", "changed attr xattrs", "changed content content,mtime", "changed dev device,mtime", "changed fromdir type", "changed link target,mtime",
		"changed mode mode", "changed owner owner", "changed sly content", "changed totype type",
		"removed d/e", "removed d/e/gone", "removed fromdir/in", "removed moved",
	}
	slices.Sort(want)
	if got := changes(t, old, now); !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	for i := range want { // the other way round, what is added is removed
		if strings.HasPrefix(want[i], "added ") {
			want[i] = "removed " + want[i][6:]
		} else if strings.HasPrefix(want[i], "removed ") {
			want[i] = "added " + want[i][8:]
		}
	}
	slices.Sort(want)
	if got := changes(t, now, old); !slices.Equal(got, want) {
		t.Errorf("back:\n%q\nwant\n%q", got, want)
	}
	if got := changes(t, old, open(image)); got != nil {
		t.Errorf("a tree differs from itself: %q", got)
	}
}

// A walk of a tree meets what find meets.
func TestWalk(t *testing.T) {
	s, kernel := kernelTree(t)
	var got []string
	m := Match{Name: "*[0-9]", AtLeast: 100, Below: 100000}
	w := Walker{Space: s, Problem: func(path string, err error) error { return err }, Visit: func(f File) (bool, error) {
		if m.Fits(f) {
			got = append(got, f.Path)
		}
		return true, nil
	}}
	if err := w.Walk(context.Background(), s.Root()); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("find", kernel, "-mindepth", "1", "-name", "*[0-9]", "-size", "+99c", "-size", "-100000c", "-printf", "%P\\0").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(want) < 4 {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestHistory(t *testing.T) {
	var h History
	file := func(path string, size int64) File {
		f := File{Path: path}
		f.Attr.Size = size
		return f
	}
	h.Add(0, "v0", file("a", 1))
	h.Add(1, "v1", file("a", 1))
	h.Add(1, "v1", file("b", 1))
	h.Repeat(2, "v2")
	h.Add(3, "v3", file("a", 2))
	h.Add(5, "v5", file("a", 2))
	var got []string
	for _, tr := range h.Tracks() {
		for _, s := range tr.States {
			got = append(got, fmt.Sprintf("%s %d %s-%s %d", tr.Path, s.Attr.Size, s.First, s.Last, s.Versions))
		}
	}
	if want := []string{"a 1 v0-v2 3", "a 2 v3-v3 1", "a 2 v5-v5 1", "b 1 v1-v2 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
