package xfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/blockcache"
	"holdfast/fs/guest/guesttest"
)

// raw opens a dirty image's log without replaying it.
func raw(t testing.TB, image string) (*log, *record) {
	t.Helper()
	fs := &FS{volume: guesttest.OpenFile(t, image), cache: blockcache.New(cacheBytes)}
	if err := fs.readSuper(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := fs.openLog()
	if err != nil {
		t.Fatal(err)
	}
	head, cycle, err := l.findHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last, err := l.lastRecord(t.Context(), head, cycle)
	if err != nil {
		t.Fatal(err)
	}
	return l, last
}

// recordsToReplay gives the records from a tail to the last.
func recordsToReplay(t testing.TB, l *log, last *record) []*record {
	t.Helper()
	var all []*record
	for place := lsnPlace(last.tail); ; {
		r, err := l.record(t.Context(), place)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
		if r.lsn == last.lsn {
			return all
		}
		place = (place + r.sectors) % l.sectors
	}
}

// TestLogWraps takes snapshots while a small log goes round, until records to
// replay have lain at its end and beginning, and one across.
func TestLogWraps(t *testing.T) {
	image := guesttest.Mkfs(t, 64<<20, mkfs("-m", "rmapbt=0,reflink=0", "-d", "agcount=2", "-l", "size=4m")...)
	dir, unmount := guesttest.Mount(t, image, "logbsize=256k")
	round, across := false, false
	for i := 0; i < 400 && !(round && across); i++ {
		wrapNow(t, dir, i)
		if l, last := raw(t, image); lsnPlace(last.tail) < last.place && last.place+last.sectors <= l.sectors {
			continue
		}
		snapshot := guesttest.Copy(t, image)
		l, last := raw(t, snapshot)
		first, whole := lsnPlace(last.tail), last.place+last.sectors <= l.sectors
		if first < last.place && whole {
			os.Remove(snapshot)
			continue // between two ends
		}
		split := false
		for _, r := range recordsToReplay(t, l, last) {
			split = split || r.place+r.sectors > l.sectors
		}
		if split && across || !split && round {
			os.Remove(snapshot)
			continue
		}
		round, across = round || !split, across || split
		compareRecovered(t, snapshot)
	}
	unmount()
	if !round || !across {
		t.Errorf("the log went round its end %v, across it %v", round, across)
	}
}

// wrapNow writes about a hundredth of the log, or now and then much more.
func wrapNow(t *testing.T, dir string, i int) {
	t.Helper()
	n := 20
	if i%10 == 0 {
		n = 300
	}
	for k := range n {
		name := filepath.Join(dir, strings.Repeat("n", 100)+strconv.Itoa(i%3*1000+k))
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		if k%5 == 4 {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// compareRecovered compares a snapshot with what the kernel makes of a copy.
func compareRecovered(t testing.TB, snapshot string) {
	t.Helper()
	fs := guesttest.OpenImage(t, snapshot, open)
	if st := fs.State(); st.Health != guest.Replayed || st.Replayed == 0 {
		t.Errorf("state %+v", st)
	}
	recovered := guesttest.Copy(t, snapshot)
	dir, unmount := guesttest.Mount(t, recovered, "nouuid") // the original is mounted still
	guesttest.CompareTree(t, fs, dir)
	unmount()
	freeAfterRecovery(t, fs, recovered)
}

// freeAfterRecovery holds free space against that of a volume which the kernel
// has recovered: it may have freed more, and nothing else.
func freeAfterRecovery(t testing.TB, fs guest.Filesystem, recovered string) {
	t.Helper()
	free := map[int64]bool{}
	size := fs.(*FS).sb.blockSize
	for r := range freeByXfsDB(t, fs, recovered) {
		for off := r.Offset; off < r.Offset+r.Length; off += size {
			free[off] = true
		}
	}
	ours, wrong := 0, 0
	err := fs.Free(t.Context(), func(r guest.Range) bool {
		for off := r.Offset; off < r.Offset+r.Length; off += size {
			ours++
			if !free[off] {
				wrong++
			}
		}
		return true
	})
	if err != nil || wrong > 0 || ours < len(free)/2 {
		t.Errorf("free: %d blocks, %d of them in use after recovery, %d free there; %v", ours, wrong, len(free), err)
	}
}

// torn is a volume with some bytes lost.
type torn struct {
	guest.Volume
	lost []guest.Range
}

func (v *torn) ReadAt(p []byte, off int64) (int, error) {
	n, err := v.Volume.ReadAt(p, off)
	for _, r := range v.lost {
		from, to := max(r.Offset, off), min(r.Offset+r.Length, off+int64(n))
		if from < to {
			clear(p[from-off : to-off])
		}
	}
	return n, err
}

// TestTornLog loses records at the log's end, and parts of them: what stands
// before is replayed, as if the guest had stopped there. Lost further back,
// the log is not replayed.
func TestTornLog(t *testing.T) {
	image := guesttest.Mkfs(t, 64<<20, mkfs("-b", "size=1k", "-l", "size=12m")...)
	dir, unmount := guesttest.Mount(t, image)
	for i := range 20 {
		wrapNow(t, dir, i)
	}
	snapshot := guesttest.Copy(t, image)
	unmount()
	l, last := raw(t, snapshot)
	records := recordsToReplay(t, l, last)
	if len(records) < 10 {
		t.Fatalf("%d records to replay", len(records))
	}
	whole := guesttest.OpenImage(t, snapshot, open).State().Replayed
	lose := func(from, sectors int64) guest.State {
		t.Helper()
		v := &torn{guesttest.OpenFile(t, snapshot), []guest.Range{{Offset: l.start + from*sector, Length: sectors * sector}}}
		fs, err := Open(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		return fs.State()
	}
	before := whole
	for _, back := range []int{1, 2, 5} {
		r := records[len(records)-back]
		for _, part := range [][2]int64{{0, r.sectors}, {0, 1}, {r.sectors - 1, 1}, {r.sectors / 2, 1}} {
			st := lose(r.place+part[0], part[1])
			if st.Health != guest.Replayed || st.Replayed == 0 || st.Replayed > before {
				t.Errorf("without %v of record %d from the end: %+v, before %d", part, back, st, before)
			}
			if part[0] == 0 && part[1] == 1 {
				before = st.Replayed
			}
		}
	}
	if before >= whole {
		t.Errorf("%d transactions without 5 records, %d with them", before, whole)
	}
	if l.distance(records[1].place, last.lsn) > 2*tornSectors {
		if st := lose(records[1].place, 1); st.Health != guest.NotReplayed || st.Reason == "" {
			t.Errorf("without the second record: %+v", st)
		}
	}
	if st := lose(records[0].place, 1); st.Health != guest.NotReplayed || st.Reason == "" {
		t.Errorf("without the tail: %+v", st)
	}
}

// failing is a volume that can't read its log.
type failing struct {
	guest.Volume
	from, to int64
}

var errBroken = errors.New("a broken disk")

func (v *failing) ReadAt(p []byte, off int64) (int, error) {
	if off < v.to && off+int64(len(p)) > v.from {
		return 0, errBroken
	}
	return v.Volume.ReadAt(p, off)
}

// TestLogNotReplayed shows the volume as it is when the log can't be read, and
// says nothing of free space.
func TestLogNotReplayed(t *testing.T) {
	image := dirtyImage(t)
	l, _ := raw(t, image)
	fs, err := Open(t.Context(), &failing{guesttest.OpenFile(t, image), l.start, l.start + l.sectors*sector})
	if err != nil {
		t.Fatal(err)
	}
	if st := fs.State(); st.Health != guest.NotReplayed || !strings.Contains(st.Reason, errBroken.Error()) {
		t.Errorf("state %+v", st)
	}
	if err := fs.Free(t.Context(), func(guest.Range) bool { t.Error("something is free"); return false }); !errors.Is(err, guest.ErrUnsupported) {
		t.Errorf("free: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ended, guesttest.OpenFile(t, image)); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// op encodes one operation.
func op(id uint32, flags byte, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, id)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(append(b, 0x69, flags, 0, 0), data...)
}

// TestAssembler cuts the regions of a transaction at every byte into records
// that go on from each other, and cuts a record short at every byte.
func TestAssembler(t *testing.T) {
	head := append(le.AppendUint32(nil, transactionMagic), make([]byte, 12)...)
	first := []byte{0x3c, 0x12, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8}
	second := []byte("the second region")
	assemble := func(ops ...[]byte) (got []*transaction, err error) {
		a := assembler{open: map[uint32]*transaction{}, committed: func(t *transaction) error { got = append(got, t); return nil }}
		for i, b := range ops {
			if err := a.add(&record{lsn: uint64(i + 1), operations: 1, data: b}); err != nil {
				return got, err
			}
		}
		if a.bytes != 0 || len(a.open) != 0 {
			return got, io.ErrUnexpectedEOF
		}
		return got, nil
	}
	for i, region := range [][]byte{head, first, second} {
		for cut := range region {
			if cut == 0 || i < 2 && cut < 4 {
				continue
			}
			ops := [][]byte{op(7, opStart, nil), op(7, 0, head), op(7, 0, first), op(7, 0, second), op(7, opCommit, nil)}
			parts := [][]byte{op(7, opContinue, region[:cut]), op(7, opWasContinued|opEnd, region[cut:])}
			ops = append(ops[:i+1:i+1], append(parts, ops[i+2:]...)...)
			got, err := assemble(ops...)
			if err != nil || len(got) != 1 || got[0].lsn != 1 || len(got[0].items) != 1 {
				t.Fatalf("region %d cut at %d: %v, %v", i, cut, got, err)
			}
			if r := got[0].items[0].regions; string(r[0]) != string(first) || string(r[1]) != string(second) {
				t.Fatalf("region %d cut at %d: %q", i, cut, r)
			}
		}
	}
	for cut := range op(7, 0, first) {
		if _, err := assemble(op(7, opStart, nil), op(7, 0, head), op(7, 0, first)[:cut]); err == nil {
			t.Fatalf("a record cut off at %d is taken", cut)
		}
	}
	if got, err := assemble(op(8, 0, first), op(8, opCommit, nil)); err != nil || len(got) != 0 {
		t.Errorf("a transaction without its start: %v, %v", got, err)
	}
	if _, err := assemble(op(7, opStart, nil), op(7, 0, head), op(7, 0, first), op(7, opCommit, nil)); err == nil {
		t.Error("a commit without a region is taken")
	}
	big := make([]byte, 16<<20)
	copy(big, []byte{0x3c, 0x12, 9, 0})
	if _, err := assemble(op(7, opStart, nil), op(7, 0, head), op(7, 0, big), op(7, 0, big), op(7, 0, big), op(7, 0, big)); err == nil {
		t.Error("64 MiB of an open transaction are kept")
	}
}

// TestUnfinished counts updates that were begun and not done.
func TestUnfinished(t *testing.T) {
	r := replayer{cancels: newCancels(), done: replayed{intents: map[intent]bool{}}}
	it := func(kind uint16, number uint64) *item {
		b := le.AppendUint16(nil, kind)
		return &item{count: 1, regions: [][]byte{le.AppendUint64(append(b, 1, 0, 1, 0, 0, 0), number)}}
	}
	for _, i := range []*item{it(0x1236, 1), it(0x1236, 2), it(0x1244, 2), it(0x1236, 3), it(0x1237, 2), it(0x1245, 9)} {
		if err := r.item(t.Context(), i, 1); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.done.unfinished(); !strings.HasSuffix(got, ": 1 to map an extent to a file, 2 to free an extent") {
		t.Errorf("unfinished: %s", got)
	}
	if err := r.item(t.Context(), it(0x1299, 1), 1); err == nil {
		t.Error("an item of an unknown type is taken")
	}
}

// TestCancels skips what was freed later, up to the last time that it was.
func TestCancels(t *testing.T) {
	image := guesttest.OpenFile(t, guesttest.Mkfs(t, 32<<20, mkfs("-d", "agcount=1")...))
	fs, err := Open(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	const place = 4000 // in the middle of nowhere
	change := func(flags uint16, b byte) *transaction {
		head := le.AppendUint16(nil, itemBuffer)
		head = le.AppendUint16(head, 2)
		head = le.AppendUint16(head, flags)
		head = le.AppendUint16(head, 8)
		head = le.AppendUint64(head, place)
		head = le.AppendUint32(head, 1)
		head = le.AppendUint32(head, 1<<3) // the fourth part
		it := &item{count: 2, regions: [][]byte{head, bytes.Repeat([]byte{b}, bufferChunk)}}
		if flags&bufferCancel != 0 {
			it.regions = it.regions[:1]
		}
		return &transaction{lsn: 1 << 32, items: []*item{it}}
	}
	for _, c := range []struct {
		log  []*transaction
		want byte
	}{
		{[]*transaction{change(0, 1), change(0, 2)}, 2},
		{[]*transaction{change(0, 1), change(bufferCancel, 0)}, 0},
		{[]*transaction{change(0, 1), change(bufferCancel, 0), change(0, 3)}, 3},
		{[]*transaction{change(bufferCancel, 0), change(0, 1), change(bufferCancel, 0)}, 0},
		{[]*transaction{change(0, 1), change(bufferInodes, 2), change(0x4, 2)}, 1},
	} {
		r := replayer{fs: fs, cancels: newCancels(), done: replayed{intents: map[intent]bool{}}}
		fs.overlay = overlay{content: map[int64]*[sector]byte{}}
		for _, tr := range c.log {
			if err := r.cancels.note(tr); err != nil {
				t.Fatal(err)
			}
		}
		for _, tr := range c.log {
			if err := r.transaction(t.Context(), tr); err != nil {
				t.Fatal(err)
			}
		}
		fs.overlay.build()
		got, err := fs.read(t.Context(), place*sector, sector)
		want := append(make([]byte, 3*bufferChunk), bytes.Repeat([]byte{c.want}, bufferChunk)...)
		if err != nil || !bytes.Equal(got.data, want) || len(r.cancels.counts) != 0 {
			t.Errorf("want %d: %x, %v, %v", c.want, got.data[380:], err, r.cancels.counts)
		}
	}
}
