package pack

import (
	"bytes"
	"errors"
	"testing"
)

// memDest is a Dest in memory.
type memDest struct{ bytes.Buffer }

func (m *memDest) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.Bytes()).ReadAt(p, off)
}

// samplePack writes a small pack of records of all versions and returns its bytes, its
// records and its footer entries.
func samplePack(t testing.TB, sizes ...int) ([]byte, []Record, []Entry) {
	t.Helper()
	var dst memDest
	w := NewWriter(&dst, Header{Pack: 42, Store: [16]byte{7}, Class: ClassData}, WriterOptions{NoParity: true})
	var recs []Record
	for i, n := range sizes {
		c := testCodecBy(t, 0, CodecMinLZ, testFormats[i%2])
		plain := plainOf(uint64(i), n, 0.5)
		rec := c.Encode(nil, KindData, c.ID(plain), plain)
		if _, err := w.Append(rec); err != nil {
			t.Fatal(err)
		}
		recs = append(recs, rec)
	}
	for i, e := range w.Entries() { // from the buffer and from the destination
		got, err := w.ReadRecord(e, nil)
		if err != nil || !bytes.Equal(got, recs[i].Bytes) {
			t.Fatalf("read back record %d: %v", i, err)
		}
	}
	if err := w.Seal(); err != nil {
		t.Fatal(err)
	}
	return dst.Bytes(), recs, w.Entries()
}

var sampleSizes = []int{100, 1, 4096, 65536, 3000, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 700}

func TestFooterAndScanAgree(t *testing.T) {
	b, recs, entries := samplePack(t, sampleSizes...)
	h, got, err := ReadFooter(bytes.NewReader(b), int64(len(b)))
	if err != nil || h.Pack != 42 || h.Store != [16]byte{7} || len(got) != len(entries) {
		t.Fatalf("footer: %+v, %d entries, %v", h, len(got), err)
	}
	i := 0
	_, skipped, err := Scan(bytes.NewReader(b), int64(len(b)), func(e Entry, rec []byte) error {
		if e != got[i] || e != entries[i] || !bytes.Equal(rec, recs[i].Bytes) {
			t.Fatalf("record %d: scan %+v, footer %+v", i, e, got[i])
		}
		i++
		return nil
	})
	if err != nil || skipped != 0 || i != len(recs) {
		t.Fatalf("scan found %d of %d records, skipped %d, %v", i, len(recs), skipped, err)
	}
}

func TestEmptyPack(t *testing.T) {
	b, _, _ := samplePack(t)
	if _, e, err := ReadFooter(bytes.NewReader(b), int64(len(b))); err != nil || len(e) != 0 {
		t.Fatalf("%d entries, %v", len(e), err)
	}
}

// TestTruncatedPack cuts a pack at every byte: the footer is refused, and the
// scan finds exactly the records that are whole.
func TestTruncatedPack(t *testing.T) {
	b, _, entries := samplePack(t, 100, 1, 900, 300)
	for n := range len(b) {
		if _, _, err := ReadFooter(bytes.NewReader(b[:n]), int64(n)); err == nil {
			t.Fatalf("footer of %d of %d bytes was taken", n, len(b))
		}
		want := 0
		for _, e := range entries {
			if int(e.Offset)+e.RecordLen() <= n {
				want++
			}
		}
		found := 0
		if _, _, err := Scan(bytes.NewReader(b[:n]), int64(n), func(Entry, []byte) error { found++; return nil }); err != nil || found != want {
			t.Fatalf("%d of %d bytes: scan found %d records, want %d, %v", n, len(b), found, want, err)
		}
	}
}

// TestScanGoesOnBehindDamage overwrites runs of a pack; every record that was
// not touched is found.
func TestScanGoesOnBehindDamage(t *testing.T) {
	b, _, entries := samplePack(t, sampleSizes...)
	for from := HeaderLen; from < len(b)-5000; from += 7001 {
		bad := bytes.Clone(b)
		copy(bad[from:from+5000], plainOf(99, 5000, 0))
		var want, got []Entry
		for _, e := range entries {
			if end := int(e.Offset) + e.RecordLen(); end <= from || int(e.Offset) >= from+5000 {
				want = append(want, e)
			}
		}
		if _, _, err := Scan(bytes.NewReader(bad), int64(len(bad)), func(e Entry, _ []byte) error { got = append(got, e); return nil }); err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("damage at %d: found %d records, want %d", from, len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("damage at %d: record %d is %+v, want %+v", from, i, got[i], want[i])
			}
		}
	}
}

// TestEveryFlippedFooterBitIsSeen flips each bit behind the records, and of the
// header.
func TestEveryFlippedFooterBitIsSeen(t *testing.T) {
	b, _, entries := samplePack(t, 100, 1, 900)
	last := entries[len(entries)-1]
	from := int(last.Offset) + last.RecordLen()
	flip := func(bit int) {
		b[bit/8] ^= 1 << (bit % 8)
		if _, _, err := ReadFooter(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Fatalf("flipped bit %d of byte %d was not seen", bit%8, bit/8)
		} else if bit/8 >= from && !errors.Is(err, ErrNoTrailer) {
			t.Fatalf("byte %d: the pack can be scanned, but the error is %v", bit/8, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	for bit := range HeaderLen * 8 {
		flip(bit)
	}
	for bit := from * 8; bit < len(b)*8; bit++ {
		flip(bit)
	}
}

// fullDest fails after n bytes.
type fullDest struct {
	memDest
	n int
}

var errFull = errors.New("full")

func (d *fullDest) Write(p []byte) (int, error) {
	if d.Len()+len(p) > d.n {
		return 0, errFull
	}
	return d.memDest.Write(p)
}

func TestWriterStaysBrokenAfterAFailedWrite(t *testing.T) {
	c := testCodec(t, 0)
	w := NewWriter(&fullDest{n: 600 << 10}, Header{}, WriterOptions{})
	plain := plainOf(1, MaxChunk, 0)
	var err error
	for i := 0; i < 30 && err == nil; i++ {
		_, err = w.Append(c.Encode(nil, KindData, c.ID(plain), plain))
	}
	if !errors.Is(err, errFull) {
		t.Fatalf("append: %v", err)
	}
	if err := w.Seal(); !errors.Is(err, errFull) {
		t.Fatalf("seal after a failed write: %v", err)
	}
}

func FuzzPack(f *testing.F) {
	for _, sizes := range [][]int{{}, {100}, {1, 900, 300}} {
		b, _, _ := samplePack(f, sizes...)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		size := int64(len(b))
		if _, entries, err := ReadFooter(bytes.NewReader(b), size); err == nil {
			for _, e := range entries {
				if int64(e.Offset)+int64(e.RecordLen()) > size {
					t.Fatalf("entry %+v lies outside a pack of %d bytes", e, size)
				}
			}
		}
		end, skipped, err := Scan(bytes.NewReader(b), size, func(e Entry, rec []byte) error {
			if len(rec) != e.RecordLen() {
				t.Fatalf("record of %d bytes, entry says %d", len(rec), e.RecordLen())
			}
			return nil
		})
		if err != nil || end > max(size, HeaderLen) || skipped < 0 {
			t.Fatalf("scan: end %d, skipped %d, %v", end, skipped, err)
		}
	})
}

// TestFills: a finished pack is filled by its own records, and by none fewer or more.
func TestFills(t *testing.T) {
	for _, opts := range []WriterOptions{{}, {Format: 2}, {Format: 3}, {NoParity: true}} {
		for _, records := range []int{0, 1, 2, 150} {
			dst, stored := packOfLengths(t, testCodec(t, 0), records, opts)
			size := int64(len(dst.b))
			if !Fills(size, records, stored) {
				t.Errorf("%+v: %d records do not fill their pack", opts, records)
			}
			for _, wrong := range []int64{-1, 1, RecordHeaderLen, 1 << 16} {
				if Fills(size+wrong, records, stored) || Fills(size, records, stored-wrong) && stored > 0 || Fills(size, records+1, stored) {
					t.Errorf("%+v: %d records fill another pack (%d)", opts, records, wrong)
				}
			}
		}
	}
}
