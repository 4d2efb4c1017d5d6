package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestFormatNames(t *testing.T) {
	for _, f := range Formats() {
		for _, name := range []string{string(f), f.Ext(), strings.ToUpper(string(f))} {
			if got, err := ParseFormat(name); got != f || err != nil {
				t.Errorf("%q: %q, %v", name, got, err)
			}
		}
	}
	for _, name := range []string{"", ".", "..raw", "vdi", "raw ", "qcow"} {
		if f, err := ParseFormat(name); err == nil {
			t.Errorf("%q: %q", name, f)
		}
	}
	if _, err := New("vdi", newDisk(512, empty, 0), testID); err == nil || errors.Is(err, ErrTooLarge) {
		t.Errorf("unknown format: %v", err)
	}
	if Supports("vdi", 1, 0) {
		t.Error("unknown format supported")
	}
}

// TestLimits: Supports and New agree at each limit and one byte after it.
func TestLimits(t *testing.T) {
	for f, limit := range map[Format]int64{Qcow2: 1 << 50, VHD: 2040 * gib, VHDX: 64 * tib, VMDK: 1 << 50} {
		for _, size := range []int64{1, limit - 1, limit, limit + 1, math.MaxInt64} {
			d := newSparseDisk(size, 1, nil)
			img, err := New(f, d, testID)
			want := size <= limit
			if Supports(f, size, 0) != want || (err == nil) != want || !want && (!errors.Is(err, ErrTooLarge) || img != nil) {
				t.Errorf("%s of %d bytes: supported %v, %v", f, size, Supports(f, size, 0), err)
			}
		}
	}
	if img, err := New(Raw, newSparseDisk(math.MaxInt64, 1, nil), testID); err != nil || img.Size() != math.MaxInt64 {
		t.Errorf("raw: %v", err)
	}
	for _, size := range []int64{0, -1, math.MinInt64} {
		for _, f := range Formats() {
			if _, err := New(f, newSparseDisk(size, 1, nil), testID); err == nil {
				t.Errorf("%s of %d bytes made", f, size)
			}
		}
	}
}

// TestVMDKOffsets: the last grain that 32-bit sectors reach, and the next.
func TestVMDKOffsets(t *testing.T) {
	for _, size := range []int64{2 * tib, 3 * tib, 64 * tib} {
		low, high := int64(0), size/int64(Grain)
		for low < high {
			if mid := low + (high-low+1)/2; Supports(VMDK, size, mid) {
				low = mid
			} else {
				high = mid - 1
			}
		}
		l := layoutVMDK(size, min(low, size/int64(Span)), low)
		if sector := (l.size - vmdkGrain) / 512; sector > math.MaxUint32 || sector < math.MaxUint32-400 {
			t.Errorf("%d bytes: the last of %d grains is at sector %d", size, low, sector)
		}
	}
	if _, err := New(VMDK, &patternDisk{size: 2 * tib, period: 1}, testID); !errors.Is(err, ErrTooLarge) {
		t.Errorf("full 2 TiB: %v", err)
	}
	if Supports(VMDK, 2*tib, math.MaxInt64) || !Supports(VMDK, tib, math.MaxInt64) {
		t.Error("grains are not clamped to the disk")
	}
}

// frozen is the start of the SHA-256 of each made-up image of one disk. It must not change:
// what a version shows is the same for ever.
var frozen = map[Format]string{
	Raw:   "2aaf70a86357807c",
	Qcow2: "8bb4426d7597832d",
	VHD:   "3ae0ddb5593ec956",
	VHDX:  "e1c8cb6fe6079cb7",
	VMDK:  "f8cfe1c65b6d8c50",
}

func TestFrozenBytes(t *testing.T) {
	d := newSparseDisk(70*mib+700, 42, []run{{100, 5000}, {3 * mib, 7*mib + 1}, {69 * mib, 70*mib + 700}})
	for f, want := range frozen {
		sum := sha256.Sum256(whole(t, makeImage(t, f, d), d))
		if got := hex.EncodeToString(sum[:8]); got != want {
			t.Errorf("%s: bytes have changed: %s, were %s", f, got, want)
		}
	}
	if len(frozen) != len(Formats()) {
		t.Errorf("%d of %d formats frozen", len(frozen), len(Formats()))
	}
}

// TestIdentity: ids and times outside a format's range still make valid files.
func TestIdentity(t *testing.T) {
	for _, at := range []time.Time{{}, time.Unix(0, 0), vhdEpoch, vhdEpoch.Add(math.MaxUint32 * time.Second), time.Unix(1<<40, 0)} {
		want := min(max(at.Unix()-946684800, 0), math.MaxUint32)
		if got := vhdTime(at); int64(got) != want {
			t.Errorf("%v: %d, want %d", at, got, want)
		}
	}
	d := newDisk(3*mib, full, 1)
	all := Identity{}
	for i := range all.UUID {
		all.UUID[i] = 0xff
	}
	for _, id := range []Identity{{}, all} {
		for _, f := range Formats()[1:] {
			img, err := New(f, d, id)
			if err != nil {
				t.Fatal(err)
			}
			path := materialise(t, img, d, t.TempDir()+"/disk"+f.Ext())
			if got := qemuSize(t, f, path); got != d.size {
				t.Errorf("%s: %d bytes", f, got)
			}
		}
	}
	path := materialise(t, makeImage(t, VHD, d), d, t.TempDir()+"/disk.vhd")
	out, err := exec.Command("vhdiinfo", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "12345678-9abc-4def-8102-030405060708") {
		t.Errorf("vhdiinfo shows another identifier: %v\n%s", err, out)
	}
}

// TestConcurrent: many readers of one image (for the race detector).
func TestConcurrent(t *testing.T) {
	d := newDisk(6*mib+512, random, 3)
	for _, f := range Formats() {
		img := makeImage(t, f, d)
		all := whole(t, img, d)
		var wg sync.WaitGroup
		for g := range int64(4) {
			wg.Go(func() {
				r := NewReaderAt(context.Background(), img, d)
				for off := g * 1000; off < img.Size(); off += 777_777 {
					checkPiece(t, r, all, off, 99_999)
				}
			})
		}
		wg.Wait()
	}
}
