package pack

import (
	"bytes"
	"context"
	"testing"
)

// proveAll returns the faults and the damaged records of a pack.
func proveAll(t *testing.T, b []byte) (Proof, int) {
	t.Helper()
	bad := 0
	p, err := Prove(context.Background(), bytes.NewReader(b), int64(len(b)), func(_ Entry, _ []byte, err error) error {
		if err != nil {
			bad++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, bad
}

func smallPack(t *testing.T, opts WriterOptions) []byte {
	t.Helper()
	c, err := NewCodec(Key{1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	dst := &proveDest{}
	w := NewWriter(dst, Header{Pack: 7}, opts)
	for i := range 5 {
		plain := bytes.Repeat([]byte{byte(i), 7, byte(i * 3)}, 50+i)
		if _, err := w.Append(c.Encode(nil, KindData, c.ID(plain), plain)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Seal(); err != nil {
		t.Fatal(err)
	}
	return dst.b
}

type proveDest struct{ b []byte }

func (d *proveDest) Write(p []byte) (int, error) { d.b = append(d.b, p...); return len(p), nil }
func (d *proveDest) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(d.b).ReadAt(p, off)
}

// TestProveSeesEveryByte flips a bit of every byte of a pack and cuts the pack
// off at every length: a proof never finds nothing.
func TestProveSeesEveryByte(t *testing.T) {
	for _, opts := range []WriterOptions{{}, {NoParity: true}} {
		b := smallPack(t, opts)
		if p, bad := proveAll(t, b); bad+len(p.Faults) != 0 || len(p.Entries) != 5 {
			t.Fatalf("a whole pack: %v, %d bad records", p.Faults, bad)
		}
		// The parity's blocks look alike: a few bytes of them will do.
		dull := func(i int) bool { return i > 2000 && i < len(b)-400 && i%257 != 0 }
		for i := range b {
			if dull(i) {
				continue
			}
			b[i] ^= 1 << (i % 8)
			if p, bad := proveAll(t, b); bad+len(p.Faults) == 0 {
				t.Fatalf("a flipped bit in byte %d of %d is not seen", i, len(b))
			}
			b[i] ^= 1 << (i % 8)
		}
		for n := range b {
			if dull(n) {
				continue
			}
			if p, _ := proveAll(t, b[:n]); len(p.Faults) == 0 {
				t.Fatalf("cut off at %d of %d: not seen", n, len(b))
			}
		}
		if p, _ := proveAll(t, append(bytes.Clone(b), 0)); len(p.Faults) == 0 {
			t.Fatal("one byte too many is not seen")
		}
	}
}

func FuzzProve(f *testing.F) {
	f.Add([]byte("HFPACK\x00\x01"))
	var t testing.T
	f.Add(smallPack(&t, WriterOptions{NoParity: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		proveAll(t, b)
	})
}
