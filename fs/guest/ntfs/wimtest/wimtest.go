// Package wimtest packs files with wimlib (Debian's wimtools), which the tests
// take as a packer of XPRESS and LZX that is not ours: what a WIM file holds of
// one file is, byte for byte, what the stream WofCompressedData of NTFS holds.
package wimtest

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Packed is one file's packed content: a table of 4 bytes for each chunk but
// the first, with its place behind the table, then the chunks; those that are
// not smaller than their content are not packed.
type Packed struct {
	Plain, Bytes []byte
	Chunk        int
}

// Chunks calls fn for each chunk that is packed, with its plain content.
func (p Packed) Chunks(fn func(plain, packed []byte)) {
	n := (len(p.Plain) + p.Chunk - 1) / p.Chunk
	place := func(i int) int {
		switch i {
		case 0:
			return 4 * (n - 1)
		case n:
			return len(p.Bytes)
		}
		return 4*(n-1) + int(binary.LittleEndian.Uint32(p.Bytes[4*(i-1):]))
	}
	for i := range n {
		plain := p.Plain[i*p.Chunk : min((i+1)*p.Chunk, len(p.Plain))]
		if packed := p.Bytes[place(i):place(i+1)]; len(packed) < len(plain) {
			fn(plain, packed)
		}
	}
}

// Pack packs contents with an algorithm of wimlib, "xpress" or "lzx". Contents
// that could not be made smaller at all are left out.
func Pack(t testing.TB, contents [][]byte, algorithm string, chunk int) []Packed {
	t.Helper()
	dir := t.TempDir()
	from, wim := filepath.Join(dir, "from"), filepath.Join(dir, "wim")
	if err := os.Mkdir(from, 0o755); err != nil {
		t.Fatal(err)
	}
	plain := map[[20]byte][]byte{}
	for i, content := range contents {
		if err := os.WriteFile(filepath.Join(from, fmt.Sprint(i)), content, 0o644); err != nil {
			t.Fatal(err)
		}
		plain[sha1.Sum(content)] = content
	}
	out, err := exec.Command("wimlib-imagex", "capture", from, wim, "--threads=1", "--compress="+algorithm, fmt.Sprintf("--chunk-size=%d", chunk)).CombinedOutput()
	if err != nil {
		t.Fatalf("wimlib-imagex: %v\n%s", err, out)
	}
	b, err := os.ReadFile(wim)
	if err != nil {
		t.Fatal(err)
	}
	return resources(b, plain, chunk)
}

// resources finds what a WIM file holds of some contents. At 48 of its head is
// the place of a table; in both, a place is the length in 7 bytes, flags 1 (4
// for packed), offset 8, plain length 8. An entry of the table is a place, part
// 2, references 4, SHA-1 20.
func resources(b []byte, plain map[[20]byte][]byte, chunk int) []Packed {
	const placeLen, entryLen, packed = 24, 50, 4
	le := binary.LittleEndian
	place := func(at []byte) []byte {
		return b[le.Uint64(at[8:]):][:le.Uint64(at)&(1<<56-1)]
	}
	var all []Packed
	for table := place(b[48:]); len(table) >= entryLen; table = table[entryLen:] {
		content, ok := plain[[20]byte(table[placeLen+6:])]
		if ok && table[7]&packed != 0 {
			all = append(all, Packed{Plain: content, Bytes: place(table), Chunk: chunk})
		}
	}
	return all
}
