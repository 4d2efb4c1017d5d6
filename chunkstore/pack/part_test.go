package pack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

func part(chunk, from, to int) Part { return Part{Chunk: chunk, From: from, To: to} }

// framedCodecs are codecs with frames of this size for stores of each format.
func framedCodecs(t testing.TB, frame int) (list []*Codec) {
	t.Helper()
	for _, format := range testFormats {
		list = append(list, testCodecBy(t, frame, CodecMinLZ, format))
	}
	return list
}

// parts calls fn with every part of n bytes that begins and ends at frames of
// the codec's size, and with some that don't.
func parts(c *Codec, n int, fn func(Part)) {
	step := min(c.FrameSize(), n)
	for from := 0; from < n; from += step {
		for to := from + step; ; to += step {
			fn(part(n, from, min(to, n)))
			if to >= n {
				break
			}
		}
	}
	for _, odd := range [][2]int{{0, 1}, {n - 1, n}, {n / 3, n/3 + 1}} {
		fn(part(n, odd[0], odd[1]))
	}
}

func TestPartsAreWhatTheChunkHolds(t *testing.T) {
	var codecs []*Codec
	for _, frame := range testFrames {
		codecs = append(codecs, framedCodecs(t, frame)...)
	}
	for _, c := range codecs {
		frame := c.FrameSize()
		for _, n := range append([]int{40 << 10, 20 << 10, 48 << 10}, testSizes...) {
			for _, share := range []float64{0, 0.5, 1} {
				plain := plainOf(uint64(n), n, share)
				id := c.ID(plain)
				rec := c.Encode(nil, KindData, id, plain).Bytes
				parts(c, n, func(p Part) {
					got, whole, err := c.DecodePart(nil, rec, id, p)
					want := plain[p.From:p.To]
					if whole {
						want = plain
					}
					if err != nil || !bytes.Equal(got, want) {
						t.Fatalf("frame %d, %d bytes, part %+v: whole %v: %v", frame, n, p, whole, err)
					}
					aligned := p.From%c.FrameSize() == 0 && (p.To%c.FrameSize() == 0 || p.To == n)
					if alone := aligned && p.To-p.From < n; alone == whole {
						t.Fatalf("frame %d, %d bytes, part %+v: whole %v", frame, n, p, whole)
					}
				})
			}
		}
	}
}

// TestPartsOfOtherShapes reads parts of records with other frames than the
// store's, and parts that don't fit the chunk: all of them come as a whole. Frames of
// another version come alone: an upgraded store has both.
func TestPartsOfOtherShapes(t *testing.T) {
	plain := plainOf(4, 40<<10, 0.6)
	var codecs []*Codec
	for _, frame := range testFrames {
		codecs = append(codecs, framedCodecs(t, frame)...)
	}
	for _, maker := range codecs {
		made, rec := maker.FrameSize(), maker.Encode(nil, KindData, maker.ID(plain), plain)
		for _, c := range codecs {
			read := c.FrameSize()
			for i, p := range []Part{part(40<<10, 0, 16<<10), part(40<<10, 32<<10, 40<<10), part(40<<10, 0, 40<<10), part(40<<10, 16<<10, 0), part(40<<10, 32<<10, 48<<10), part(40<<10, -16<<10, 16<<10), part(48<<10, 32<<10, 48<<10), part(36<<10, 0, 16<<10)} {
				got, whole, err := c.DecodePart(nil, rec.Bytes, rec.ID, p)
				if err != nil || whole && !bytes.Equal(got, plain) || !whole && !bytes.Equal(got, plain[p.From:p.To]) {
					t.Fatalf("frames of %d read with %d, part %+v: whole %v: %v", made, read, p, whole, err)
				}
				if i < 2 && made == read && made < MaxChunk && whole && p.From%read == 0 && (p.To%read == 0 || p.To == p.Chunk) {
					t.Fatalf("frames of %d, part %+v: whole", made, p)
				}
				if made != read && !whole {
					t.Fatalf("frames of %d were read alone by a store of %d", made, read)
				}
			}
		}
	}
}

// TestFlippedBitsNeverChangeAPart flips each bit of a record and reads each of
// its frames, and each two beside each other: right bytes or an error.
func TestFlippedBitsNeverChangeAPart(t *testing.T) {
	for _, c := range framedCodecs(t, 4<<10) {
		plain := plainOf(3, 9000, 0.9)
		id := c.ID(plain)
		rec := c.Encode(nil, KindData, id, plain).Bytes
		refused := map[int]int{}
		for bit := range len(rec) * 8 {
			rec[bit/8] ^= 1 << (bit % 8)
			for i, run := range [][2]int{{0, 0}, {1, 1}, {2, 2}, {0, 1}, {1, 2}} {
				from, _ := framePlain(len(plain), 12, run[0])
				_, to := framePlain(len(plain), 12, run[1])
				got, whole, err := c.DecodePart(nil, rec, id, part(len(plain), from, to))
				switch {
				case err != nil:
					refused[i]++
				case whole && !bytes.Equal(got, plain), !whole && !bytes.Equal(got, plain[from:to]):
					t.Fatalf("version %d: flipped bit %d gave wrong bytes of frames %v", c.version, bit, run)
				}
			}
			rec[bit/8] ^= 1 << (bit % 8)
		}
		for i, n := range refused {
			if n < 20*8 { // its sum and its length at least
				t.Errorf("version %d: frame %d was refused %d times of %d", c.version, i, n, len(rec)*8)
			}
		}
	}
}

// TestOtherVersionIsNotBelieved: a frame that was summed by one version does not pass as
// one of the other, also where all else fits.
func TestOtherVersionIsNotBelieved(t *testing.T) {
	plain := plainOf(3, 40<<10, 0.5)
	for _, c := range framedCodecs(t, 16<<10) {
		rec := c.Encode(nil, KindData, c.ID(plain), plain)
		rec.Bytes[magicLen-1] ^= '1' ^ '2'
		if _, whole, err := c.DecodePart(nil, rec.Bytes, rec.ID, part(len(plain), 0, 16<<10)); err == nil {
			t.Errorf("version %d was read as another, whole %v", c.version, whole)
		}
	}
}

// TestFramesDoNotMove puts frames where others belong, with their sums and
// lengths: those of another place in the chunk, of another chunk, and of the
// same chunk in frames of another size.
func TestFramesDoNotMove(t *testing.T) {
	for i, c := range framedCodecs(t, 16<<10) {
		framesDoNotMove(t, c, framedCodecs(t, 8<<10)[i])
	}
}

func framesDoNotMove(t *testing.T, c, small *Codec) {
	t.Helper()
	plain := plainOf(3, 64<<10, 0)
	other := plainOf(4, 64<<10, 0) // not compressible: all frames are as long
	rec, alien := c.Encode(nil, KindData, c.ID(plain), plain), c.Encode(nil, KindData, c.ID(other), other)
	const table, frame = RecordHeaderLen, 16 << 10
	frameOf := func(r []byte, i int) []byte {
		at := table + 4*frameEntryLen + i*frame
		return r[at : at+frame]
	}
	entryOf := func(r []byte, i int) []byte { return r[table+i*frameEntryLen : table+(i+1)*frameEntryLen] }
	for name, from := range map[string]struct {
		rec []byte
		i   int
	}{"another place": {bytes.Clone(rec.Bytes), 2}, "another chunk": {alien.Bytes, 1}} {
		b := bytes.Clone(rec.Bytes)
		copy(frameOf(b, 1), frameOf(from.rec, from.i))
		copy(entryOf(b, 1), entryOf(from.rec, from.i))
		if got, whole, err := c.DecodePart(nil, b, rec.ID, part(64<<10, frame, 2*frame)); err == nil {
			t.Errorf("%s: %d bytes served, whole %v", name, len(got), whole)
		}
		if got, _, err := c.DecodePart(nil, b, rec.ID, part(64<<10, 0, frame)); err != nil || !bytes.Equal(got, plain[:frame]) {
			t.Errorf("%s: its neighbour: %v", name, err)
		}
	}
	for i := range 2 { // and their bytes alone, and their entries alone
		b := bytes.Clone(rec.Bytes)
		if i == 0 {
			copy(frameOf(b, 1), frameOf(rec.Bytes, 2))
			copy(frameOf(b, 2), frameOf(rec.Bytes, 1))
		} else {
			copy(entryOf(b, 1), entryOf(rec.Bytes, 2))
			copy(entryOf(b, 2), entryOf(rec.Bytes, 1))
		}
		for _, run := range [][2]int{{1, 2}, {2, 3}, {1, 3}, {0, 3}} {
			if _, _, err := c.DecodePart(nil, b, rec.ID, part(64<<10, run[0]*frame, run[1]*frame)); err == nil {
				t.Errorf("frames %v came though two had been swapped", run)
			}
		}
	}
	// Frame 1 of 8 KiB frames has the bytes from 8 KiB on; in 24 KiB and frames
	// of 16 KiB, frame 1 is as long.
	rec = small.Encode(nil, KindData, c.ID(plain[:24<<10]), plain[:24<<10])
	b := bytes.Clone(rec.Bytes)
	b[6] = 14
	if got, whole, err := c.DecodePart(nil, b, rec.ID, part(24<<10, 16<<10, 24<<10)); err == nil && !whole && !bytes.Equal(got, plain[16<<10:24<<10]) {
		t.Error("a frame of another size was served")
	}
}

// TestTruncatedPart reads each frame from each beginning of a record: it comes, or
// the beginning is too short for it.
func TestTruncatedPart(t *testing.T) {
	for _, c := range framedCodecs(t, 4<<10) {
		plain := plainOf(3, 9000, 0.7)
		rec := c.Encode(nil, KindData, c.ID(plain), plain)
		end := RecordHeaderLen + 3*frameEntryLen
		for i := range 3 {
			end += int(binary.LittleEndian.Uint32(rec.Bytes[RecordHeaderLen+i*frameEntryLen:]))
			from, to := framePlain(len(plain), 12, i)
			for n := range len(rec.Bytes) + 1 {
				got, whole, err := c.DecodePart(nil, rec.Bytes[:n:n], rec.ID, part(9000, from, to))
				switch {
				case n < end && (err == nil || n >= RecordHeaderLen && !errors.Is(err, ErrCutOff)):
					t.Fatalf("frame %d, %d of %d bytes: %v", i, n, end, err)
				case n >= end && (err != nil || whole || !bytes.Equal(got, plain[from:to])):
					t.Fatalf("frame %d, %d of %d bytes: whole %v: %v", i, n, end, whole, err)
				}
			}
		}
		if end != len(rec.Bytes) {
			t.Fatalf("the frames end at %d of %d", end, len(rec.Bytes))
		}
	}
}

// TestPrefixOf checks that a prefix holds the table and is no longer than the
// record, and that even frames fit theirs.
func TestPrefixOf(t *testing.T) {
	for _, frame := range []int{4 << 10, 16 << 10, MaxChunk} {
		c := testCodec(t, frame)
		for _, chunk := range []int{1, frame - 1, frame, frame + 1, 2 * frame, MaxChunk - 1, MaxChunk} {
			if chunk < 1 || chunk > MaxChunk {
				continue
			}
			for _, plain := range [][]byte{plainOf(7, chunk, 0), plainOf(7, chunk, 0.9), make([]byte, chunk)} {
				rec := c.Encode(nil, KindData, c.ID(plain), plain)
				payload := len(rec.Bytes) - RecordHeaderLen
				for from := 0; from < chunk; from += frame {
					p := part(chunk, from, min(chunk, from+frame))
					n := c.PrefixOf(payload, p)
					most := RecordHeaderLen + frameCount(chunk, c.frameLog)*frameEntryLen + p.To // no frame is longer than what it holds
					if n < RecordHeaderLen || n > len(rec.Bytes) || p.To < chunk && n > most || p.To == chunk && n != len(rec.Bytes) {
						t.Fatalf("frames of %d, part %+v of %d bytes: prefix of %d", frame, p, len(rec.Bytes), n)
					}
					if got, _, err := c.DecodePart(nil, rec.Bytes[:n], rec.ID, p); err != nil || !bytes.Equal(got, plain[p.From:p.To]) {
						t.Fatalf("frames of %d, part %+v: %v", frame, p, err)
					}
				}
			}
		}
		for _, p := range []Part{{}, part(-1, 0, 1), part(10, 0, -5), part(1<<40, 0, 1<<39), part(10, 20, 30)} {
			if n := c.PrefixOf(5000, p); n < RecordHeaderLen || n > RecordHeaderLen+5000 {
				t.Errorf("part %+v: prefix of %d", p, n)
			}
		}
	}
}

func TestDecodePartUsesTheBuffer(t *testing.T) {
	c := testCodec(t, 16<<10)
	plain := plainOf(5, MaxChunk, 0.6)
	rec := c.Encode(nil, KindData, c.ID(plain), plain)
	buf := make([]byte, 0, 16<<10+Slack)
	p := part(MaxChunk, 16<<10, 32<<10)
	got, _, err := c.DecodePart(buf, rec.Bytes, rec.ID, p)
	if err != nil || &got[0] != &buf[:1][0] {
		t.Fatalf("decoded elsewhere: %v", err)
	}
}

// FuzzPart reads parts of anything: never a panic, and what comes as a part fits
// the sum in the table.
func FuzzPart(f *testing.F) {
	for _, c := range framedCodecs(f, 4<<10) {
		for _, n := range []int{4097, 9000, 16384} {
			plain := plainOf(uint64(n), n, 0.8)
			f.Add(c.Encode(nil, KindData, c.ID(plain), plain).Bytes, n, 0, 4096)
			f.Add(c.Encode(nil, KindData, c.ID(plain), plain).Bytes, n, 4096, n)
		}
	}
	c := testCodec(f, 4<<10) // it reads all
	f.Fuzz(func(t *testing.T, b []byte, chunk, from, to int) {
		h, err := parseHeader(b)
		if err != nil {
			return
		}
		if n := c.PrefixOf(h.payloadLen, part(chunk, from, to)); n < RecordHeaderLen || n > RecordHeaderLen+h.payloadLen {
			t.Fatalf("prefix of %d for a payload of %d", n, h.payloadLen)
		}
		got, whole, err := c.DecodePart(nil, b, h.id, part(chunk, from, to))
		if err != nil {
			return
		}
		if whole && c.ID(got) != h.id {
			t.Fatal("wrong bytes were let through")
		}
		if !whole && len(got) != to-from {
			t.Fatalf("%d bytes of [%d, %d)", len(got), from, to)
		}
	})
}

func BenchmarkDecodePart(b *testing.B) {
	var codecs []*Codec
	for _, frame := range []int{4 << 10, 8 << 10, 16 << 10, 32 << 10} {
		codecs = append(codecs, framedCodecs(b, frame)...)
	}
	for _, c := range codecs {
		frame := c.FrameSize()
		b.Run(fmt.Sprint("frame=", frame, "/version=", c.version), func(b *testing.B) {
			plain := plainOf(5, MaxChunk, 0.6)
			rec := c.Encode(nil, KindData, c.ID(plain), plain)
			buf := make([]byte, 0, MaxChunk+Slack)
			for b.Loop() {
				if _, whole, err := c.DecodePart(buf, rec.Bytes, rec.ID, part(MaxChunk, frame, 2*frame)); whole || err != nil {
					b.Fatal(whole, err)
				}
			}
		})
	}
}
