package files

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/capture"
	"holdfast/capture/source"
	"holdfast/capture/source/image"
	"holdfast/chunkstore"
	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/disk"
	"holdfast/fs/guest/guesttest"
)

// captured makes a version of each image in a store, and returns their files.
func captured(t *testing.T, cut capture.Cutter, images ...string) (spaces []*Space) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := chunkstore.Create(dir, chunkstore.CreateOptions{NoParity: true}); err != nil {
		t.Fatal(err)
	}
	s, err := chunkstore.Open(dir, chunkstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	chunks, err := cache.New(s, cache.Options{Bytes: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(chunks.Close)
	opener := New(chunks, disk.NewMaps(s, 0))
	for i, path := range images {
		src, err := image.Open(path, source.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, err := capture.Run(t.Context(), s, capture.Options{VM: "web", At: time.Unix(int64(1e9+i), 0), Cutter: cut, Disks: []capture.Input{{Name: "vda", Path: path, Source: src}}})
		src.Close()
		if err != nil {
			t.Fatal(err)
		}
		f, err := opener.Find(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		space, err := f.Space(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		spaces = append(spaces, space)
	}
	return spaces
}

// diffOf lists the changes and tells how many bytes of data were read.
func diffOf(t *testing.T, old, new *Space) (list []string, d Differ) {
	t.Helper()
	d = Differ{Old: old, New: new, Problem: func(path string, err error) error { return fmt.Errorf("%s: %w", path, err) }}
	d.Report = func(c Change) error {
		list = append(list, fmt.Sprintf("%s %s %s", c.Kind, c.Path, strings.Join(c.What, ",")))
		return nil
	}
	if err := d.Diff(context.Background(), old.Root(), new.Root()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list, d
}

// What changed is told by the maps: no data are read for files that were touched,
// moved on the disk, grown or changed in the middle or in a last block that ends
// with the file; for others no more than their last chunk.
func TestDiffReadsNoData(t *testing.T) {
	first := guesttest.Mkfs(t, 64<<20, "mkfs.ext4", "-q", "-F")
	guesttest.Mounted(t, first, func(dir string) {
		run(t, dir, `mkdir etc && echo "/dev/vda / ext4" > etc/fstab && for f in touched moved middle; do head -c 3000100 /dev/urandom > $f; done
head -c 8192 /dev/urandom > aligned && echo small > grown && head -c 1000 /dev/urandom > copied && cp middle tail && truncate -s 5M sparse && echo x | dd of=sparse seek=3000 bs=1k status=none`)
	})
	second := guesttest.Copy(t, first)
	guesttest.Mounted(t, second, func(dir string) {
		run(t, dir, `touch touched sparse && cp moved m && sync && mv m moved && cp copied c && mv c copied && echo more >> grown
printf X | dd of=middle bs=1 seek=1500000 conv=notrunc status=none && printf XYZ | dd of=aligned bs=1 seek=5000 conv=notrunc status=none`)
	})
	third := guesttest.Copy(t, second)
	guesttest.Mounted(t, third, func(dir string) {
		run(t, dir, `printf XYZ | dd of=tail bs=1 seek=3000090 conv=notrunc status=none`)
	})
	s := captured(t, nil, first, second, third)
	got, d := diffOf(t, s[0], s[1])
	want := []string{"changed aligned content,mtime", "changed copied mtime", "changed grown content,mtime", "changed middle content,mtime", "changed moved mtime",
		"changed sparse mtime", "changed touched mtime"}
	if !slices.Equal(got, want) || d.Read != 0 || d.Proved != 4 {
		t.Errorf("%d bytes read, %d proved, %q", d.Read, d.Proved, got)
	}
	got, d = diffOf(t, s[1], s[2])
	if !slices.Equal(got, []string{"changed tail content,mtime"}) || d.Read == 0 || d.Read > 2*65536 {
		t.Errorf("%d bytes read, %q", d.Read, got)
	}
	if got, d = diffOf(t, s[0], s[0]); len(got) != 0 || d.Read != 0 {
		t.Errorf("a tree and itself: %d bytes read, %q", d.Read, got)
	}
	// On the grid chunks don't begin with files: what was moved must be read.
	g := captured(t, capture.Grid{}, first, second)
	if got, d = diffOf(t, g[0], g[1]); !slices.Equal(got, want) || d.Read == 0 {
		t.Errorf("on the grid: %d bytes read, %q", d.Read, got)
	}
}
