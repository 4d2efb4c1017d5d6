package pack

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"unsafe"

	"holdfast/chunkstore/media/odirect"
)

// proveAll returns the faults and the damaged records of a pack, which are the
// same in one goroutine and in several; that is looked at for some packs.
func proveAll(t *testing.T, b []byte) (Proof, int) {
	t.Helper()
	one, bad := proveWith(t, b, ProveOptions{})
	if Sum(b)[0]%16 > 0 {
		return one, bad
	}
	for _, workers := range []int{2, 5} {
		p, n := proveWith(t, b, ProveOptions{Workers: workers})
		if n != bad || fmt.Sprint(p) != fmt.Sprint(one) {
			t.Fatalf("%d workers: %d bad records, %+v; one: %d, %+v", workers, n, p, bad, one)
		}
	}
	return one, bad
}

func proveWith(t *testing.T, b []byte, opts ProveOptions) (Proof, int) {
	t.Helper()
	bad, began := 0, 0
	last := int64(-1)
	opts.Begin = func(e []Entry) { began = len(e) }
	p, err := Prove(context.Background(), bytes.NewReader(b), int64(len(b)), opts, func(e Entry, rec []byte, err error) error {
		if err != nil {
			bad++
		} else if r, err := CheckStored(rec); err != nil || r.ID != e.ID {
			t.Fatalf("record at %d: %v, %v", e.Offset, r.ID, err)
		}
		if int64(e.Offset) <= last && began == 5 { // of a pack that was written here
			t.Fatalf("record at %d came behind that at %d", e.Offset, last)
		}
		last = int64(e.Offset)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, bad
}

// packOfLengths returns a pack of records of many lengths, and the bytes that these take.
func packOfLengths(t *testing.T, c *Codec, records int, opts WriterOptions) (*proveDest, int64) {
	t.Helper()
	dst, stored := &proveDest{}, int64(0)
	w := NewWriter(dst, Header{Pack: 7}, opts)
	rng := rand.NewChaCha8([32]byte{3})
	for i := range records {
		plain := make([]byte, 1+(i*7919)%MaxChunk)
		rng.Read(plain)
		e, err := w.Append(c.Encode(nil, KindData, c.ID(plain), plain))
		if err != nil {
			t.Fatal(err)
		}
		stored += int64(e.RecordLen())
	}
	if err := w.Seal(); err != nil {
		t.Fatal(err)
	}
	return dst, stored
}

// TestProveInSteps proves a pack that takes several steps, in one goroutine and
// in several: the same records come in the same order, whatever of them is hurt,
// can't be read or fails the caller's check.
func TestProveInSteps(t *testing.T) {
	const records = 150
	c := testCodec(t, 0)
	dst, _ := packOfLengths(t, c, records, WriterOptions{})
	if len(dst.b) < 2*proveWindow {
		t.Fatalf("a pack of %d bytes has no steps", len(dst.b))
	}
	_, entries, err := ReadFooter(bytes.NewReader(dst.b), int64(len(dst.b)))
	if err != nil {
		t.Fatal(err)
	}
	dst.b[entries[40].Offset+100] ^= 1
	unread := entries[90]
	stop := errors.New("stop")
	for _, workers := range []int{0, 1, 2, 7} {
		var seen []string
		opts := ProveOptions{Workers: workers, Check: func(some []Entry, records [][]byte, errs []error) {
			c.ProveMany(some, records, errs)
			for i := range some {
				if some[i].ID == entries[120].ID {
					errs[i] = fmt.Errorf("not this one: %w", io.ErrUnexpectedEOF)
				}
			}
		}}
		r := &holedReader{dst.b, int64(unread.Offset) + int64(unread.RecordLen())/2} // no page of its neighbours
		if _, err := Prove(context.Background(), r, int64(len(dst.b)), opts, func(e Entry, _ []byte, err error) error {
			what := "whole"
			if d := (*Damage)(nil); errors.As(err, &d) {
				what = d.Kind.String()
			}
			seen = append(seen, what)
			if e.ID != entries[len(seen)-1].ID {
				t.Fatalf("%d workers: record %d is not in its place", workers, len(seen)-1)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for i, what := range seen {
			if want := map[int]string{40: "corrupt", 90: "unreadable", 120: "corrupt"}[i]; what != cmp.Or(want, "whole") {
				t.Fatalf("%d workers: record %d is %s", workers, i, what)
			}
		}
		if len(seen) != records {
			t.Fatalf("%d workers: %d records", workers, len(seen))
		}
		n := 0
		if _, err := Prove(context.Background(), r, int64(len(dst.b)), opts, func(Entry, []byte, error) error {
			if n++; n == 3 {
				return stop
			}
			return nil
		}); !errors.Is(err, stop) || n != 3 {
			t.Fatalf("%d workers: %v after %d records", workers, err, n)
		}
	}
}

// holedReader can't read one byte.
type holedReader struct {
	b   []byte
	bad int64
}

func (h *holedReader) ReadAt(p []byte, off int64) (int, error) {
	if off <= h.bad && h.bad < off+int64(len(p)) {
		return 0, errors.New("input/output error")
	}
	return copy(p, h.b[off:]), nil
}

// smallPack is a pack of five short records, of all versions.
func smallPack(t *testing.T, opts WriterOptions) []byte {
	t.Helper()
	dst := &proveDest{}
	w := NewWriter(dst, Header{Pack: 7}, opts)
	for i := range 5 {
		c, err := NewCodec(Key{1}, 0, CodecMinLZ, testFormats[i%2])
		if err != nil {
			t.Fatal(err)
		}
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
	for _, opts := range []WriterOptions{{Format: 2}, {Format: 3}, {NoParity: true}} {
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
	whole := smallPack(&t, WriterOptions{NoParity: true})
	f.Add(whole)
	f.Add(whole[:len(whole)-1]) // its footer is lost
	f.Fuzz(func(t *testing.T, b []byte) {
		proveAll(t, b)
		c, err := NewCodec(Key{1}, 0, CodecMinLZ, 3) // as in smallPack
		if err != nil {
			t.Fatal(err)
		}
		passed := 0
		if _, err := Prove(context.Background(), bytes.NewReader(b), int64(len(b)), ProveOptions{Workers: 2, Check: c.ProveMany}, func(e Entry, rec []byte, err error) error {
			if err == nil {
				passed++
				_, err = c.Decode(nil, rec, e.ID)
				return err
			}
			return nil
		}); err != nil {
			t.Fatalf("a record that does not decode was passed: %v", err)
		}
		if bytes.HasPrefix(b, whole[:len(whole)-1]) && passed != 5 {
			t.Fatalf("%d records of a whole pack, or of one without its footer, were passed", passed)
		}
	})
}

// pagesReader reads a pack and remembers which of its large reads are not whole
// pages, in the file and in memory.
type pagesReader struct {
	*bytes.Reader
	large, odd int
}

func (r *pagesReader) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > 16*proveAlign {
		r.large++
		if (uint64(off)|uint64(len(p))|uint64(uintptr(unsafe.Pointer(&p[0]))))%proveAlign != 0 || len(p) > odirect.HugePage {
			r.odd++
		}
	}
	return r.Reader.ReadAt(p, off)
}

// TestProveReadsWholePages: what is read in large steps can be read past the page
// cache.
func TestProveReadsWholePages(t *testing.T) {
	dst, _ := packOfLengths(t, testCodec(t, 0), 200, WriterOptions{})
	r := &pagesReader{Reader: bytes.NewReader(dst.b)}
	p, err := Prove(context.Background(), r, int64(len(dst.b)), ProveOptions{}, func(_ Entry, _ []byte, err error) error { return err })
	if err != nil || len(p.Faults) > 0 {
		t.Fatalf("%v, %v", err, p.Faults)
	}
	if r.large < len(dst.b)/odirect.HugePage || r.odd > 0 {
		t.Errorf("of %d large reads of %d bytes %d are not whole pages", r.large, len(dst.b), r.odd)
	}
}
