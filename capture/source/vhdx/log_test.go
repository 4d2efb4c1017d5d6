package vhdx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer/layertest"
)

var testLog = guid{0xaa, 1, 2, 3}

// logged is a write to put into a log entry; data is 4 KiB, or nil for zeros.
type logged struct {
	off, length int64
	data        []byte
}

// entry makes a log entry.
func entry(id guid, sequence uint64, tail, flushed, last int64, writes []logged) []byte {
	e := logEntry{count: int64(len(writes))}
	b := make([]byte, e.descriptorBytes())
	for i, w := range writes {
		d := b[logHeaderSize+i*descriptorSize:][:descriptorSize]
		binary.LittleEndian.PutUint64(d[16:], uint64(w.off))
		binary.LittleEndian.PutUint64(d[24:], sequence)
		if w.data == nil {
			copy(d, "zero")
			binary.LittleEndian.PutUint64(d[8:], uint64(w.length))
			continue
		}
		copy(d, "desc")
		copy(d[4:8], w.data[logSector-sectorTailBytes:])
		copy(d[8:16], w.data)
		sector := append([]byte(nil), w.data...)
		copy(sector, "data")
		binary.LittleEndian.PutUint32(sector[4:], uint32(sequence>>32))
		binary.LittleEndian.PutUint32(sector[logSector-4:], uint32(sequence))
		b = append(b, sector...)
	}
	copy(b, "loge")
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)))
	binary.LittleEndian.PutUint32(b[12:], uint32(tail))
	binary.LittleEndian.PutUint64(b[16:], sequence)
	binary.LittleEndian.PutUint32(b[24:], uint32(len(writes)))
	copy(b[32:], id[:])
	binary.LittleEndian.PutUint64(b[48:], uint64(flushed))
	binary.LittleEndian.PutUint64(b[56:], uint64(last))
	seal(b)
	return b
}

// dirty is an image under construction whose log is not replayed.
type dirty struct {
	image   []byte
	log     span
	flushed int64
	last    int64
}

// newDirty names the log in both headers of an image.
func newDirty(image []byte) *dirty {
	d := &dirty{image: append([]byte(nil), image...), flushed: int64(len(image)), last: int64(len(image))}
	for _, off := range []int{headerOff1, headerOff2} {
		h := d.image[off:][:headerSize]
		if string(h[:4]) != "head" {
			continue
		}
		copy(h[48:64], testLog[:])
		seal(h)
		d.log = span{int64(binary.LittleEndian.Uint64(h[72:])), int64(binary.LittleEndian.Uint32(h[68:]))}
	}
	return d
}

// put writes an entry into the ring at pos and returns where the next goes.
func (d *dirty) put(pos int64, e []byte) int64 {
	for i := 0; i < len(e); i += logSector {
		copy(d.image[d.log.off+pos:][:logSector], e[i:])
		pos = (pos + logSector) % d.log.length
	}
	return pos
}

// scramble takes n sectors of the BAT, the metadata and the region tables out
// of the image, leaves nonsense there, and returns the writes that restore
// them. Sectors of zeros become zero writes.
func (d *dirty) scramble(r *rand.Rand, n int) (writes []logged) {
	f := &regions{}
	table := d.image[regionTable1:]
	for i := range 2 {
		e := table[16+i*entrySize:]
		s := span{int64(binary.LittleEndian.Uint64(e[16:])), int64(binary.LittleEndian.Uint32(e[24:]))}
		if guid(e[:16]) == batRegion {
			f.bat = s
		} else {
			f.metadata = s
		}
	}
	places := []int64{regionTable1, regionTable2, f.metadata.off, f.metadata.off + metadataTableSize, f.bat.off}
	for len(places) < n {
		s := []span{f.bat, f.metadata}[r.IntN(2)]
		if p := s.off + r.Int64N(s.length/logSector)*logSector; !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	for _, p := range places {
		sector := d.image[p:][:logSector]
		w := logged{off: p, length: logSector}
		if len(bytes.Trim(sector, "\x00")) > 0 {
			w.data = append([]byte(nil), sector...)
		}
		writes = append(writes, w)
		for i := range sector {
			sector[i] = byte(r.Uint32())
		}
	}
	return writes
}

// logSequence writes the restoring writes as a sequence of entries that begins
// at pos, each sector being written wrongly in an earlier entry, and returns
// the position and the sequence number behind the last.
func (d *dirty) logSequence(r *rand.Rand, pos int64, sequence uint64, writes []logged, entries int) (int64, uint64) {
	tail := pos
	var wrong []logged
	for _, w := range writes {
		if r.IntN(2) == 0 {
			wrong = append(wrong, logged{off: w.off, length: logSector, data: bytes.Repeat([]byte{0x5a}, logSector)})
		} else {
			wrong = append(wrong, logged{off: w.off, length: logSector})
		}
	}
	batches := [][]logged{wrong}
	for i := range entries {
		batches = append(batches, writes[i*len(writes)/entries:(i+1)*len(writes)/entries])
	}
	for _, batch := range batches {
		pos = d.put(pos, entry(testLog, sequence, tail, d.flushed, d.last, batch))
		sequence++
	}
	return pos, sequence
}

// replayed lets qemu replay the log of a copy and returns the guest's bytes.
// The check itself may complain of a file that the replay has just made longer.
func replayed(t *testing.T, path string) []byte {
	t.Helper()
	copied := layertest.WriteFile(t, filepath.Join(t.TempDir(), "copy.vhdx"), layertest.ReadFile(t, path))
	exec.Command("qemu-img", "check", "-q", "-f", "vhdx", "-r", "all", copied).Run()
	return layertest.QemuRaw(t, "vhdx", copied) // refuses a log that is not replayed
}

// clean makes a VHDX by qemu and returns it with the guest's bytes.
func clean(t testing.TB, size int64, options string) (image, guest []byte) {
	dir := t.TempDir()
	guest = layertest.Guest(77, size, 512)
	raw := layertest.WriteFile(t, filepath.Join(dir, "raw"), guest)
	path := filepath.Join(dir, "clean.vhdx")
	layertest.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o", options, raw, path)
	return layertest.ReadFile(t, path), guest
}

// TestReplay reads images whose tables are nonsense until the log is replayed.
// qemu judges where it can: it replays entries whose tail is none and gives up
// on logs with remains of older sequences and on more than 126 descriptors (the
// second descriptor sector). libvhdi replays no log at all.
func TestReplay(t *testing.T) {
	image, guest := clean(t, 11<<20+512, "block_size=1M")
	for name, c := range map[string]struct {
		qemu    bool  // qemu judges, besides the bytes that the image was made of
		start   int64 // of the sequence in the log
		writes  int
		entries int
		// around puts more into the log, given the end of the sequence.
		around func(d *dirty, end int64, sequence uint64)
	}{
		"one entry":     {true, 0, 5, 1, nil},
		"several":       {true, 64 << 10, 20, 7, nil},
		"wrapped":       {true, 1<<20 - 24<<10, 20, 7, nil},
		"wrapped entry": {true, 1<<20 - 4<<10, 20, 1, nil},
		"many":          {false, 0, 250, 1, nil}, // two sectors of descriptors
		"torn entry behind": {true, 0, 9, 3, func(d *dirty, end int64, sequence uint64) {
			torn := entry(testLog, sequence, 0, d.flushed, d.last, []logged{{batPlace, logSector, make([]byte, logSector)}})
			d.put(end, torn[:logSector])
		}},
		"older entries": {false, 512 << 10, 9, 3, func(d *dirty, end int64, sequence uint64) {
			// They would spoil the region table if they were replayed.
			bad := []logged{{regionTable1, 128 << 10, nil}}
			d.put(100<<10, entry(testLog, 1, 100<<10, d.flushed, d.last, bad))
			d.put(end, entry(guid{9}, sequence, end, d.flushed, d.last, bad))          // another log
			d.put(end+16<<10, entry(testLog, sequence-2, end, d.flushed, d.last, bad)) // not in order
		}},
		"tail is no entry": {false, 512 << 10, 9, 3, func(d *dirty, end int64, sequence uint64) {
			bad := []logged{{regionTable1, 128 << 10, nil}}
			d.put(end+8<<10, entry(testLog, sequence+1, 0, d.flushed, d.last, bad))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, uint64(len(name))))
			d := newDirty(image)
			end, sequence := d.logSequence(r, c.start, 1<<33, d.scramble(r, c.writes), c.entries)
			if c.around != nil {
				c.around(d, end, sequence)
			}
			path := layertest.WriteFile(t, filepath.Join(t.TempDir(), "dirty.vhdx"), d.image)
			opened := layertest.Open(t, Open, path)
			layertest.Check(t, opened, guest, 1)
			if len(opened.Notices) != 1 || !strings.Contains(opened.Notices[0], "replayed") {
				t.Errorf("notices: %q", opened.Notices)
			}
			if !bytes.Equal(layertest.ReadFile(t, path), d.image) {
				t.Error("the file was written")
			}
			if c.qemu {
				layertest.Check(t, opened, replayed(t, path), 1)
			}
		})
	}
}

// TestReplayGrows: the file ends before blocks of zeros that the log knows of.
func TestReplayGrows(t *testing.T) {
	s := spec{guest: layertest.Guest(4, 4<<20, 512), blockSize: 1 << 20}
	clear(s.guest[3<<20:])
	d := newDirty(s.build())
	d.image = d.image[:len(d.image)-1<<20]
	d.flushed -= 1 << 20
	r := rand.New(rand.NewPCG(5, 5))
	d.logSequence(r, 0, 7, d.scramble(r, 6), 2)
	path := layertest.WriteFile(t, filepath.Join(t.TempDir(), "dirty.vhdx"), d.image)
	opened := layertest.Open(t, Open, path)
	layertest.Check(t, opened, s.guest, 1)
	// qemu does not make the file longer by itself.
	grown := append(d.image, make([]byte, 1<<20)...)
	path = layertest.WriteFile(t, filepath.Join(t.TempDir(), "grown.vhdx"), grown)
	layertest.Check(t, opened, replayed(t, path), 1)
}

// TestReplayRefused: logs that must not be replayed, and the one that is empty.
func TestReplayRefused(t *testing.T) {
	s := spec{guest: layertest.Guest(4, 1<<20, 512), blockSize: 1 << 20}
	fresh := func() (*dirty, *rand.Rand) { return newDirty(s.build()), rand.New(rand.NewPCG(5, 5)) }
	open := func(d *dirty) (*source.Opened, error) {
		path := layertest.WriteFile(t, filepath.Join(t.TempDir(), "dirty.vhdx"), d.image)
		return layertest.TryOpen(Open, path, source.Options{})
	}

	d, _ := fresh()
	opened, err := open(d)
	if err != nil {
		t.Fatal(err)
	}
	layertest.Check(t, opened, s.guest, 1)
	if len(opened.Notices) != 1 || !strings.Contains(opened.Notices[0], "log is empty") {
		t.Errorf("empty log: %q", opened.Notices)
	}
	opened.Close()

	for name, c := range map[string]struct {
		spoil func(d *dirty)
		says  string
	}{
		"flipped data bit":       {func(d *dirty) { d.image[logPlace+logSector+100] ^= 1 }, "no complete sequence"},
		"flipped descriptor bit": {func(d *dirty) { d.image[logPlace+logHeaderSize+8] ^= 1 }, "no complete sequence"},
		"truncated file":         {func(d *dirty) { d.image = d.image[:len(d.image)-1] }, "truncated"},
	} {
		d, r := fresh()
		d.logSequence(r, 0, 7, d.scramble(r, 8), 1)
		c.spoil(d)
		opened, err := open(d)
		var corrupt *source.CorruptError
		if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			opened.Close()
		}
	}
}

// TestTornFirstEntry: a crash within the first entry of a log leaves its first
// sectors over what lay there before. Nothing was changed yet.
func TestTornFirstEntry(t *testing.T) {
	s := spec{guest: layertest.Guest(4, 1<<20, 512), blockSize: 1 << 20}
	for _, older := range []bool{false, true} {
		d := newDirty(s.build())
		if older { // as a log looks that was emptied and is used again
			d.put(0, entry(guid{0xbb}, 6, 0, d.flushed, d.last, d.scramble(rand.New(rand.NewPCG(5, 5)), 8)))
			d.image = slices.Clone(d.image)
			fresh := newDirty(s.build())
			copy(fresh.image[d.log.off:][:d.log.length], d.image[d.log.off:])
			d = fresh
		}
		whole := bytes.Clone(d.image)
		writes := d.scramble(rand.New(rand.NewPCG(6, 6)), 8)
		e := entry(testLog, 7, 0, d.flushed, d.last, writes)
		for written := logSector; written < len(e); written += logSector {
			torn := &dirty{image: bytes.Clone(whole), log: d.log}
			torn.put(0, e[:written])
			path := layertest.WriteFile(t, filepath.Join(t.TempDir(), "torn.vhdx"), torn.image)
			opened := layertest.Open(t, Open, path)
			layertest.Check(t, opened, s.guest, 1)
			if len(opened.Notices) != 1 || !strings.Contains(opened.Notices[0], "log is empty") {
				t.Errorf("%d of %d bytes written: %q", written, len(e), opened.Notices)
			}
			// The sectors behind the torn place are the entry's own: damage.
			if written+logSector < len(e) {
				torn.put(int64(written+logSector), e[written+logSector:])
				path := layertest.WriteFile(t, filepath.Join(t.TempDir(), "hole.vhdx"), torn.image)
				if _, err := layertest.TryOpen(Open, path, source.Options{}); err == nil {
					t.Errorf("an entry without its sector at %d was taken for torn", written)
				}
			}
		}
	}
}

// TestHostileLog: entries that overlap, or that name tails far back, would take
// hours if each were followed.
func TestHostileLog(t *testing.T) {
	s := spec{guest: make([]byte, 1<<20), blockSize: 1 << 20}
	for name, c := range map[string]struct {
		length uint32 // of each entry
		tail   int64
		says   string
	}{
		"overlapping": {1 << 20, 0, "overlap"},
		"no tails":    {logSector, 1<<20 - 2*logSector, "no complete sequence"},
	} {
		d := newDirty(s.build())
		for pos := int64(0); pos < d.log.length; pos += logSector {
			e := entry(testLog, uint64(1+pos/logSector), c.tail, d.flushed, d.last, nil)
			binary.LittleEndian.PutUint32(e[8:], c.length)
			seal(e)
			if pos == d.log.length-2*logSector {
				e[0] = 'x' // what the tails point to
			}
			d.put(pos, e)
		}
		path := layertest.WriteFile(t, filepath.Join(t.TempDir(), "dirty.vhdx"), d.image)
		start := time.Now()
		if err := layertest.Exercise(t, Open, path); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s took %v", name, took)
		}
	}
}

// TestFlatten compares the overlay with writes that are really made.
func TestFlatten(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		const sectors = 40
		want := make([]int, sectors) // the write that each sector shows, 0: none
		var writes []write
		for n := range r.IntN(30) {
			w := write{descriptor: descriptor{off: r.Int64N(sectors) * logSector, length: logSector}}
			if w.zero = r.IntN(2) == 0; w.zero {
				w.length = r.Int64N(sectors-w.off/logSector+1) * logSector
			}
			w.from = int64(n + 1) // tells the writes apart
			for i := w.off; i < w.off+w.length; i += logSector {
				want[i/logSector] = n + 1
			}
			writes = append(writes, w)
		}
		got := make([]int, sectors)
		end := int64(0)
		for _, w := range flatten(writes) {
			if w.off < end || w.length <= 0 {
				t.Fatalf("runs overlap or are empty at %d", w.off)
			}
			end = w.off + w.length
			for i := w.off; i < end; i += logSector {
				got[i/logSector] = int(w.from)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}
