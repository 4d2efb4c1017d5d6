package qcow2_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/capture/source"
	"holdfast/capture/source/sourcetest"
)

// TestChains makes chains of three images of random kinds and sizes, writes,
// zeroes and discards at random in each, and compares with qemu.
func TestChains(t *testing.T) {
	for seed := range sourcetest.Rounds(t, 12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(seed), 5))
			dir := t.TempDir()
			top := makeBase(t, rnd, dir)
			for layer := 1; layer <= 2; layer++ {
				top = makeOverlay(t, rnd, dir, top, layer)
			}
			d := open(t, filepath.Join(dir, top), source.Options{})
			if len(d.Files) != 3 {
				t.Errorf("files %q", d.Files)
			}
			sourcetest.CheckBytes(t, d, judge(t, filepath.Join(dir, top)))
		})
	}
}

// randomSize is odd in sectors as often as not.
func randomSize(rnd *rand.Rand) int64 { return 512 * (1 + rnd.Int64N(1<<uint(1+rnd.IntN(14)))) }

// makeBase makes the lowest image in a random format.
func makeBase(t *testing.T, rnd *rand.Rand, dir string) string {
	t.Helper()
	guest := sourcetest.WriteFile(t, dir, "guest.raw", sourcetest.Guest(randomSize(rnd), rnd.Uint64()))
	format := []string{"raw", "qcow2", "vmdk", "vhdx"}[rnd.IntN(4)]
	sourcetest.Qemu(t, "qemu-img", "convert", "-t", "unsafe", "-f", "raw", "-O", format, guest, filepath.Join(dir, "base"))
	return "base " + format
}

// makeOverlay makes an image over "name format" and writes into it.
func makeOverlay(t *testing.T, rnd *rand.Rand, dir, under string, layer int) string {
	t.Helper()
	var name, format string
	if _, err := fmt.Sscan(under, &name, &format); err != nil {
		format, name = "qcow2", under
	}
	path := filepath.Join(dir, fmt.Sprintf("layer%d", layer))
	kind := overlays[rnd.IntN(len(overlays))]
	size := randomSize(rnd)
	sourcetest.Qemu(t, "qemu-img", "create", "-f", "qcow2", "-o", kind.options, "-F", format, "-b", name, path, fmt.Sprint(size))
	args := []string{"-d", "unmap", "-t", "unsafe"}
	for range 1 + rnd.IntN(25) {
		args = append(args, "-c", randomWrite(rnd, size, kind.cluster))
	}
	// Compressed writes fail onto allocated clusters; the judge sees what went.
	if out, err := exec.Command("qemu-io", append(args, path)...).CombinedOutput(); err != nil && !strings.Contains(string(out), "write failed") {
		t.Fatalf("qemu-io %q: %v\n%s", args, err, out)
	}
	return filepath.Base(path)
}

var overlays = []struct {
	options string
	cluster int64
}{
	{"cluster_size=512", 512},
	{"cluster_size=4k", 4 << 10},
	{"cluster_size=64k", 64 << 10},
	{"cluster_size=2M", 2 << 20},
	{"compat=0.10", 64 << 10},
	{"extended_l2=on,cluster_size=16k", 16 << 10},
	{"extended_l2=on", 64 << 10},
	{"extended_l2=on,compression_type=zstd", 64 << 10},
	{"compression_type=zstd,cluster_size=4k", 4 << 10},
}

// randomWrite is one command of qemu-io inside of a disk of size bytes.
func randomWrite(rnd *rand.Rand, size, cluster int64) string {
	off := rnd.Int64N(size/512) * 512
	n := min(512*(1+rnd.Int64N(1<<uint(rnd.IntN(10)))), size-off)
	what := rnd.IntN(6)
	if what == 3 && cluster == 512 {
		what = 4 // qemu 7.2 corrupts images of such clusters when it discards compressed ones
	}
	switch what {
	case 0:
		return fmt.Sprintf("write -z %d %d", off, n)
	case 1:
		return fmt.Sprintf("write -z -u %d %d", off, n)
	case 2:
		return fmt.Sprintf("discard %d %d", off, n)
	case 3: // compressed clusters are written whole
		off -= off % cluster
		return fmt.Sprintf("write -c -P %d %d %d", 1+rnd.IntN(255), off, min(cluster, size-off))
	}
	return fmt.Sprintf("write -P %d %d %d", 1+rnd.IntN(255), off, n)
}

// TestSubclusters writes and zeroes parts of clusters over a base without any
// zeros, with plain and with extended L2 entries.
func TestSubclusters(t *testing.T) {
	for i, options := range []string{"extended_l2=on", "extended_l2=on,cluster_size=16k", "cluster_size=64k", "compat=0.10"} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			dir := t.TempDir()
			sourcetest.WriteFile(t, dir, "base", bytes.Repeat([]byte{0xee}, 600<<10))
			path := filepath.Join(dir, "x")
			sourcetest.Qemu(t, "qemu-img", "create", "-f", "qcow2", "-o", options, "-F", "raw", "-b", "base", path, "1M")
			args := []string{"-d", "unmap", "-t", "unsafe"}
			for _, c := range []string{"write -P 5 10k 3k", "write -z 20k 6k", "write -z 11k 1k", "discard 40k 4k", "write -z -u 128k 256k",
				"write -P 6 130k 2k", "discard 256k 64k", "write -P 7 590k 20k", "write -z 598k 4k", "write -c -P 8 448k 64k", "write -z 450k 2k"} {
				args = append(args, "-c", c)
			}
			sourcetest.Qemu(t, "qemu-io", append(args, path)...)
			sourcetest.CheckBytes(t, open(t, path, source.Options{}), judge(t, path))
		})
	}
}
