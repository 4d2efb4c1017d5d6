package pack

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

func testCodec(t testing.TB, frameSize int) *Codec {
	t.Helper()
	c, err := NewCodec(Key{1, 2, 3}, frameSize)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// plainOf returns n bytes fixed by seed; a share of them compresses.
func plainOf(seed uint64, n int, compressible float64) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	for i := range int(float64(n) * compressible) {
		b[i] = byte(i >> 6)
	}
	return b
}

var (
	testSizes  = []int{1, 2, 63, 64, 4095, 4096, 4097, 16383, 16384, 16385, 32768, 65535, MaxChunk}
	testFrames = []int{0, 4 << 10, 16 << 10, 32 << 10, MaxChunk}
)

func TestRecordRoundTrip(t *testing.T) {
	for _, frame := range testFrames {
		c := testCodec(t, frame)
		for _, n := range testSizes {
			for _, share := range []float64{0, 0.5, 1} {
				plain := plainOf(uint64(n), n, share)
				id := c.ID(plain)
				rec := c.Encode([]byte("before"), KindData, id, plain)
				if rec.PlainLen != n || rec.ID != id || len(rec.Bytes) > MaxRecord {
					t.Fatalf("frame %d, %d bytes: record %+v of %d bytes", frame, n, rec.ID, len(rec.Bytes))
				}
				limit := RecordHeaderLen + n
				if s := c.FrameSize(); n > s {
					limit += (n + s - 1) / s * frameEntryLen
				}
				if len(rec.Bytes) > limit {
					t.Errorf("frame %d, %d bytes, %.0f%% compressible: %d stored", frame, n, share*100, len(rec.Bytes))
				}
				got, err := CheckStored(rec.Bytes)
				if err != nil || got.ID != id || got.Kind != KindData || got.PlainLen != n {
					t.Fatalf("frame %d, %d bytes: check: %v", frame, n, err)
				}
				// Any codec reads what any other wrote.
				for _, other := range testFrames {
					back, err := testCodec(t, other).Decode(nil, rec.Bytes, id)
					if err != nil || !bytes.Equal(back, plain) {
						t.Fatalf("frame %d read with %d, %d bytes: %v", frame, other, n, err)
					}
				}
				if _, err := c.Decode(nil, rec.Bytes, ID{9}); err == nil {
					t.Fatal("decoded as another chunk")
				}
			}
		}
	}
}

func TestCompressibleBytesShrink(t *testing.T) {
	for _, frame := range testFrames {
		plain := plainOf(1, MaxChunk, 1)
		rec := testCodec(t, frame).Encode(nil, KindData, ID{}, plain)
		if len(rec.Bytes) > MaxChunk/8 {
			t.Errorf("frame %d: %d bytes stored of %d", frame, len(rec.Bytes), MaxChunk)
		}
	}
}

// TestShortLastFrames ends chunks with frames of a few bytes, of which some
// compress to as many bytes as they have: a frame stored in its plain length is
// not compressed.
func TestShortLastFrames(t *testing.T) {
	c := testCodec(t, 4<<10)
	for n := 1; n <= 64; n++ {
		for period := 1; period <= 10; period++ {
			plain := plainOf(uint64(n), 4<<10+n, 0)
			tail := plain[4<<10:]
			for i := period; i < n; i++ {
				tail[i] = tail[i-period]
			}
			id := c.ID(plain)
			rec := c.Encode(nil, KindData, id, plain).Bytes
			if got, err := c.Decode(nil, rec, id); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("last frame of %d bytes, period %d: %v", n, period, err)
			}
		}
	}
}

func TestFrameSizes(t *testing.T) {
	for _, bad := range []int{-1, 1, 2048, 5000, 3 << 12, 128 << 10} {
		if _, err := NewCodec(Key{}, bad); err == nil {
			t.Errorf("frame size %d was taken", bad)
		}
	}
}

// TestEveryFlippedBitIsSeen flips each bit of a record: the stored checksum
// sees all of them, and decoding never gives other bytes for the id.
func TestEveryFlippedBitIsSeen(t *testing.T) {
	for _, frame := range []int{0, 4 << 10} {
		c := testCodec(t, frame)
		plain := plainOf(3, 9000, 0.9)
		id := c.ID(plain)
		rec := c.Encode(nil, KindData, id, plain).Bytes
		for bit := range len(rec) * 8 {
			rec[bit/8] ^= 1 << (bit % 8)
			if _, err := CheckStored(rec); err == nil {
				t.Fatalf("frame %d: flipped bit %d was not seen", frame, bit)
			}
			if got, err := c.Decode(nil, rec, id); err == nil && !bytes.Equal(got, plain) {
				t.Fatalf("frame %d: flipped bit %d gave wrong bytes", frame, bit)
			}
			rec[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestTruncatedRecord(t *testing.T) {
	for _, frame := range []int{0, 4 << 10} {
		c := testCodec(t, frame)
		plain := plainOf(3, 9000, 0.7)
		rec := c.Encode(nil, KindData, c.ID(plain), plain)
		for n := range len(rec.Bytes) {
			if _, err := CheckStored(rec.Bytes[:n]); err == nil {
				t.Fatalf("check took %d of %d bytes", n, len(rec.Bytes))
			}
			if _, err := c.Decode(nil, rec.Bytes[:n], rec.ID); err == nil {
				t.Fatalf("decode took %d of %d bytes", n, len(rec.Bytes))
			}
		}
	}
}

func TestDecodeUsesTheBuffer(t *testing.T) {
	c := testCodec(t, 0)
	plain := plainOf(5, MaxChunk, 0.6)
	rec := c.Encode(nil, KindData, c.ID(plain), plain)
	buf := make([]byte, 0, MaxChunk+Slack)
	got, err := c.Decode(buf, rec.Bytes, rec.ID)
	if err != nil || &got[0] != &buf[:1][0] {
		t.Fatalf("decoded elsewhere: %v", err)
	}
	if n := testing.AllocsPerRun(20, func() { c.Decode(buf, rec.Bytes, rec.ID) }); n > 4 {
		t.Errorf("%.0f allocations a decode", n)
	}
}

func FuzzRecord(f *testing.F) {
	for _, frame := range []int{0, 4 << 10} {
		c := testCodec(f, frame)
		for _, n := range []int{1, 100, 5000, 9000} {
			plain := plainOf(uint64(n), n, 0.8)
			f.Add(c.Encode(nil, KindData, c.ID(plain), plain).Bytes)
		}
	}
	c := testCodec(f, 0)
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := CheckStored(b)
		if err == nil && len(rec.Bytes) > MaxRecord {
			t.Fatalf("record of %d bytes", len(rec.Bytes))
		}
		h, err := parseHeader(b)
		if err != nil {
			return
		}
		plain, err := c.Decode(nil, b, h.id)
		if err == nil && c.ID(plain) != h.id {
			t.Fatal("wrong bytes were let through")
		}
		// Past the id, which a fuzzer can't forge.
		if RecordHeaderLen+h.payloadLen <= len(b) {
			if plain, err := c.decodePayload(nil, &h, b[RecordHeaderLen:RecordHeaderLen+h.payloadLen]); err == nil && len(plain) != h.plainLen {
				t.Fatalf("%d plain bytes, header says %d", len(plain), h.plainLen)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for _, frame := range []int{0, 16 << 10} {
		b.Run(fmt.Sprint("frame=", frame), func(b *testing.B) {
			c := testCodec(b, frame)
			plain := plainOf(5, MaxChunk, 0.6)
			id := c.ID(plain)
			buf := make([]byte, 0, MaxRecord)
			b.SetBytes(MaxChunk)
			for b.Loop() {
				c.Encode(buf, KindData, id, plain)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, frame := range []int{0, 16 << 10} {
		b.Run(fmt.Sprint("frame=", frame), func(b *testing.B) {
			c := testCodec(b, frame)
			plain := plainOf(5, MaxChunk, 0.6)
			rec := c.Encode(nil, KindData, c.ID(plain), plain)
			buf := make([]byte, 0, MaxChunk+Slack)
			b.SetBytes(MaxChunk)
			for b.Loop() {
				if _, err := c.Decode(buf, rec.Bytes, rec.ID); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
