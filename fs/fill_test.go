package fs

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
	"holdfast/fs/image"
)

// fillWorld is an image whose filler stores into memory, by a clock that goes only
// while it sleeps or stores.
type fillWorld struct {
	*testing.T
	*filler
	tree    *tree
	node    *imageNode
	want    []byte // the image
	clock   time.Time
	slept   []time.Duration
	stored  [][2]int64 // runs, in order
	storing func() syscall.Errno
}

// fillDisk has whole grains, holes, and grains with little in them.
func fillDisk() *content {
	c := &content{name: "vda", bytes: make([]byte, 16<<20+777)}
	fill := rand.NewChaCha8([32]byte{3})
	for _, r := range [][2]int64{{0, 6 << 20}, {7<<20 + 4096, 7<<20 + 5000}, {10<<20 - 512, 11<<20 + 512}, {16 << 20, 16<<20 + 777}} {
		for off := r[0]; off < r[1]; off += grain {
			c.add(fill, off, min(off+grain, r[1]))
		}
	}
	return c
}

func newFillWorld(t *testing.T, s chunkstore.API, v *catalog.Version, format image.Format, opts Options) *fillWorld {
	t.Helper()
	opts.Log = (&logged{}).logger()
	tr, err := newTree(s, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.close)
	data, err := disk.Open(tr.chunks, tr.maps, v.Disks[0].Map)
	if err != nil {
		t.Fatal(err)
	}
	n, err := newImageNode(tr, v, &v.Disks[0], format, data)
	if err != nil {
		t.Fatal(err)
	}
	w := &fillWorld{T: t, tree: tr, node: n, filler: tr.filler, clock: day, storing: func() syscall.Errno { return 0 }}
	if w.want, err = io.ReadAll(io.NewSectionReader(image.NewReaderAt(t.Context(), n.img, n.data), 0, n.img.Size())); err != nil {
		t.Fatal(err)
	}
	w.now = func() time.Time { return w.clock }
	w.sleep = func(_ context.Context, d time.Duration) { w.slept, w.clock = append(w.slept, d), w.clock.Add(d) }
	w.room = func() int64 { return 1 << 40 }
	w.store = w.take
	return w
}

func (w *fillWorld) take(n *imageNode, off int64, data []byte) syscall.Errno {
	to := off + int64(len(data))
	if off%grain != 0 || len(data) == 0 || len(data) > fillPiece || len(w.want) > 0 && !bytes.Equal(data, w.want[off:to]) {
		w.Errorf("wrong bytes, or no piece: [%d, %d)", off, to)
	}
	if last := len(w.stored) - 1; last >= 0 && off < w.stored[last][1] {
		w.Errorf("%d comes behind %d", off, w.stored[last][1])
	}
	errno := w.storing()
	if errno == 0 {
		w.stored = append(w.stored, [2]int64{off, to})
	}
	return errno
}

// grains returns those of the image in which there is data, and those that were stored.
func (w *fillWorld) grains() (want, got []int64) {
	for off := int64(0); off < w.node.img.Size(); off += grain {
		at, err := image.SeekData(w.Context(), w.node.img, w.node.data, off)
		if err == nil && at < off+grain {
			want = append(want, off)
		}
	}
	for _, r := range w.stored {
		for off := r[0]; off < r[1]; off += grain {
			got = append(got, off)
		}
	}
	return want, got
}

// TestFillStoresData: of each format all grains with data are stored, once, in order, and
// no others; the cache of the mount keeps what it has.
func TestFillStoresData(t *testing.T) {
	s := newStore(t)
	v := commit(t, s, "web", day, fillDisk())
	for _, format := range image.Formats() {
		w := newFillWorld(t, s, v, format, Options{})
		before := w.tree.chunks.Stats()
		w.fill(w.node)
		want, got := w.grains()
		if len(want) < 100 || !slices.Equal(want, got) {
			t.Errorf("%s: %d grains are stored, want %d", format, len(got), len(want))
		}
		if takes := w.node.takes(); takes < int64(len(got)-8)*grain || takes > int64(len(got)+8)*grain {
			t.Errorf("%s: it says that it takes %d bytes, but it was %d grains", format, takes, len(got))
		}
		if after := w.tree.chunks.Stats(); after != before {
			t.Errorf("%s: the cache was used: %+v, before %+v", format, after, before)
		}
	}
}

// TestFillWaitsForReaders: nothing is stored until nobody has read for a while, and
// nothing more once somebody reads again, until he has gone.
func TestFillWaitsForReaders(t *testing.T) {
	s := newStore(t)
	w := newFillWorld(t, s, commit(t, s, "web", day, fillDisk()), image.Raw, Options{})
	left := 5
	sleep := w.sleep
	w.sleep = func(ctx context.Context, d time.Duration) {
		if sleep(ctx, d); left > 0 { // somebody reads while it waits
			left--
			w.tree.count.reads.Add(1)
		}
	}
	last := w.clock // of a read
	w.storing = func() syscall.Errno {
		if left > 0 || w.clock.Sub(last) < fillQuiet {
			w.Errorf("it stores %v after a read, and %d are to come", w.clock.Sub(last), left)
		}
		if len(w.stored) == 3 {
			w.tree.count.seeks.Add(1)
			last = w.clock
		}
		return 0
	}
	w.tree.count.reads.Add(1)
	w.fill(w.node)
	if want, got := w.grains(); !slices.Equal(want, got) {
		t.Errorf("%d grains are stored, want %d", len(got), len(want))
	}
	if n := len(w.slept); n != 7 {
		t.Errorf("it slept %d times: %v", n, w.slept)
	}
}

// TestFillRests for as long as it works.
func TestFillRests(t *testing.T) {
	s := newStore(t)
	w := newFillWorld(t, s, commit(t, s, "web", day, fillDisk()), image.Raw, Options{})
	var worked, rested time.Duration
	w.storing = func() syscall.Errno {
		if rested = 0; len(w.slept) > 0 {
			for _, d := range w.slept[1:] { // the first one waits for quiet
				rested += d
			}
		}
		if worked-rested >= 2*fillWork {
			t.Errorf("it worked for %v and rested for %v", worked, rested)
		}
		w.clock = w.clock.Add(3 * time.Millisecond)
		worked += 3 * time.Millisecond
		return 0
	}
	w.tree.count.reads.Add(1)
	w.fill(w.node)
	if worked < 5*fillWork || rested == 0 {
		t.Errorf("it worked for %v and rested for %v", worked, rested)
	}
}

// TestFillEnds where it is not wanted any more.
func TestFillEnds(t *testing.T) {
	s := newStore(t)
	v := commit(t, s, "web", day, fillDisk())
	for name, c := range map[string]struct {
		end func(w *fillWorld) syscall.Errno // at the third piece
		has int                              // pieces that are stored
	}{
		"the kernel forgot the file": {func(*fillWorld) syscall.Errno { return syscall.ENOENT }, 2},
		"the mount closes":           {func(w *fillWorld) syscall.Errno { w.stop(); return 0 }, 3},
		"no new opens":               {func(w *fillWorld) syscall.Errno { w.tree.closing.Store(true); return 0 }, 3},
		"a bug":                      {func(*fillWorld) syscall.Errno { panic("made so by the test") }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newFillWorld(t, s, v, image.Qcow2, Options{})
			tries := 0
			w.storing = func() syscall.Errno {
				if tries++; tries > 3 {
					t.Error("it goes on")
				}
				if len(w.stored) == 2 {
					return c.end(w)
				}
				return 0
			}
			w.node.spread.asked.Store(true)
			w.fill(w.node)
			if len(w.stored) != c.has {
				t.Errorf("%d pieces are stored, want %d", len(w.stored), c.has)
			}
			if w.node.spread.asked.Load() {
				t.Error("it can't be asked for again")
			}
		})
	}
}

// TestFillFits: what does not fit is not begun, and not gone on with.
func TestFillFits(t *testing.T) {
	s := newStore(t)
	c := &content{name: "vda", bytes: make([]byte, 40<<20)}
	c.add(rand.NewChaCha8([32]byte{4}), 0, 40<<20)
	w := newFillWorld(t, s, commit(t, s, "web", day, c), image.Raw, Options{})
	w.room = func() int64 { return fillRoom*w.node.takes() - 1 }
	if w.fill(w.node); len(w.stored) > 0 {
		t.Errorf("%d pieces are stored where there is no room", len(w.stored))
	}
	looks := 0
	w.room = func() int64 {
		if looks++; looks > 2 {
			return 0
		}
		return fillRoom * w.node.takes()
	}
	if w.fill(w.node); len(w.stored) != 2*fillLook/fillPiece {
		t.Errorf("%d pieces are stored, want %d", len(w.stored), 2*fillLook/fillPiece)
	}
}

// elsewhere is a store of another process, which does not read in the order of packs.
type elsewhere struct{ chunkstore.API }

// TestFillLeavesDamageOut: a piece that can't be read is no error of the mount, and the
// others are stored; where nothing can be read it soon ends.
func TestFillLeavesDamageOut(t *testing.T) {
	s := newStore(t)
	c := fillDisk()
	v := commit(t, s, "web", day, c)
	w := newFillWorld(t, elsewhere{s}, v, image.Raw, Options{})
	all, _ := w.grains()
	s.damage(c.ids[9], pack.Corrupt)
	w.fill(w.node)
	first := c.off[9] / fillPiece * fillPiece
	all = slices.DeleteFunc(all, func(off int64) bool { return off >= first && off < first+fillPiece })
	if _, got := w.grains(); !slices.Equal(all, got) {
		t.Errorf("%d grains are stored, want %d: %d", len(got), len(all), got)
	}
	lost := &content{name: "vda", bytes: make([]byte, 24<<20)}
	lost.add(rand.NewChaCha8([32]byte{5}), 0, 24<<20)
	w = newFillWorld(t, elsewhere{s}, commit(t, s, "db", day, lost), image.Raw, Options{})
	for _, id := range lost.ids {
		s.damage(id, pack.Missing)
	}
	gets := s.gets.Load()
	if w.fill(w.node); len(w.stored) > 0 {
		t.Errorf("%d pieces are stored of a disk that is lost", len(w.stored))
	}
	if n := s.gets.Load() - gets; n > fillBad*(fillPiece/grain+1) { // a piece may touch one more
		t.Errorf("%d chunks were asked for", n)
	}
}

// TestSpread: an image is filled after many reads that belong to no stream, of a part
// of it, once until that is done.
func TestSpread(t *testing.T) {
	const takes = fillReads * fillPart * 4096
	for _, c := range []struct {
		name       string
		n          int64
		sequential bool
		reads      int // until it is wanted; 0: never
	}{
		{"just enough", 4096, false, fillReads},
		{"large ones", 1 << 20, false, fillReads},
		{"half as large", 2048, false, 2 * fillReads},
		{"a stream", 1 << 20, true, 0},
	} {
		var s spread
		for range 2 {
			wanted := 0
			for i := range 4 * fillReads {
				if s.note(c.n, c.sequential, takes) {
					if wanted > 0 {
						t.Errorf("%s: it is wanted twice", c.name)
					}
					wanted = i + 1
				}
			}
			if wanted != c.reads {
				t.Errorf("%s: it is wanted after %d reads, want %d", c.name, wanted, c.reads)
			}
			s.again()
		}
	}
}

// TestFilledImageIsNotAskedFor: behind reads all over an image, every byte of its data
// comes from the page cache.
func TestFilledImageIsNotAskedFor(t *testing.T) {
	for _, format := range []image.Format{image.Raw, image.Qcow2} {
		sent := int64(0)
		for range keptTries {
			if sent = readsOfFilled(t, format); sent == 0 {
				break
			}
		}
		if sent > 0 {
			t.Errorf("%s: %d READs although all was filled", format, sent)
		}
	}
}

// readsOfFilled returns how many READs the kernel sends for an image of a new mount that
// was filled.
func readsOfFilled(t *testing.T, format image.Format) int64 {
	t.Helper()
	s := newStore(t)
	c := fillDisk()
	v := commit(t, s, "web", day, c)
	w := newFillWorld(t, s, v, format, Options{})
	grains, _ := w.grains()
	m := startTest(t, func(dir string) (*Mounted, error) {
		opts := Options{Log: (&logged{}).logger(), Name: "test"}
		tr, err := newTree(s, opts)
		if err != nil {
			return nil, err
		}
		clock := day // of the filler's goroutine alone
		tr.filler.now = func() time.Time { return clock }
		tr.filler.sleep = func(_ context.Context, d time.Duration) { clock = clock.Add(d) }
		tr.filler.room = func() int64 { return 1 << 40 }
		return start(tr, dir, opts)
	})
	fd := openRaw(t, ImagePath(m.Dir(), v, "vda", format), 0)
	if err := unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM); err != nil {
		t.Fatal(err)
	}
	image := &content{bytes: w.want}
	for _, i := range rand.New(rand.NewPCG(5, 6)).Perm(len(grains)) {
		if err := check(fd, image, grains[i], make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
	}
	size := int64(0)
	for _, off := range grains {
		size += min(grain, int64(len(w.want))-off)
	}
	waitFor(t, "the image to be filled", func() bool { return m.Stats().Filled >= size })
	before := m.Stats().Reads
	for _, off := range grains {
		if err := check(fd, image, off, make([]byte, grain)); err != nil {
			t.Fatal(err)
		}
	}
	return m.Stats().Reads - before
}

// TestUnmountEndsAFill that waits for the end of readers.
func TestUnmountEndsAFill(t *testing.T) {
	s := newStore(t)
	c := fillDisk()
	v := commit(t, s, "web", day, c)
	waits := make(chan struct{}, 1)
	m := startTest(t, func(dir string) (*Mounted, error) {
		opts := Options{Log: (&logged{}).logger(), Name: "test"}
		tr, err := newTree(s, opts)
		if err != nil {
			return nil, err
		}
		tr.filler.sleep = func(ctx context.Context, _ time.Duration) {
			waits <- struct{}{}
			<-ctx.Done()
		}
		return start(tr, dir, opts)
	})
	f, err := os.Open(rawPath(m, v, "vda"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		t.Fatal(err)
	}
	for off := int64(8192); off < 6<<20; off += grain { // 96 reads
		if err := check(int(f.Fd()), c, off, make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
	}
	<-waits // without a limit: go test has one
	if n := m.Stats().Filled; n != 0 {
		t.Errorf("%d bytes are filled beside readers", n)
	}
}

// TestAvailableMemory is what free(1) says, about.
func TestAvailableMemory(t *testing.T) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	n, total := availableMemory(), int64(info.Totalram)*int64(info.Unit)
	if n < 1<<20 || n > total {
		t.Errorf("%d bytes are available of %d", n, total)
	}
}
