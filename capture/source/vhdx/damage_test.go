package vhdx

import (
	"encoding/binary"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer/layertest"
)

// rounds sizes the random campaigns: -rounds 5000 for a long run.
var rounds = flag.Int("rounds", 60, "mutated images a test")

// TestRefused changes single fields, with good checksums, and wants an error
// that says what is wrong.
func TestRefused(t *testing.T) {
	put32 := func(at int, v uint32) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], v) }
	}
	put64 := func(at int, v uint64) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint64(b[at:], v) }
	}
	// Fields of both headers and of both region tables are changed alike.
	header := func(change func([]byte)) func([]byte) {
		return func(b []byte) { change(b[headerOff1:]); change(b[headerOff2:]) }
	}
	table := func(change func([]byte)) func([]byte) {
		return func(b []byte) { change(b[regionTable1:]); change(b[regionTable2:]) }
	}
	const items = metaPlace + metadataTableSize
	for name, c := range map[string]struct {
		spec   spec
		change func([]byte)
		says   string
	}{
		"version":          {change: header(put32(64, 2<<16)), says: "VHDX version 2"},
		"log version":      {change: header(func(b []byte) { b[48], b[64] = 1, 3 }), says: "log version 3"},
		"log offset":       {change: header(put64(72, 12345)), says: "whole MiB"},
		"log length":       {change: header(put32(68, 0xfff00000)), says: "truncated"},
		"two headers":      {change: func(b []byte) { b[headerOff1+8] = 2; b[headerOff1+32] = 7 }, says: "same sequence number 2"},
		"signature":        {change: func(b []byte) { b[0] = 'V' }, says: "no VHDX signature"},
		"region count":     {change: table(put32(8, 2048)), says: "2048 entries"},
		"region far":       {change: table(put64(16+16, 1<<60)), says: "truncated"},
		"region negative":  {change: table(put64(16+16, 1<<63)), says: "whole MiB"},
		"regions overlap":  {change: table(put64(16+16, metaPlace)), says: "share byte"},
		"region and log":   {change: table(put64(16+16, logPlace)), says: "share byte"},
		"region missing":   {change: table(put32(8, 1)), says: "lacks the BAT or the metadata"},
		"region required":  {spec: spec{regions: [][]byte{regionEntry(guid{0x44, 0x33, 0x22, 0x11}, batPlace+4*mib, mib, 1)}}, says: "region 11223344-"},
		"region twice":     {spec: spec{regions: [][]byte{regionEntry(batRegion, batPlace+4*mib, mib, 1)}}, says: "appears twice"},
		"item required":    {spec: spec{items: [][]byte{itemEntry(guid{0x44, 0x33, 0x22, 0x11}, 0, 0, 4)}}, says: "item 11223344-"},
		"item of a user":   {spec: spec{items: [][]byte{itemEntry(itemDiskSize, 0, 0, 5)}}, says: "item 2fa54224-"},
		"item twice":       {spec: spec{items: [][]byte{itemEntry(itemDiskSize, metadataTableSize, 8, 6)}}, says: "appears twice"},
		"item count":       {change: put32(metaPlace+8, 2048<<16), says: "2048 entries"},
		"item outside":     {change: put32(metaPlace+32+16, 1<<20-4), says: "does not fit"},
		"item missing":     {change: put32(metaPlace+32, 5), says: "item 00000005-"},
		"item optional":    {change: func(b []byte) { b[metaPlace+32] = 5; b[metaPlace+32+24] = 0 }, says: "lack the file parameters"},
		"block size":       {change: put32(items, 3<<20), says: "power of two"},
		"block size big":   {change: put32(items, 512<<20), says: "power of two"},
		"disk size 0":      {change: put64(items+8, 0), says: "disk size is 0"},
		"disk size odd":    {change: put64(items+8, 513), says: "disk size is 513"},
		"disk size huge":   {change: put64(items+8, 1<<63), says: "disk size is -"},
		"BAT too short":    {change: put64(items+8, 1<<40), says: "too short"},
		"sector size":      {change: put32(items+32, 1024), says: "neither 512 nor 4096"},
		"state 5":          {change: put64(batPlace, 4<<20|5), says: "state 5"},
		"partial, dynamic": {change: put64(batPlace, 4<<20|7), says: "state 7"},
		"block in headers": {change: put64(batPlace, 6), says: "into the headers"},
		"block far":        {change: put64(batPlace+8, ^uint64(0)&^7|6), says: "reaches beyond the end"},
	} {
		s := c.spec
		s.guest, s.blockSize = layertest.Guest(1, 2<<20, 512), 1<<20
		b := s.build()
		if len(s.regions) > 0 {
			b = append(b, make([]byte, 8<<20)...)
		}
		if c.change != nil {
			c.change(b)
		}
		mend(b)
		path := layertest.WriteFile(t, filepath.Join(t.TempDir(), "disk.vhdx"), b)
		if err := layertest.Exercise(t, Open, path); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBitmapMissing: a block that is partially present needs its bitmap.
func TestBitmapMissing(t *testing.T) {
	dir := t.TempDir()
	path, _ := chain(t, dir, 1, 512, 1<<20, [3]int{2 << 20, 2 << 20, 2 << 20}, nil)
	b := layertest.ReadFile(t, path)
	clear(b[batPlace+8*4096:][:8]) // after the 4096 payload blocks of a chunk
	layertest.WriteFile(t, path, b)
	if err := layertest.Exercise(t, Open, path); err == nil || !strings.Contains(err.Error(), "sector bitmap is not") {
		t.Errorf("read: %v", err)
	}
}

// TestCopies: one damaged header or region table is made good by the other.
func TestCopies(t *testing.T) {
	s := spec{guest: layertest.Guest(1, 1<<20, 512), blockSize: 1 << 20}
	for _, place := range []int{headerOff1, headerOff2, regionTable1, regionTable2} {
		b := s.build()
		b[place+100] ^= 1
		path := layertest.WriteFile(t, filepath.Join(t.TempDir(), "disk.vhdx"), b)
		layertest.Check(t, layertest.Open(t, Open, path), s.guest, 1)
	}
	for _, places := range [][2]int{{headerOff1, headerOff2}, {regionTable1, regionTable2}} {
		b := s.build()
		b[places[0]+100] ^= 1
		b[places[1]+100] ^= 1
		path := layertest.WriteFile(t, filepath.Join(t.TempDir(), "disk.vhdx"), b)
		if err := layertest.Exercise(t, Open, path); err == nil || !strings.Contains(err.Error(), "neither") {
			t.Errorf("both copies damaged: %v", err)
		}
	}
}

// cuts are the places where an image of size bytes is cut: at every byte of
// the small structures, and around the bounds of the large ones.
func cuts(size int) (all []int) {
	for _, at := range []int{0, headerOff1, headerOff2, regionTable1, regionTable2, 320 * kib, logPlace, metaPlace, batPlace, 4 * mib, 5 * mib, 6 * mib} {
		for d := -2; d <= 100; d++ {
			if n := at + d; n >= 0 && n < size {
				all = append(all, n)
			}
		}
	}
	for n := 0; n < size; n += 61*kib + 7 {
		all = append(all, n)
	}
	return append(all, size-1, size-512, size-4096)
}

// TestTruncated cuts clean and dirty images; each cut is an error that names
// the file, because the last block is data to its end.
func TestTruncated(t *testing.T) {
	guest := layertest.Guest(1, 2<<20, 512)
	guest[len(guest)-1] = 1
	image := spec{guest: guest, blockSize: 1 << 20}.build()
	d := newDirty(image)
	r := rand.New(rand.NewPCG(1, 1))
	d.logSequence(r, 0, 5, d.scramble(r, 8), 2)
	for name, b := range map[string][]byte{"clean": image, "dirty": d.image} {
		path := filepath.Join(t.TempDir(), "cut.vhdx")
		for _, n := range cuts(len(b)) {
			layertest.Rewrite(t, path, nil)
			layertest.Rewrite(t, path, b[:n])
			err := layertest.Exercise(t, Open, path)
			var corrupt *source.CorruptError
			if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), path) {
				t.Fatalf("%s cut at %d of %d: %v", name, n, len(b), err)
			}
		}
	}
}

// mend makes the checksums of an image of spec right again.
func mend(b []byte) {
	for _, s := range []span{{headerOff1, headerSize}, {headerOff2, headerSize}, {regionTable1, regionTableSize}, {regionTable2, regionTableSize}} {
		if int64(len(b)) >= s.end() {
			seal(b[s.off:s.end()])
		}
	}
	for off := logPlace; off+logSector <= min(len(b), 2*mib); off += logSector {
		length := int(binary.LittleEndian.Uint32(b[off+8:]))
		if string(b[off:off+4]) == "loge" && length >= logHeaderSize && length <= len(b)-off {
			seal(b[off : off+length])
		}
	}
}

// tiny is an image of 5 MiB, with a log to replay.
func tiny() []byte {
	d := newDirty(spec{guest: layertest.Guest(1, 64<<10, 512), blockSize: 1 << 20}.build())
	r := rand.New(rand.NewPCG(1, 1))
	d.logSequence(r, 0, 5, []logged{
		{off: batPlace, length: logSector, data: append([]byte(nil), d.image[batPlace:][:logSector]...)},
		{off: batPlace + logSector, length: 8 * logSector},
	}, 2)
	return d.image
}

// TestMutated reads damaged images: no panic, no hang, bounded memory.
func TestMutated(t *testing.T) {
	dir := t.TempDir()
	path, _ := chain(t, dir, 1, 512, 1<<20, [3]int{1 << 20, 1 << 20, 1 << 20}, nil)
	refused := 0
	for _, image := range [][]byte{tiny(), layertest.ReadFile(t, path)} {
		hot := [][2]int{
			{headerOff1, headerOff1 + 80}, {headerOff2, headerOff2 + 80}, {regionTable1, regionTable1 + 80}, {regionTable2, regionTable2 + 80},
			{metaPlace, metaPlace + 230}, {metaPlace + metadataTableSize, metaPlace + metadataTableSize + 400}, {batPlace, batPlace + 16},
			{logPlace, logPlace + 200}, {logPlace + 12*kib, logPlace + 12*kib + 200},
		}
		refused += layertest.Mutate(t, Open, image, hot, mend, *rounds, 1)
	}
	if refused == 0 {
		t.Error("no mutated image was refused")
	}
}

// FuzzOpen mutates what matters of a VHDX: the input replaces its headers'
// used parts, its tables' and its log's fronts, since no fuzzer gets through
// 5 MiB of zeros.
func FuzzOpen(f *testing.F) {
	base := tiny()
	parts := []span{{headerOff1, 128}, {headerOff2, 128}, {regionTable1, 128}, {metaPlace, 256}, {metaPlace + metadataTableSize, 128}, {batPlace, 64}, {logPlace, 512}, {logPlace + 12*kib, 512}}
	var seed []byte
	for _, p := range parts {
		seed = append(seed, base[p.off:p.end()]...)
	}
	f.Add(seed)
	path := filepath.Join(f.TempDir(), "fuzz.vhdx")
	layertest.WriteFile(f, path, base)
	f.Fuzz(func(t *testing.T, input []byte) {
		b := append([]byte(nil), base...)
		for _, p := range parts {
			n := copy(b[p.off:p.end()], input)
			input = input[n:]
		}
		mend(b)
		patch(t, path, b)
		layertest.Exercise(t, Open, path)
	})
}

// patch writes the first 4 MiB of b, all that FuzzOpen changes.
func patch(t *testing.T, path string, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b[:batPlace+4*kib], 0); err != nil {
		t.Fatal(err)
	}
}
