package pack

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/minio/minlz"
)

var testCompressions = []CodecID{CodecMinLZ, CodecZstd}

// testFormats are store formats whose records differ.
var testFormats = []int{2, 3}

func testCodec(t testing.TB, frameSize int) *Codec {
	t.Helper()
	return testCodecBy(t, frameSize, CodecMinLZ, testFormats[len(testFormats)-1])
}

func testCodecBy(t testing.TB, frameSize int, by CodecID, format int) *Codec {
	t.Helper()
	c, err := NewCodec(Key{1, 2, 3}, frameSize, by, format)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// testCodecs are codecs of each format and compression, with frames and without.
func testCodecs(t testing.TB) (list []*Codec) {
	t.Helper()
	for _, format := range testFormats {
		for _, by := range testCompressions {
			list = append(list, testCodecBy(t, 0, by, format), testCodecBy(t, 4<<10, by, format))
		}
	}
	return list
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
	for _, by := range testCompressions {
		for _, format := range testFormats {
			t.Run(fmt.Sprintf("%v, format %d", by, format), func(t *testing.T) { testRoundTrip(t, by, format) })
		}
	}
}

func testRoundTrip(t *testing.T, by CodecID, format int) {
	for _, frame := range testFrames {
		c := testCodecBy(t, frame, by, format)
		for _, n := range testSizes {
			for _, share := range []float64{0, 0.5, 1} {
				plain := plainOf(uint64(n), n, share)
				id := c.ID(plain)
				rec := c.Encode([]byte("before"), KindData, id, plain)
				if rec.PlainLen != n || rec.ID != id || len(rec.Bytes) > MaxRecord {
					t.Fatalf("frame %d, %d bytes: record %+v of %d bytes", frame, n, rec.ID, len(rec.Bytes))
				}
				if want := map[bool]int{true: 3, false: rec.Codec().Format()}[format == 3]; rec.Format() != want {
					t.Errorf("format %d, %v: record of format %d, want %d", format, rec.Codec(), rec.Format(), want)
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
		for _, by := range testCompressions {
			plain := plainOf(1, MaxChunk, 1)
			rec := testCodecBy(t, frame, by, 2).Encode(nil, KindData, ID{}, plain)
			if len(rec.Bytes) > MaxChunk/8 || CodecID(rec.Bytes[5]) != by {
				t.Errorf("frame %d, %v: %d bytes stored of %d, codec %d", frame, by, len(rec.Bytes), MaxChunk, rec.Bytes[5])
			}
		}
	}
}

// TestShortLastFrames ends chunks with frames of a few bytes, of which some
// compress to as many bytes as they have: a frame stored in its plain length is
// not compressed.
func TestShortLastFrames(t *testing.T) {
	for _, by := range testCompressions {
		for _, format := range testFormats {
			testShortLastFrames(t, testCodecBy(t, 4<<10, by, format))
		}
	}
}

func testShortLastFrames(t *testing.T, c *Codec) {
	t.Helper()
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
		if _, err := NewCodec(Key{}, bad, CodecMinLZ, 2); err == nil {
			t.Errorf("frame size %d was taken", bad)
		}
	}
	for format, by := range map[int]CodecID{-1: CodecZstd, 0: CodecZstd, 1: CodecMinLZ} {
		if _, err := NewCodec(Key{}, 0, by, format); err == nil {
			t.Errorf("%v in format %d was taken", by, format)
		}
	}
	for _, bad := range []CodecID{CodecRaw, CodecMinLZ + 1} {
		if _, err := NewCodec(Key{}, 0, bad, 2); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

// TestCompressionNames has each codec's name name it again.
func TestCompressionNames(t *testing.T) {
	for _, by := range testCompressions {
		if got, err := ParseCompression(by.String()); got != by || err != nil {
			t.Errorf("%v: %v, %v", by, got, err)
		}
	}
	for _, bad := range []string{"", "none", "lz4", "codec 3", "ZSTD"} {
		if got, err := ParseCompression(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

// TestLevelsOfFrames: of a record's frames the first half is compressed at the
// fastest level, the rest at the balanced one.
func TestLevelsOfFrames(t *testing.T) {
	const size = 4 << 10
	for _, n := range []int{2, 3, 4, 16} {
		c, words, plain := testCodec(t, size), plainOf(7, 4<<10, 0), []byte(nil)
		for _, at := range plainOf(8, n*size/8, 0) { // 256 words in no order
			plain = append(plain, words[8*int(at):][:8]...)
		}
		var want [][]byte
		for i := range n {
			level := minlz.LevelBalanced
			if i < (n+1)/2 {
				level = minlz.LevelFastest
			}
			want = append(want, minlz.TryEncode(nil, plain[i*size:(i+1)*size], level))
		}
		rec := c.Encode(nil, KindData, c.ID(plain), plain).Bytes
		if got := rec[RecordHeaderLen+n*frameEntryLen:]; !bytes.Equal(got, bytes.Join(want, nil)) {
			t.Errorf("%d frames: %d bytes, want %d at their levels", n, len(got), len(bytes.Join(want, nil)))
		}
	}
}

// TestOnlyMinLZBlocks gives the decoder what its library reads too: blocks of
// S2, and of another length than the record says.
func TestOnlyMinLZBlocks(t *testing.T) {
	c, plain := testCodec(t, 0), plainOf(3, 9000, 0.9)
	block, shrunk := c.deflate(nil, plain, minlz.LevelBalanced)
	if got, err := c.inflate(make([]byte, 0, 9000), block, 9000, CodecMinLZ); !shrunk || err != nil || !bytes.Equal(got, plain) {
		t.Fatal(shrunk, err)
	}
	for what, b := range map[string][]byte{
		"S2": s2.Encode(nil, plain), "Snappy": s2.EncodeSnappy(nil, plain), "empty": {}, "zero": {0}, "cut off": block[:len(block)-1],
		"long": {0, 0xff, 0xff, 0xff, 0x03, 1, 2, 3}, "literals": append([]byte{0, 0}, plain...),
	} {
		for _, n := range []int{8999, 9001} {
			if got, err := c.inflate(make([]byte, 0, 9001+Slack), b, n, CodecMinLZ); err == nil {
				t.Errorf("%s: %d bytes were taken", what, len(got))
			}
		}
	}
	for _, b := range [][]byte{s2.Encode(nil, plain), s2.EncodeSnappy(nil, plain)} {
		if _, err := c.inflate(make([]byte, 0, 9000), b, 9000, CodecMinLZ); err == nil {
			t.Error("a block of S2 was taken")
		}
	}
	if _, err := c.inflate(make([]byte, 0, 9000), block[:len(block)-1], 9000, CodecMinLZ); err == nil {
		t.Error("a block that is cut off was taken")
	}
	huge := append([]byte{0, 0x80, 0x80, 0x80, 0x04}, block...) // says that it holds 8 MiB
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := c.inflate(make([]byte, 0, 9000), huge, 9000, CodecMinLZ)
	if runtime.ReadMemStats(&after); err == nil || after.TotalAlloc-before.TotalAlloc > 1<<20 {
		t.Errorf("a block that says it holds 8 MiB: %v, %d bytes allocated", err, after.TotalAlloc-before.TotalAlloc)
	}
}

// TestEveryFlippedBitIsSeen flips each bit of a record: the stored checksum
// sees all of them, and decoding never gives other bytes for the id.
func TestEveryFlippedBitIsSeen(t *testing.T) {
	for _, c := range testCodecs(t) {
		frame := c.FrameSize()
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
	for _, c := range testCodecs(t) {
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
	for _, c := range testCodecs(f) {
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

func benchCodecs(b *testing.B) (list []*Codec) {
	b.Helper()
	for _, by := range testCompressions {
		for _, format := range testFormats {
			list = append(list, testCodecBy(b, 0, by, format), testCodecBy(b, 16<<10, by, format))
		}
	}
	return list
}

func BenchmarkEncode(b *testing.B) {
	for _, c := range benchCodecs(b) {
		b.Run(fmt.Sprintf("%v/frame=%d/HFr%d", c.compress, c.FrameSize(), c.version), func(b *testing.B) {
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
	for _, c := range benchCodecs(b) {
		b.Run(fmt.Sprintf("%v/frame=%d/HFr%d", c.compress, c.FrameSize(), c.version), func(b *testing.B) {
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
