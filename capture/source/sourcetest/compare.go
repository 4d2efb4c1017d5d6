package sourcetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/metrics"
	"testing"

	"holdfast/capture/source"
)

// CheckSame checks d against an oracle that may be too large for memory: where
// both say hole nothing is read.
func CheckSame(t testing.TB, d, oracle source.Disk) {
	t.Helper()
	if d.Size() != oracle.Size() {
		t.Fatalf("size %d, want %d", d.Size(), oracle.Size())
	}
	got, want := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < d.Size(); {
		a, b := Extent(t, d, off), Extent(t, oracle, off)
		n := min(a.Length, b.Length)
		if a.Data || b.Data {
			n = min(n, int64(len(got)))
			read(t, d, got[:n], off)
			read(t, oracle, want[:n], off)
			if i := differs(got[:n], want[:n]); i >= 0 {
				t.Fatalf("byte %d is %#x, want %#x", off+int64(i), got[i], want[i])
			}
			if !a.Data && len(bytes.Trim(want[:n], "\x00")) > 0 {
				t.Fatalf("the hole at %d holds data", off)
			}
		}
		off += n
	}
	rnd := rand.New(rand.NewPCG(uint64(d.Size()), 4))
	for range 200 {
		off := rnd.Int64N(d.Size())
		n := min(1+rnd.Int64N(200<<10), d.Size()-off)
		read(t, d, got[:n], off)
		read(t, oracle, want[:n], off)
		if i := differs(got[:n], want[:n]); i >= 0 {
			t.Fatalf("unaligned read at %d: byte %d is %#x, want %#x", off, off+int64(i), got[i], want[i])
		}
	}
}

func read(t testing.TB, d source.Disk, p []byte, off int64) {
	t.Helper()
	if n, err := d.ReadAt(p, off); n != len(p) || err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("read of %d bytes at %d: %d, %v", len(p), off, n, err)
	}
}

// Bounds of Walk.
const (
	walkExtents = 20000
	walkBytes   = 4 << 20
	walkAlloc   = 96 << 20
)

// Walk opens a disk that may be damaged in any way, reads its first 4 MiB of
// data by its extents, and gives them with their holes, or the first error. It
// fails the test if an extent breaks its contract or if memory is not bounded.
func Walk(t testing.TB, open func() (*source.Opened, error)) ([]byte, error) {
	t.Helper()
	before := allocated()
	got, err := walk(t, open)
	if used := allocated() - before; used > walkAlloc {
		t.Fatalf("reading 4 MiB allocated %d MiB (%v)", used>>20, err)
	}
	return got, err
}

// allocated is the number of bytes that were ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func walk(t testing.TB, open func() (*source.Opened, error)) (got []byte, err error) {
	d, err := open()
	if err != nil {
		if d != nil {
			t.Fatalf("both a disk and an error: %v", err)
		}
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	for off, n := int64(0), 0; off < d.Size() && n < walkExtents; n++ {
		ext, err := d.Extent(off)
		if err != nil {
			return nil, fmt.Errorf("extent at %d: %w", off, err)
		}
		if ext.Length < 1 || ext.Length > d.Size()-off {
			t.Fatalf("extent at %d of %d bytes: length %d", off, d.Size(), ext.Length)
		}
		room := walkBytes - int64(len(got))
		if room <= 0 {
			break
		}
		p := make([]byte, min(ext.Length, room))
		if _, err := d.ReadAt(p, off); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if !ext.Data && len(bytes.Trim(p, "\x00")) > 0 {
			t.Fatalf("the hole at %d holds data", off)
		}
		got = append(got, p...)
		off += ext.Length
	}
	return got, nil
}
