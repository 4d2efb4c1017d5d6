package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func halfOf(t *testing.T, size int64, number uint64) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "half.raw")
	if err := makeHalf(path, size, number); err != nil {
		t.Fatal(err)
	}
	return []byte(readFile(t, path))
}

// The disk is the same on every machine and for ever: figures are compared by it.
func TestHalfDiskIsFixed(t *testing.T) {
	const want = "6200d0eafac6bfd046faff7055dfbee5f2a74f47058b95ec5b990e22768513e0"
	sum := sha256.Sum256(halfOf(t, 2<<20+1, 0))
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("sha256 %s, want %s", got, want)
	}
}

func TestHalfDiskAtEdges(t *testing.T) {
	whole := halfOf(t, 2*halfBlock, 0)
	for _, size := range []int64{1, noiseRun - 1, noiseRun, noiseRun + 1, noiseRun + matchRun, halfBlock - 1, halfBlock, halfBlock + 1} {
		if got := halfOf(t, size, 0); !bytes.Equal(got, whole[:size]) {
			t.Errorf("the first %d bytes differ with the size", size)
		}
	}
	if bytes.Equal(whole, halfOf(t, 2*halfBlock, 1)) {
		t.Error("disks of two numbers are the same")
	}
}

func TestHalfDiskCompressesToAHalf(t *testing.T) {
	disk, seen, stored := halfOf(t, 4<<20, 0), map[string]bool{}, 0
	enc, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	for chunk := range slices.Chunk(disk, chunkSize) {
		stored += len(enc.EncodeAll(chunk, nil))
	}
	if share := float64(stored) / float64(len(disk)); share < 0.4 || share > 0.6 {
		t.Errorf("it compresses to %.2f", share)
	}
	for block := range slices.Chunk(disk, blockSize) {
		if seen[string(block)] {
			t.Fatal("a block is there twice")
		}
		seen[string(block)] = true
	}
}

func TestOverwriteShare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := makeHalf(path, 32<<20, 0); err != nil {
		t.Fatal(err)
	}
	before := []byte(readFile(t, path))
	places, err := overwriteShare(path, [][2]int64{{4 << 20, 16 << 20}}, 0.25, 1)
	if err != nil {
		t.Fatal(err)
	}
	after, changed := []byte(readFile(t, path)), int64(0)
	for off := int64(0); off < 32<<20; off += changeRun {
		if !bytes.Equal(before[off:off+changeRun], after[off:off+changeRun]) {
			changed += changeRun
			if off < 4<<20 || off >= 20<<20 {
				t.Errorf("the run at %d is outside of the extent", off)
			}
		}
	}
	if n := int64(len(places)) * changeRun; changed != n || n < 2<<20 || n > 6<<20 {
		t.Errorf("changed %d, said %d places, want about %d", changed, len(places), 4<<20)
	}
}

func TestRandomPlaces(t *testing.T) {
	extents := [][2]int64{{0, 100}, {8192, 4096}, {65536, 3*4096 + 1}, {1 << 20, 4095}}
	allowed := []int64{8192, 65536, 65536 + 4096, 65536 + 8192}
	places := randomPlaces(extents, 200, 3)
	for _, p := range places {
		if !slices.Contains(allowed, p) {
			t.Fatalf("place %d is not a whole block of data", p)
		}
	}
	for _, p := range allowed {
		if !slices.Contains(places, p) {
			t.Errorf("place %d never comes", p)
		}
	}
	if !slices.Equal(places, randomPlaces(extents, 200, 3)) || slices.Equal(places, randomPlaces(extents, 200, 4)) {
		t.Error("places are not a function of the round")
	}
}

func TestEveryPlaceOnce(t *testing.T) {
	places := everyPlace(8192, 64*blockSize, 5)
	if slices.IsSorted(places) {
		t.Error("the order is not random")
	}
	slices.Sort(places)
	for i, p := range places {
		if p != 8192+int64(i)*blockSize {
			t.Fatalf("place %d is %d", i, p)
		}
	}
}

func TestInRegions(t *testing.T) {
	got := inRegions([][2]int64{{regionSize - 10, 20}, {4 * regionSize, 2 * regionSize}, {9 * regionSize, 1}})
	want := [][2]int64{{regionSize - 10, 10}, {regionSize, 10}, {4 * regionSize, regionSize}, {5 * regionSize, regionSize}, {9 * regionSize, 1}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"1": 1, "7KiB": 7 << 10, "256MiB": 256 << 20, "8GiB": 8 << 30} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0", "-1", "GiB", "8GB", "9999999999GiB", "1.5GiB"} {
		if n, err := parseSize(s); err == nil {
			t.Errorf("%q is %d", s, n)
		}
	}
}
