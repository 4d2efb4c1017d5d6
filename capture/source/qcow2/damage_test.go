package qcow2_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"holdfast/capture/source"
	"holdfast/capture/source/image"
	"holdfast/capture/source/sourcetest"
)

func openForced(path string) (*source.Opened, error) {
	return image.Open(path, source.Options{Format: "qcow2"})
}

// samples are small images with all kinds of clusters, and their guests.
func samples(t testing.TB) (paths []string, guests [][]byte) {
	t.Helper()
	dir := t.TempDir()
	for i, s := range []struct {
		options, compress string
		size              int64
	}{
		{"cluster_size=512", "", 5 << 10},
		{"cluster_size=512", "-c", 40 << 10},
		{"cluster_size=1k,compression_type=zstd", "-c", 40 << 10},
		{"cluster_size=512,compat=0.10", "", 3 << 10},
		{"cluster_size=16k,extended_l2=on", "", 50 << 10},
	} {
		guest := sourcetest.Guest(s.size, uint64(i))
		raw := sourcetest.WriteFile(t, dir, "raw", guest)
		path := filepath.Join(dir, fmt.Sprintf("sample%d", i))
		args := []string{"convert", "-t", "unsafe", "-O", "qcow2", "-f", "raw", "-o", s.options, raw, path}
		if s.compress != "" {
			args = append(args, s.compress)
		}
		sourcetest.Qemu(t, "qemu-img", args...)
		paths, guests = append(paths, path), append(guests, guest)
	}
	return paths, guests
}

func TestTruncated(t *testing.T) {
	paths, guests := samples(t)
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		step := int64(1)
		if info.Size() > 32<<10 {
			step = 61 // a prime, so that all places in a sector come up
		}
		sourcetest.CheckTruncated(t, path, step, guests[i], func() (*source.Opened, error) { return openForced(path) })
	}
}

func TestMutated(t *testing.T) {
	paths, _ := samples(t)
	for _, path := range paths {
		sourcetest.CheckMutated(t, path, sourcetest.Rounds(t, 500), func() (*source.Opened, error) { return openForced(path) })
	}
}

func FuzzOpen(f *testing.F) {
	paths, _ := samples(f)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	sourcetest.Fuzz(f, openForced)
}
