package fs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"holdfast/fs/files"
	"holdfast/fs/guest"
)

// trailWorld is a trail over directories of which each file is as many bytes.
type trailWorld struct {
	*testing.T
	*trail
	g     guestTree
	bytes int64
}

func newTrailWorld(t *testing.T, bytes int64) *trailWorld {
	return &trailWorld{T: t, trail: newTrail(), bytes: bytes}
}

func (w *trailWorld) key(no int) listedKey {
	return listedKey{&w.g, files.Place{Node: guest.Node(no)}}
}

// list lists a directory with the files from to to-1.
func (w *trailWorld) list(from, to int) {
	var list []listedFile
	for no := from; no < to; no++ {
		list = append(list, listedFile{listedKey: w.key(no), bytes: w.bytes})
	}
	w.listed(list)
	w.proveSums()
}

func (w *trailWorld) open(numbers ...int) {
	for _, no := range numbers {
		w.opened(w.key(no))
		w.proveSums()
	}
}

// chosen returns all that is to be read ahead now.
func (w *trailWorld) chosen() (list []int) {
	for f := w.choose(); f != nil; f = w.choose() {
		list = append(list, int(f.at.Node))
		w.proveSums()
	}
	return list
}

func (w *trailWorld) want(want ...int) {
	w.Helper()
	if got := w.chosen(); !slices.Equal(got, want) {
		w.Fatalf("read ahead %v, want %v", got, want)
	}
}

// proveSums counts again what the trail counts.
func (w *trailWorld) proveSums() {
	w.Helper()
	known, unused := 0, int64(0)
	for _, d := range w.dirs {
		left, ahead := 0, int64(0)
		for i := range d.files {
			if f := &d.files[i]; !f.done {
				left++
				if f.ahead {
					ahead += f.bytes
				}
				if w.known[f.listedKey] != f {
					w.Fatalf("file %d is not known", f.at.Node)
				}
			} else if f.node != nil {
				w.Fatalf("file %d keeps its node", f.at.Node)
			}
		}
		if left != d.left || ahead != d.ahead || left == 0 {
			w.Fatalf("a directory has %d files and %d bytes ahead, and says %d and %d", left, ahead, d.left, d.ahead)
		}
		known, unused = known+left, unused+ahead
	}
	if known != len(w.known) || unused != w.unused {
		w.Fatalf("%d files and %d bytes ahead, it says %d and %d", known, unused, len(w.known), w.unused)
	}
	if known > trailFiles || len(w.dirs) > trailDirs || unused > trailUnused || w.window > trailLast {
		w.Fatalf("%d files of %d directories, %d bytes ahead, window %d", known, len(w.dirs), unused, w.window)
	}
}

// TestTrailReadsAheadInOrder: three opened files make a trail, the files behind them
// are read ahead in the listing's order, as far as the window reaches, and each that
// is opened then makes it longer, up to its end.
func TestTrailReadsAheadInOrder(t *testing.T) {
	w := newTrailWorld(t, trailFirst/4)
	w.list(0, 1000)
	for no := range trailBegin {
		w.want()
		w.open(no)
	}
	w.want(3, 4, 5, 6)
	w.want()
	w.open(3) // the window is twice as long, of which three quarters of the first are there
	w.want(7, 8, 9, 10, 11)
	for no := 4; no < 20; no++ {
		w.open(no)
		w.chosen()
	}
	if w.window != trailLast || w.unused != trailLast {
		t.Errorf("window %d, %d bytes ahead, want %d", w.window, w.unused, trailLast)
	}
}

// TestTrailGoesIntoDirectories: on a trail, a directory's files are read ahead
// before the first is opened, and those of the one around it when they are through.
func TestTrailGoesIntoDirectories(t *testing.T) {
	w := newTrailWorld(t, trailFirst)
	w.list(0, 10)
	w.open(0, 1, 2)
	w.want(3)
	w.list(100, 103)
	w.want(100)
	w.open(100)
	w.want(101, 102, 4)
	w.open(101, 102)
	w.want(5, 6, 7, 8, 9) // its window is four files, then eight
}

// TestTrailOfAnyOrder: who reads a directory in another order than it was listed in
// is followed, too, and no file that was opened is read ahead.
func TestTrailOfAnyOrder(t *testing.T) {
	w := newTrailWorld(t, 1)
	w.list(0, 500)
	order := rand.New(rand.NewPCG(1, 2)).Perm(500)
	w.open(order[:trailBegin]...)
	got := w.chosen()
	slices.Sort(order[trailBegin:])
	if !slices.Equal(got, order[trailBegin:]) {
		t.Errorf("read ahead %v", got)
	}
	w.open(order[trailBegin:]...)
	if len(w.dirs) != 0 || w.unused != 0 {
		t.Errorf("%d directories and %d bytes are left of a tree that was read", len(w.dirs), w.unused)
	}
}

// TestTrailEnds: it ends with files that nobody listed, and with too much that
// nobody came for, and begins anew where three files of a directory are opened.
func TestTrailEnds(t *testing.T) {
	begun := func(t *testing.T, bytes int64) *trailWorld {
		w := newTrailWorld(t, bytes)
		w.list(0, 100)
		w.open(0, 1, 2)
		if len(w.chosen()) == 0 {
			t.Fatal("there is no trail")
		}
		return w
	}
	anew := func(w *trailWorld) {
		w.Helper()
		if w.window != 0 || len(w.known) != 0 {
			w.Fatalf("the trail goes on: window %d, %d files", w.window, len(w.known))
		}
		w.list(5000, 5100)
		w.open(5000, 5001)
		w.want()
		w.open(5002)
		if len(w.chosen()) == 0 {
			w.Error("no new trail begins")
		}
	}
	t.Run("files that nobody listed", func(t *testing.T) {
		w := begun(t, 100<<10)
		for no := range trailStrays {
			w.open(1000 + no)
		}
		w.open(3)
		for no := range trailStrays {
			w.open(1000 + no)
		}
		if w.window == 0 {
			t.Fatal("it ended too early")
		}
		w.open(1000)
		anew(w)
	})
	t.Run("listings without opens", func(t *testing.T) {
		w := begun(t, 100<<10)
		read := int64(0)
		for from := 1000; w.window > 0; from += 10 {
			w.list(from, from+10)
			if read += int64(len(w.chosen())) * w.bytes; read > trailUnused {
				t.Fatalf("%d bytes were read ahead for nobody", read)
			}
		}
		anew(w)
	})
}

// TestTrailKeepsItsBounds takes arbitrary listings and opens; proveSums counts after
// each. What is chosen is never a file that was opened since it was listed.
func TestTrailKeepsItsBounds(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		w := newTrailWorld(t, rnd.Int64N(2<<20))
		opened := map[int]bool{}
		for range 400 {
			from := rnd.IntN(20_000)
			switch rnd.IntN(4) {
			case 0:
				to := from + []int{0, 1, 5, 40, 2000, trailFiles, trailFiles + 1, 6000}[rnd.IntN(8)]
				w.list(from, to)
				for no := from; no < min(to, from+trailFiles); no++ {
					delete(opened, no)
				}
			case 1:
				w.open(from)
				opened[from] = true
			default: // a run of files, as a program reads them
				for no := from; no < from+rnd.IntN(12); no++ {
					w.open(no)
					opened[no] = true
				}
			}
			for range rnd.IntN(10) {
				if f := w.choose(); f != nil && opened[int(f.at.Node)] {
					t.Fatalf("file %d was opened before", f.at.Node)
				}
			}
		}
	}
}

// TestTrailOfLinks: a file with several names is one file.
func TestTrailOfLinks(t *testing.T) {
	w := newTrailWorld(t, 1)
	var list []listedFile
	for _, no := range []int{1, 2, 3, 4, 4, 5, 4} {
		list = append(list, listedFile{listedKey: w.key(no), bytes: 1})
	}
	w.listed(list)
	w.open(1, 2, 3)
	w.want(5, 4)
	w.open(4)
	w.open(5)
	if len(w.dirs) != 0 {
		t.Error("the directory is not through")
	}
}

// TestTrailCloses: whoever waits for a file returns, and nothing is given out any more.
func TestTrailCloses(t *testing.T) {
	w := newTrailWorld(t, 1)
	ended := make(chan error)
	for range 3 {
		go func() {
			if f, ok := w.next(); ok {
				ended <- fmt.Errorf("file %d", f.at.Node)
				return
			}
			ended <- nil
		}()
	}
	w.close()
	for range 3 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	w.list(0, 10)
	w.open(0, 1, 2)
	if f, ok := w.next(); ok {
		t.Errorf("it gives out file %d behind its end", f.at.Node)
	}
}
