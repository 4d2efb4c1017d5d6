package lz

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"holdfast/fs/guest/ntfs/wimtest"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// The examples of [MS-XCA] 3.
var (
	tune = []byte("F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\x00")

	tuneLZNT1 = unhex(`38b08846232000204720410010a24701a045204400084501507900c04520052413880
		5b4024a44ef0358028c0916014845 00be009e0004011890 00`)

	letters       = []byte("abcdefghijklmnopqrstuvwxyz")
	lettersXPRESS = unhex(strings.Repeat("00", 48) + "5055555555555555555555454404" + strings.Repeat("00", 66) +
		"04" + strings.Repeat("00", 127) + "d8523ed794115be9195ff9d67cdf8d0400000000")

	abc100       = bytes.Repeat([]byte("abc"), 100)
	abc100XPRESS = unhex(strings.Repeat("00", 48) + "3023" + strings.Repeat("00", 78) + "02" + strings.Repeat("00", 14) + "20" +
		strings.Repeat("00", 112) + "a8dc0000ff2601")
)

func TestExamples(t *testing.T) {
	got := make([]byte, len(tune))
	if n, err := LZNT1(got, tuneLZNT1); n != len(tune) || err != nil || !bytes.Equal(got, tune) {
		t.Errorf("LZNT1: %d, %v: %q", n, err, got)
	}
	for _, e := range []struct{ plain, packed []byte }{{letters, lettersXPRESS}, {abc100, abc100XPRESS}} {
		got := make([]byte, len(e.plain))
		if err := XPRESS(got, e.packed); err != nil || !bytes.Equal(got, e.plain) {
			t.Errorf("XPRESS: %v: %q", err, got)
		}
	}
}

// TestLZNT1Chunks has chunks of each kind, and one that ends early before
// another.
func TestLZNT1Chunks(t *testing.T) {
	raw := bytes.Repeat([]byte("0123456789abcdef"), 256)
	// A byte, then a copy of it over the rest of a chunk.
	same := []byte{0x03, 0xb0, 0x02, 'x', 0xfc, 0x0f}
	short := []byte{0x01, 0xb0, 0x00, 'y'}
	packed := bytes.Join([][]byte{{0xff, 0x3f}, raw, same, short, same, {0, 0}, same}, nil)
	want := bytes.Join([][]byte{raw, bytes.Repeat([]byte("x"), 4096), {'y'}, make([]byte, 4095), bytes.Repeat([]byte("x"), 4096)}, nil)
	for _, size := range []int{0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 3*4096 + 1, len(want) - 1, len(want), len(want) + 1} {
		got := bytes.Repeat([]byte{0xcc}, size)
		n, err := LZNT1(got, packed)
		if wanted := min(size, len(want)); n != wanted || err != nil || !bytes.Equal(got[:n], want[:wanted]) {
			t.Errorf("%d bytes: %d, %v", size, n, err)
		}
	}
	for name, bad := range map[string][]byte{
		"a chunk behind the end": {0x05, 0xb0, 0x00, 'y'},
		"a copy of nothing":      {0x02, 0xb0, 0x01, 0x00, 0x00},
		"a copy from before":     {0x03, 0xb0, 0x02, 'x', 0x00, 0x10},
		"half a copy":            {0x02, 0xb0, 0x02, 'x', 0x00},
	} {
		if _, err := LZNT1(make([]byte, 4096), bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// contents are what packers find easy and hard: text, programs (calls of x86),
// noise, repetition, and a mix; with sizes around those of chunks.
func contents(t testing.TB) [][]byte {
	t.Helper()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	skewed := make([]byte, 150_000)
	for i := range skewed {
		skewed[i] = byte(rnd.ExpFloat64() * 9)
	}
	text, err := os.ReadFile("lz_test.go")
	if err != nil {
		t.Fatal(err)
	}
	all := [][]byte{text, program[:300_000], program[len(program)/2:][:200_001], skewed, bytes.Repeat([]byte("abcab"), 30_000), make([]byte, 70_000)}
	all = append(all, bytes.Join([][]byte{noise[:40_000], text, noise[40_000:], program[:50_000]}, nil))
	for _, n := range []int{4095, 4096, 4097, 8193, 16385, 32767, 32768, 32769, 65537} {
		all = append(all, bytes.Repeat(program[300_000:][:3001], 30)[:n])
	}
	return all
}

// TestWimlib unpacks what wimlib has packed, in every size of chunk that Windows
// uses.
func TestWimlib(t *testing.T) {
	all := contents(t)
	for _, c := range []struct {
		algorithm string
		chunk     int
		unpack    func(dst, src []byte) error
	}{{"xpress", 4096, XPRESS}, {"xpress", 8192, XPRESS}, {"xpress", 16384, XPRESS}, {"xpress", 65536, XPRESS}, {"lzx", 32768, LZX}} {
		chunks := 0
		for _, p := range wimtest.Pack(t, all, c.algorithm, c.chunk) {
			p.Chunks(func(plain, packed []byte) {
				chunks++
				got := bytes.Repeat([]byte{0xcc}, len(plain))
				if err := c.unpack(got, packed); err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("%s %d: chunk %d of %d bytes in %d: %v", c.algorithm, c.chunk, chunks, len(plain), len(packed), err)
				}
				if chunks%5 == 1 {
					cut(t, c.unpack, plain, packed, chunks)
				}
			})
		}
		t.Logf("%s %d: %d chunks", c.algorithm, c.chunk, chunks)
		if chunks < 20 {
			t.Errorf("%s %d: only %d chunks", c.algorithm, c.chunk, chunks)
		}
	}
}

// cut leaves out the end, and asks for more than there is: neither may give the
// content, or panic.
func cut(t testing.TB, unpack func(dst, src []byte) error, plain, packed []byte, number int) {
	t.Helper()
	got := make([]byte, len(plain)+1)
	if err := unpack(got, packed); err == nil && len(plain) > 300 && !bytes.Equal(got[:len(plain)], plain) {
		t.Fatalf("chunk %d: one byte more changes those before", number)
	}
	for size := 0; size < len(packed); size += 1 + len(packed)/(5+number%7) {
		if err := unpack(got[:len(plain)], packed[:size]); err == nil && size < len(packed)-4 {
			t.Fatalf("chunk %d: %d bytes unpack from %d of %d", number, len(plain), size, len(packed))
		}
	}
}

// TestLZXRaw unpacks blocks that are stored as they are, which wimlib does not
// make: kind 3 in 3 bits, not 32 KiB in 1, length in 16, the rest of the word,
// three distances, bytes, and one more if they are odd.
func TestLZXRaw(t *testing.T) {
	distances := unhex("010000000200000003000000")
	packed := bytes.Join([][]byte{unhex("00600050"), distances, []byte("abcde"), {0}, unhex("00600030"), distances, []byte("xyz")}, nil)
	got := make([]byte, 8)
	if err := LZX(got, packed); err != nil || string(got) != "abcdexyz" {
		t.Errorf("%q, %v", got, err)
	}
	for size := range packed {
		if err := LZX(got, packed[:size]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes of %d: %v", size, len(packed), err)
		}
	}
	whole := bytes.Repeat([]byte("0123456789abcde\n"), 2048)
	got = make([]byte, len(whole))
	if err := LZX(got, bytes.Join([][]byte{unhex("0070"), distances, whole}, nil)); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("32 KiB: %v", err)
	}
}

// TestTruncated unpacks the examples cut off at every byte.
func TestTruncated(t *testing.T) {
	for size := range lettersXPRESS {
		got := make([]byte, len(letters))
		if err := XPRESS(got, lettersXPRESS[:size]); err == nil && !bytes.Equal(got, letters) {
			t.Errorf("XPRESS: %d bytes give %q", size, got)
		}
	}
	for size := range tuneLZNT1 {
		got := make([]byte, len(tune))
		n, err := LZNT1(got, tuneLZNT1[:size])
		if err == nil && n > 0 && size < len(tuneLZNT1)-2 {
			t.Errorf("LZNT1: %d bytes give %d: %q", size, n, got[:n])
		}
	}
}

func FuzzLZNT1(f *testing.F) {
	f.Add(tuneLZNT1, uint16(len(tune)))
	f.Add([]byte{0x03, 0xb0, 0x02, 'x', 0xfc, 0x0f}, uint16(4096))
	f.Fuzz(func(t *testing.T, packed []byte, size uint16) {
		dst := make([]byte, size)
		if n, _ := LZNT1(dst, packed); n < 0 || n > len(dst) {
			t.Fatal(n)
		}
	})
}

func FuzzXPRESS(f *testing.F) {
	f.Add(lettersXPRESS, uint16(len(letters)))
	f.Add(abc100XPRESS, uint16(len(abc100)))
	for _, p := range wimtest.Pack(f, contents(f)[:1], "xpress", 4096) {
		p.Chunks(func(plain, packed []byte) { f.Add(packed, uint16(len(plain))) })
	}
	f.Fuzz(func(t *testing.T, packed []byte, size uint16) { _ = XPRESS(make([]byte, size), packed) })
}

func FuzzLZX(f *testing.F) {
	for _, p := range wimtest.Pack(f, contents(f)[:4], "lzx", 32768) {
		n := 0
		p.Chunks(func(plain, packed []byte) {
			if n++; n < 4 {
				f.Add(packed, uint16(len(plain)))
			}
		})
	}
	f.Fuzz(func(t *testing.T, packed []byte, size uint16) { _ = LZX(make([]byte, size), packed) })
}
