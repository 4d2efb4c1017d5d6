package qcow2_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/capture/source"
	"holdfast/capture/source/image"
	"holdfast/capture/source/sourcetest"
)

// open opens an image as a capture does and closes it with the test.
func open(t testing.TB, path string, opts source.Options) *source.Opened {
	t.Helper()
	d, err := image.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// judge gives the bytes that qemu sees in an image.
func judge(t testing.TB, path string) []byte {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "judge.raw")
	sourcetest.Qemu(t, "qemu-img", "convert", "-t", "unsafe", "-f", "qcow2", "-O", "raw", path, raw)
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var sizes = []int64{512, 3<<20 + 512, 9<<20 - 1024}

// TestConverted reads all that qemu-img convert makes of the same guests.
func TestConverted(t *testing.T) {
	dir := t.TempDir()
	for i, size := range sizes {
		guest := sourcetest.Guest(size, uint64(i))
		raw := sourcetest.WriteFile(t, dir, "guest.raw", guest)
		for _, options := range convertOptions() {
			for _, compress := range []bool{false, true} {
				if compress && strings.Contains(options, "preallocation") || !compress && strings.Contains(options, "zstd") {
					continue
				}
				if i == 2 && !strings.Contains(options, "cluster_size=512") {
					continue // the large guest is for many L2 tables
				}
				t.Run(fmt.Sprintf("%d,%s,c=%t", size, options, compress), func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "x.img")
					args := []string{"convert", "-t", "unsafe", "-f", "raw", "-O", "qcow2", "-o", options, raw, path}
					if compress {
						args = append(args, "-c")
					}
					sourcetest.Qemu(t, "qemu-img", args...)
					d := open(t, path, source.Options{})
					if d.Format != "qcow2" || len(d.Files) != 1 || len(d.Notices) != 0 {
						t.Fatalf("opened %+v", d)
					}
					sourcetest.CheckBytes(t, d, guest)
				})
			}
		}
	}
}

func convertOptions() []string {
	list := []string{"compat=0.10", "compat=0.10,cluster_size=4k"}
	for _, mode := range []string{"off", "metadata", "falloc", "full"} {
		list = append(list, "preallocation="+mode)
	}
	for _, cluster := range []string{"512", "1k", "4k", "16k", "64k", "256k", "2M"} {
		list = append(list, "cluster_size="+cluster, "compression_type=zstd,cluster_size="+cluster)
	}
	for _, cluster := range []string{"16k", "64k", "2M"} {
		list = append(list, "extended_l2=on,cluster_size="+cluster, "extended_l2=on,compression_type=zstd,cluster_size="+cluster)
	}
	return append(list, "extended_l2=on,preallocation=metadata")
}

// TestDataFile reads images whose clusters lie in another file.
func TestDataFile(t *testing.T) {
	sourcetest.CheckClosed(t)
	guest := sourcetest.Guest(3<<20+512, 7)
	raw := sourcetest.WriteFile(t, t.TempDir(), "guest.raw", guest)
	for i, options := range []string{"", ",data_file_raw=on", ",cluster_size=512", ",extended_l2=on"} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			dir := t.TempDir()
			path, data := filepath.Join(dir, "x.qcow2"), filepath.Join(dir, "x.data")
			sourcetest.Qemu(t, "qemu-img", "convert", "-t", "unsafe", "-f", "raw", "-O", "qcow2", "-o", "data_file="+data+options, raw, path)
			d := open(t, path, source.Options{})
			if len(d.Files) != 2 || d.Files[1] != data {
				t.Fatalf("files %q", d.Files)
			}
			sourcetest.CheckBytes(t, d, guest)
			if err := os.Remove(data); err != nil {
				t.Fatal(err)
			}
			wantError(t, path, source.Options{}, "x.data", "missing")
		})
	}
}

// TestSnapshots ignores internal snapshots, with a notice.
func TestSnapshots(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.qcow2")
	sourcetest.Qemu(t, "qemu-img", "create", "-f", "qcow2", path, "1M")
	sourcetest.Qemu(t, "qemu-io", "-t", "unsafe", "-c", "write -P 1 0 128k", path)
	sourcetest.Qemu(t, "qemu-img", "snapshot", "-c", "before", path)
	sourcetest.Qemu(t, "qemu-io", "-t", "unsafe", "-c", "write -P 2 64k 4k", path)
	d := open(t, path, source.Options{})
	if len(d.Notices) != 1 || !strings.Contains(d.Notices[0], "1 internal snapshots are ignored") {
		t.Errorf("notices %q", d.Notices)
	}
	sourcetest.CheckBytes(t, d, judge(t, path))
}

// wantError opens an image that must be refused with all the words.
func wantError(t testing.TB, path string, opts source.Options, words ...string) error {
	t.Helper()
	d, err := image.Open(path, opts)
	if err == nil {
		d.Close()
		t.Fatalf("%s opened, want an error with %q", path, words)
	}
	for _, w := range append(words, filepath.Base(path)) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q lacks %q", err, w)
		}
	}
	return err
}
