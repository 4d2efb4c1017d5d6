package chunkstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// someHeads returns n ids, each another, in no order.
func someHeads(n int) (ids []idHead, h heads) {
	for i := range n {
		var id idHead
		binary.LittleEndian.PutUint64(id[i%9:], uint64(i)*0x9e3779b97f4a7c15)
		ids = append(ids, id)
		h.add(id)
	}
	return ids, h
}

var headCounts = []int{0, 1, 2, headBlock - 1, headBlock, headBlock + 1, 2*headBlock + 1}

// TestHeads: a list gives back what was added, and a copy of it what was there by then.
func TestHeads(t *testing.T) {
	for _, n := range headCounts {
		ids, h := someHeads(n)
		then := h
		for range headBlock + 1 {
			h.add(idHead{0xff})
		}
		if got := slices.Collect(then.all()); !slices.Equal(got, ids) {
			t.Errorf("%d ids: others come back", n)
		}
		if got := slices.Collect(h.all()); h.n != n+headBlock+1 || !slices.Equal(got[:n], ids) || got[n] != (idHead{0xff}) {
			t.Errorf("%d ids: others come back after more", n)
		}
		slices.SortFunc(ids, func(a, b idHead) int { return bytes.Compare(a[:], b[:]) })
		if !slices.Equal(then.sorted(), ids) {
			t.Errorf("%d ids: they are not in order", n)
		}
	}
}

// youngFile is the file by its description alone.
func youngFile(base, set packSet, ids []idHead) []byte {
	b := []byte("hfyoung\x01")
	for _, n := range []uint64{base.sum[0], base.sum[1], base.packs, set.sum[0], set.sum[1], set.packs, uint64(len(ids))} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	for _, id := range ids {
		b = append(b, id[:]...)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

var youngOf, youngWith = packSet{[2]uint64{1, 2}, 3}, packSet{[2]uint64{4, 5}, 1 << 40}

// TestYoungFile: what is written is the file as it is described, and is read again.
func TestYoungFile(t *testing.T) {
	for _, n := range headCounts {
		ids, h := someHeads(n)
		want := youngFile(youngOf, youngWith, ids)
		var got bytes.Buffer
		if err := (&youngIDs{youngOf, youngWith, h}).write(&got); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("%d ids: another file is written: %v", n, err)
		}
		y, err := parseYoung(&got, int64(len(want)))
		if err != nil {
			t.Fatalf("%d ids: %v", n, err)
		}
		if y.base != youngOf || y.set != youngWith || !slices.Equal(slices.Collect(y.ids.all()), ids) {
			t.Errorf("%d ids: %v %v, and %d ids come back", n, y.base, y.set, y.ids.n)
		}
	}
}

// TestDamagedYoungFile: a file that is cut anywhere, is longer, or has any other byte is
// none; nor is one of which more was there when its size was asked for.
func TestDamagedYoungFile(t *testing.T) {
	for _, n := range []int{0, 1, 3, headBlock + 1} {
		ids, _ := someHeads(n)
		whole := youngFile(youngOf, youngWith, ids)
		step := 1 + len(whole)/2000 // in turn each place in a line
		refuse := func(what string, b []byte, size int) {
			t.Helper()
			if y, err := parseYoung(bytes.NewReader(b), int64(size)); y != nil || !errors.Is(err, errFilter) {
				t.Fatalf("%d ids, %s: %v, %v", n, what, y, err)
			}
		}
		for i := 0; i < len(whole); i += step {
			refuse("cut", whole[:i], i)
			refuse("cut as it is read", whole[:i], len(whole))
			hurt := bytes.Clone(whole)
			hurt[i] ^= 1 << (i % 8)
			refuse("changed", hurt, len(whole))
		}
		refuse("longer", append(bytes.Clone(whole), 0), len(whole)+1)
		refuse("longer by an id", append(bytes.Clone(whole), whole[len(whole)-16:]...), len(whole)+16)
	}
	many := youngFile(youngOf, youngWith, make([]idHead, youngMost+1))
	if y, err := parseYoung(bytes.NewReader(many), int64(len(many))); y != nil || !errors.Is(err, errFilter) {
		t.Errorf("more ids than there may be: %v, %v", y, err)
	}
}

// failingAfter fails after so many bytes.
type failingAfter int

var errNoMore = errors.New("no more")

func (f *failingAfter) Write(b []byte) (int, error) {
	if int(*f) < len(b) {
		return 0, errNoMore
	}
	*f -= failingAfter(len(b))
	return len(b), nil
}

// TestYoungFileThatCannotBeWritten: whichever piece fails, the sum's too, it is said.
func TestYoungFileThatCannotBeWritten(t *testing.T) {
	_, h := someHeads(2*headBlock + 1)
	for most := range youngHead + 16*h.n + 4 {
		if most%1000 != 0 && most < youngHead+16*h.n-1 {
			continue
		}
		f := failingAfter(most)
		if err := (&youngIDs{youngOf, youngWith, h}).write(&f); !errors.Is(err, errNoMore) {
			t.Fatalf("room for %d bytes: %v", most, err)
		}
	}
}

// TestYoungFileTakesLittleMemory: reading takes what the ids take and some pieces, writing
// some pieces, however many ids there are.
func TestYoungFileTakesLittleMemory(t *testing.T) {
	ids, h := someHeads(youngMost)
	file := youngFile(youngOf, youngWith, ids)
	for what, c := range map[string]struct {
		do   func() error
		most uint64
	}{
		"write": {func() error { return (&youngIDs{youngOf, youngWith, h}).write(io.Discard) }, 3 * youngPiece},
		"read": {func() error {
			_, err := parseYoung(bytes.NewReader(file), int64(len(file)))
			return err
		}, 16*youngMost + 3*youngPiece},
	} {
		least := uint64(math.MaxUint64) // whatever else runs meanwhile only adds to it
		for range 10 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := c.do(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			runtime.ReadMemStats(&after)
			least = min(least, after.TotalAlloc-before.TotalAlloc)
		}
		if least > c.most {
			t.Errorf("%s takes %d bytes of memory, %d at the most", what, least, c.most)
		}
	}
}

// TestYoungFileAfterAHalfWrittenOne: what a crash left of a file that had no name yet is in
// nobody's way.
func TestYoungFileAfterAHalfWrittenOne(t *testing.T) {
	mem := vfs.NewMem()
	f := openLearned(t, mem)
	f.shut()
	ids, _ := someHeads(1000)
	writeAll(t, mem, f.newFilePath(), youngFile(youngOf, youngWith, ids)[:8000])
	f = openFresh(t, mem, f.ids)
	f.ask()
	f.prove()
	f.put(50)
	f.shut()
	raw := readAll(t, mem, f.youngPath())
	if y, err := parseYoung(bytes.NewReader(raw), int64(len(raw))); err != nil || y.ids.n != 50 {
		t.Fatalf("the file of what entered: %v", err)
	}
	f = openFresh(t, mem, f.ids)
	f.ask()
	f.prove()
	f.shut()
}

// FuzzYoung: whatever a file has, it is refused or is the file of what is read from it.
func FuzzYoung(f *testing.F) {
	ids, _ := someHeads(3)
	whole := youngFile(youngOf, youngWith, ids)
	f.Add(whole[:len(whole)-4])
	f.Add(youngFile(youngOf, youngWith, nil)[:youngHead])
	f.Fuzz(func(t *testing.T, body []byte) {
		b := binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, filterTable))
		y, err := parseYoung(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := y.write(&again); err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Errorf("%d ids make another file: %v", y.ids.n, err)
		}
	})
}
