package chunkstore

import (
	"bufio"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A spill holds a set of chunks that does not fit the memory, as the first
// eight bytes of their ids: sorted runs in files of their own, read back merged.
// A dead chunk that shares its eight bytes with a live one, which is one of 2^34
// dead ones where 2^30 are alive, is kept; that is all that can go wrong.
//
// A run is its numbers, eight bytes each, big-endian, ascending. What is missing
// in a set is deleted, so a run is trusted only while its numbers have the sum
// that was kept elsewhere when it was written.
type spill struct {
	fs   vfs.FS
	dir  string
	most int // numbers held in memory
	buf  []uint64
	runs []marksRun
	next int // number of the next run
}

// marksRun is one run of a spill.
type marksRun struct {
	Name string `json:"name"`
	Sum  uint64 `json:"sum"` // CRC-64 of the file
}

var (
	marksTable = crc64.MakeTable(crc64.ECMA)
	errMarks   = errors.New("they are not as they were written")
)

const (
	spillDir     = "prune"
	spillNumbers = 4 << 20 // 32 MiB
	spillRuns    = 64      // more than this are merged into one
	runBuffer    = 128 << 10
)

// prefixOf is what a spill keeps of an id.
func prefixOf(id ID) uint64 { return binary.BigEndian.Uint64(id[:8]) }

// newSpill begins an empty set in dir, which is emptied. most is how many
// numbers it may hold in memory; 0: 4 Mi.
func newSpill(fsys vfs.FS, dir string, most int) (*spill, error) {
	if most == 0 {
		most = spillNumbers
	}
	if err := fsys.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("empty %s: %w", dir, err)
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory for marks: %w", err)
	}
	if err := syncDir(fsys, fsys.PathDir(dir)); err != nil {
		return nil, fmt.Errorf("make directory for marks: %w", err)
	}
	return &spill{fs: fsys, dir: dir, most: most}, nil
}

// reopenSpill takes up a set whose runs are durable. It reads them: they may have
// changed since, or be of another prune where the store is a copy.
func reopenSpill(fsys vfs.FS, dir string, runs []marksRun, next int) (*spill, error) {
	s := &spill{fs: fsys, dir: dir, most: spillNumbers, runs: runs, next: next}
	m, err := s.open(runs)
	if err != nil {
		return nil, fmt.Errorf("take up marks: %w", err)
	}
	defer m.close()
	if err := m.toEnd(); err != nil {
		return nil, fmt.Errorf("take up marks: %w", err)
	}
	return s, nil
}

func (s *spill) add(n uint64) error {
	if s.buf = append(s.buf, n); len(s.buf) < s.most {
		return nil
	}
	return s.flush()
}

// flush writes what is in memory as a run, durably, and keeps their number small.
func (s *spill) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	slices.Sort(s.buf)
	s.buf = slices.Compact(s.buf)
	err := s.write(func(put func(uint64) error) error {
		for _, n := range s.buf {
			if err := put(n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.buf = s.buf[:0]
	if len(s.runs) <= spillRuns {
		return nil
	}
	return s.merge()
}

// merge makes one run of all.
func (s *spill) merge() error {
	old := s.runs
	s.runs = nil
	m, err := s.open(old)
	if err != nil {
		s.runs = old
		return err
	}
	defer m.close()
	err = s.write(func(put func(uint64) error) error {
		for m.ok {
			if err := put(m.n); err != nil {
				return err
			}
			if err := m.step(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.runs = old
		return err
	}
	for _, r := range old {
		if err := s.fs.Remove(s.fs.PathJoin(s.dir, r.Name)); err != nil {
			return fmt.Errorf("remove marks: %w", err)
		}
	}
	return nil
}

// write makes a run of what fill puts.
func (s *spill) write(fill func(put func(uint64) error) error) error {
	name := fmt.Sprintf("marks-%d", s.next)
	s.next++
	f, err := s.fs.Create(s.fs.PathJoin(s.dir, name), "holdfast-prune")
	if err != nil {
		return fmt.Errorf("write marks: %w", err)
	}
	w := bufio.NewWriterSize(f, runBuffer)
	var b [8]byte
	sum := uint64(0)
	err = fill(func(n uint64) error {
		binary.BigEndian.PutUint64(b[:], n)
		sum = crc64.Update(sum, marksTable, b[:])
		_, err := w.Write(b[:])
		return err
	})
	err = errors.Join(err, w.Flush(), f.Sync(), f.Close())
	if err == nil {
		err = syncDir(s.fs, s.dir)
	}
	if err != nil {
		return fmt.Errorf("write marks: %w", err)
	}
	s.runs = append(s.runs, marksRun{name, sum})
	return nil
}

// remove deletes the runs.
func (s *spill) remove() error { return s.fs.RemoveAll(s.dir) }

// sorted flushes the set and reads it back in order, each number once.
func (s *spill) sorted() (*merged, error) {
	if err := s.flush(); err != nil {
		return nil, err
	}
	s.buf = nil
	return s.open(s.runs)
}

func (s *spill) open(runs []marksRun) (*merged, error) {
	m := &merged{}
	for _, of := range runs {
		f, err := s.fs.Open(s.fs.PathJoin(s.dir, of.Name), vfs.SequentialReadsOption)
		if err != nil {
			m.close()
			return nil, fmt.Errorf("read marks: %w", err)
		}
		r := &run{f: f, r: bufio.NewReaderSize(f, runBuffer), want: of.Sum}
		m.all = append(m.all, r)
		if ok, err := r.step(); err != nil {
			m.close()
			return nil, err
		} else if ok {
			m.live = append(m.live, r)
		}
	}
	heap.Init(&m.live)
	if err := m.step(); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// merged is several runs in one order. While ok, n is the number at hand.
type merged struct {
	n    uint64
	ok   bool
	all  []*run
	live runHeap
}

// step goes to the next number.
func (m *merged) step() error {
	was, had := m.n, m.ok
	for len(m.live) > 0 {
		r := m.live[0]
		n := r.n
		if ok, err := r.step(); err != nil {
			return err
		} else if ok {
			heap.Fix(&m.live, 0)
		} else {
			heap.Pop(&m.live)
		}
		if !had || n != was {
			m.n, m.ok = n, true
			return nil
		}
	}
	m.ok = false
	return nil
}

// has reports whether n is in the set. It is asked in ascending order.
func (m *merged) has(n uint64) (bool, error) {
	for m.ok && m.n < n {
		if err := m.step(); err != nil {
			return false, err
		}
	}
	return m.ok && m.n == n, nil
}

// toEnd reads what is left: only then the runs are known to be as they were
// written.
func (m *merged) toEnd() error {
	for m.ok {
		if err := m.step(); err != nil {
			return err
		}
	}
	return nil
}

func (m *merged) close() {
	for _, r := range m.all {
		r.f.Close()
	}
	m.all = nil
}

// run is one run being read.
type run struct {
	f vfs.File
	r *bufio.Reader
	n uint64

	sum, want uint64
}

func (r *run) step() (bool, error) {
	var b [8]byte
	switch _, err := io.ReadFull(r.r, b[:]); {
	case err == io.EOF && r.sum == r.want:
		return false, nil
	case err == io.EOF:
		return false, fmt.Errorf("read marks: %w", errMarks)
	case err != nil:
		return false, fmt.Errorf("read marks: %w", err)
	}
	r.sum = crc64.Update(r.sum, marksTable, b[:])
	n := binary.BigEndian.Uint64(b[:])
	if n < r.n {
		return false, fmt.Errorf("read marks: %w", errMarks)
	}
	r.n = n
	return true, nil
}

type runHeap []*run

func (h runHeap) Len() int           { return len(h) }
func (h runHeap) Less(i, j int) bool { return h[i].n < h[j].n }
func (h runHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(x any)        { *h = append(*h, x.(*run)) }
func (h *runHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	*h = old[:len(old)-1]
	return r
}
