package pack

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"testing"

	"github.com/zeebo/blake3"
	"lukechampine.com/blake3/guts"

	"holdfast/chunkstore/blake"
)

// definedSum is the sum of a frame that begins at off of a chunk and is at most 16 KiB
// long, by the format's definition and other people's code.
func definedSum(key Key, id ID, frame []byte, off int) []byte {
	var words [8]uint32
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	var room [guts.MaxSIMD * guts.ChunkSize]byte
	copy(room[:], frame)
	node := guts.CompressBuffer(&room, len(frame), &words, uint64(off/guts.ChunkSize), guts.FlagKeyedHash)
	var frameKey [32]byte
	blake3.DeriveKey("holdfast 2026-11-21 frame sum", key[:], frameKey[:])
	h, _ := blake3.NewKeyed(frameKey[:])
	for _, w := range guts.ChainingValue(node) {
		h.Write(binary.LittleEndian.AppendUint32(nil, w))
	}
	h.Write(id[:])
	return h.Sum(nil)[:sumLen]
}

func TestFrameSumsAreAsDefined(t *testing.T) {
	for _, frame := range []int{4 << 10, 8 << 10, 16 << 10} {
		c := testCodecBy(t, frame, CodecZstd, formatV2)
		for _, n := range []int{frame + 1, frame + 1024, 2*frame - 1, 2 * frame, 40000, MaxChunk - 3, MaxChunk} {
			plain := plainOf(uint64(n), n, 0.5)
			id := c.ID(plain)
			rec := c.Encode(nil, KindData, id, plain).Bytes
			for i := range frameCount(n, c.frameLog) {
				from, to := framePlain(n, c.frameLog, i)
				got := rec[RecordHeaderLen+i*frameEntryLen+4:][:sumLen]
				if want := definedSum(Key{1, 2, 3}, id, plain[from:to], from); !bytes.Equal(got, want) {
					t.Fatalf("frames of %d, frame %d of %d bytes has sum %x, want %x", frame, i, n, got, want)
				}
			}
		}
	}
}

// TestNamedRecords: who keeps the chains of many chunks gets the records, and the ids,
// that come without.
func TestNamedRecords(t *testing.T) {
	for _, frame := range testFrames {
		for _, c := range framedCodecs(t, frame) {
			frame := c.FrameSize()
			var plain []blake.Message
			total := 0
			for i, n := range append([]int{1, frame, frame + 1, 3*frame - 1, 40 << 10, MaxChunk}, testSizes...) {
				n = min(n, MaxChunk)
				plain = append(plain, blake.Message{plainOf(uint64(i), n, 0.7)})
				total += c.ChainsOf(n)
			}
			if (total > 0) != (c.version == recordV2 && frame < MaxChunk) {
				t.Fatalf("version %d, frames of %d: %d chains", c.version, frame, total)
			}
			ids, chains := make([]ID, len(plain)), make([]Chain, total)
			c.NameMany(ids, chains, plain)
			for i, m := range plain {
				n := c.ChainsOf(len(m[0]))
				got, want := c.EncodeNamed(nil, KindData, ids[i], chains[:n], m[0]), c.Encode(nil, KindData, c.ID(m[0]), m[0])
				if got.ID != want.ID || !bytes.Equal(got.Bytes, want.Bytes) {
					t.Fatalf("version %d, frames of %d, %d bytes: other records", c.version, frame, len(m[0]))
				}
				chains = chains[n:]
			}
			if len(chains) > 0 {
				t.Fatalf("%d chains of no chunk", len(chains))
			}
		}
	}
}

// TestNamingAllocatesNothing for a chunk, also where chains are kept. Pools forget what they
// hold now and then, and under the race detector often: the least of many runs counts. It
// also makes the table's zeros apart.
func TestNamingAllocatesNothing(t *testing.T) {
	c := testCodecBy(t, 4<<10, CodecMinLZ, formatV2)
	plain := []blake.Message{{plainOf(1, 28<<10, 0.7)}}
	ids, chains, buf := make([]ID, 1), make([]Chain, c.ChainsOf(28<<10)), make([]byte, 0, 2*MaxRecord)
	const most = 1
	least := math.Inf(1)
	for run := 0; run < 10_000 && least > most; run++ {
		least = min(least, testing.AllocsPerRun(1, func() {
			c.NameMany(ids, chains, plain)
			c.EncodeNamed(buf, KindData, ids[0], chains, plain[0][0])
		}))
	}
	if least > most {
		t.Errorf("%.0f allocations for a chunk, want %d at the most", least, most)
	}
}

// A record of version 2 with two frames, as it was when the format was made: an old store
// holds such, and what is written now must be read by a program that is as old.
const goldenFramed = "4846723201020c00881300006c0000006686d9b9af60565ea430144e5009b46db4c6be8c64594023a499b538e83e5ce6f7fc32ec5dda7811748eee9154784c1d" +
	"2200000091e2b0a6597238e2d1e3420ef2af7759" +
	"22000000b03053293d7c1fe5077cab25fa4a7880" +
	"008020c0617420746872656520696e20746865206d6f726e696e672c203906f4b70f008807c06e672c20617420746872656520696e20746865206d6f726e693906f43f03"

func TestGoldenFramedRecord(t *testing.T) {
	c := testCodecBy(t, 4<<10, CodecMinLZ, formatV2)
	plain := bytes.Repeat([]byte("at three in the morning, "), 200)
	id := c.ID(plain)
	rec, err := hex.DecodeString(goldenFramed)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Decode(nil, rec, id); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("the whole: %v", err)
	}
	for _, p := range []Part{part(5000, 0, 4096), part(5000, 4096, 5000)} {
		if got, whole, err := c.DecodePart(nil, rec, id, p); err != nil || whole || !bytes.Equal(got, plain[p.From:p.To]) {
			t.Errorf("part %+v: whole %v: %v", p, whole, err)
		}
	}
	if _, err := CheckStored(rec); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Logf("%x", c.Encode(nil, KindData, id, plain).Bytes)
	}
}
