package pack

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/zeebo/blake3"
)

// goldenPlain is n bytes that don't shrink, made by nothing but arithmetic.
func goldenPlain(n int) []byte {
	b, x := make([]byte, n), uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// goldens are records and packs as they lie on disk, up to what is known otherwise: the
// plain bytes that follow a frame table, and the parity's blocks. They must not change.
// They were made by another program, with BLAKE3 written by its specification and XXH3 of
// libxxhash 0.8.1.
var goldens = []struct {
	format         int
	record, framed string // of 5 bytes; of 5000 in frames of 4 KiB, without the frames
	pack, hash     string // of the one record, up to the parity; the BLAKE3 hash of all of it
}{
	{
		format: 2,
		record: "484672310100000005000000050000001c9c84101083e2b1f01a7f2425e78145f16a7a023e4787a6df1db4783429d671880b447fb27515d76431c869f32a5c3d" +
			"3c5e81b40c",
		framed: "4846723101020c0088130000b013000062566e36054a9361d4c6e297b364e8b6a1969b1b11054eddc5d788fed3ccf2139aba6fda10ffaaaa618998430a431ca1" +
			"00100000bf67b33d86dcfcfb967489f1f3ab162288030000a0e606fa0c9e732b130087146539cdc1",
		pack: "48465041434b00012a0000000000000007000000000000000000000000000000000000000000000000000000000000009f43231c08aab7c06dfc2298c34963ee" +
			"484672310100000005000000050000001c9c84101083e2b1f01a7f2425e78145f16a7a023e4787a6df1db4783429d671880b447fb27515d76431c869f32a5c3d" +
			"3c5e81b40c1c9c84101083e2b1f01a7f2425e78145f16a7a023e4787a6df1db4783429d67140000000050000000500000001000000cd68c0d15ac528464de827" +
			"bfc777a7a34de827bfc777a7a3bdd0c2eeb8673f32d3aaa925aab53f4f484650454e4400012a0000000000000085000000000000000100000001000100ad4ad9" +
			"c7873bc9265d61265c3d4f10179f6101340209ba99d813a3dc00f890b6",
		hash: "75c2945c60508c00bd0726ac944b4885de7bca3f7e5d9226cde073348a745ead",
	},
	{
		format: 3,
		record: "484672320100000005000000050000001c9c84101083e2b1f01a7f2425e78145f16a7a023e4787a6df1db4783429d67160cb177180cf174a23ff73e66d3b6da3" +
			"3c5e81b40c",
		framed: "4846723201020c0088130000b013000062566e36054a9361d4c6e297b364e8b6a1969b1b11054eddc5d788fed3ccf21337e63de6c468ed0ebe071f487ef9a2ae" +
			"00100000c448dfe7dfd9387710b58b6d13c3918c880300007ad497cb4b06bca4164cef5aff6fab74",
		pack: "48465041434b00012a0000000000000007000000000000000000000000000000000000000000000000000000000000009f43231c08aab7c06dfc2298c34963ee" +
			"484672320100000005000000050000001c9c84101083e2b1f01a7f2425e78145f16a7a023e4787a6df1db4783429d67160cb177180cf174a23ff73e66d3b6da3" +
			"3c5e81b40c1c9c84101083e2b1f01a7f2425e78145f16a7a023e4787a6df1db4783429d671400000000500000005000000010000009ecc71f167d1dad08dea4a" +
			"ffe6000ff28dea4affe6000ff28ee33ea97066c86aa67a8cde776fbac4484650454e4400012a0000000000000085000000000000000100000002000100ad4ad9" +
			"c7873bc9265d61265c3d4f1017ee0c6ccb4a223072a4ff39b6d1d21877",
		hash: "098e1dd9eefa942bfe6c44ed55eaf2838b62e21aa37f0ffb6164d191f5e4a496",
	},
}

func goldenCodec(t *testing.T, format int) *Codec {
	t.Helper()
	c, err := NewCodec(Key{1, 2, 3}, 4<<10, CodecMinLZ, format)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestGoldenRecords: a record of each version is, byte for byte, what it was when the
// version came to be, and is read.
func TestGoldenRecords(t *testing.T) {
	for _, g := range goldens {
		c := goldenCodec(t, g.format)
		for _, r := range []struct {
			n    int
			want string
		}{{5, g.record}, {5000, g.framed}} {
			plain := goldenPlain(r.n)
			want, err := hex.DecodeString(r.want)
			if err != nil {
				t.Fatal(err)
			}
			if r.n > 5 {
				want = append(want, plain...)
			}
			got := c.Encode(nil, KindData, c.ID(plain), plain)
			if !bytes.Equal(got.Bytes, want) {
				t.Errorf("format %d, %d bytes: stored as %x", g.format, r.n, got.Bytes[:min(len(got.Bytes), RecordHeaderLen+2*frameEntryLen)])
			}
			if rec, err := CheckStored(want); err != nil || rec.ID != c.ID(plain) {
				t.Errorf("format %d, %d bytes: %v", g.format, r.n, err)
			}
			if back, err := testCodec(t, 0).Decode(nil, want, c.ID(plain)); err != nil || !bytes.Equal(back, plain) {
				t.Errorf("format %d, %d bytes: %v", g.format, r.n, err)
			}
		}
	}
}

// TestGoldenPacks: so are packs of each kind of parity.
func TestGoldenPacks(t *testing.T) {
	for _, g := range goldens {
		c, plain := goldenCodec(t, g.format), goldenPlain(5)
		dst := &proveDest{}
		w := NewWriter(dst, Header{Pack: 42, Store: [16]byte{7}, Class: ClassData}, WriterOptions{Format: g.format})
		if _, err := w.Append(c.Encode(nil, KindData, c.ID(plain), plain)); err != nil {
			t.Fatal(err)
		}
		if err := w.Seal(); err != nil {
			t.Fatal(err)
		}
		all := blake3.Sum256(dst.b)
		head := dst.b[:len(dst.b)-(TrailerLen+3*blockSumLen+sumLen+2*4096)]
		if hex.EncodeToString(head) != g.pack || hex.EncodeToString(all[:]) != g.hash {
			t.Errorf("format %d: stored as %x, with the hash %x", g.format, head, all)
		}
		if p, bad := proveAll(t, dst.b); bad+len(p.Faults) > 0 {
			t.Errorf("format %d: %v", g.format, p.Faults)
		}
	}
}
