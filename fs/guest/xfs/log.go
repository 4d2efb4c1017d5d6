package xfs

import (
	"context"
	"errors"
	"fmt"
	"sort"
)

// The log (Journaling Log) is a ring of sectors of 512 bytes. A place in it is
// a log sequence number (LSN): the cycle, which counts the rounds, 32 bits, and
// the sector 32 bits. Each sector begins with its cycle; in data those 4 bytes
// are kept in the record's header. The head, where the next record would
// begin, is where the cycle goes down.
const (
	minLogSectors = 128
	maxLogSectors = 1 << 22 // 2 GiB, the kernel's own bound

	// maxRecord sectors: 256 KiB and 8 of headers. Up to 8 records are written at
	// once, in any order, so near the head some may be missing between others.
	maxRecordSectors = 256<<10/sector + 8
	maxInFlight      = 8
	tornSectors      = maxInFlight * maxRecordSectors
)

// log reads a filesystem's log as it is on disk.
type log struct {
	fs      *FS
	start   int64 // in the volume, in bytes
	sectors int64
}

// openLog finds the log.
func (f *FS) openLog() (*log, error) {
	if f.sb.logStart == 0 {
		return nil, errors.New("the log is on another device")
	}
	start, err := f.sb.place(f.sb.logStart, uint64(f.sb.logBlocks))
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	l := &log{fs: f, start: start, sectors: int64(f.sb.logBlocks) << f.sb.blockLog / sector}
	if l.sectors < minLogSectors || l.sectors > maxLogSectors {
		return nil, fmt.Errorf("a log of %d sectors", l.sectors)
	}
	return l, nil
}

// read reads n sectors from one on, around the end of the ring.
func (l *log) read(ctx context.Context, from, n int64) ([]byte, error) {
	b := make([]byte, n*sector)
	head := min(n, l.sectors-from)
	if err := l.fs.readFull(ctx, b[:head*sector], l.start+from*sector); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	if head < n {
		if err := l.fs.readFull(ctx, b[head*sector:], l.start); err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
	}
	return b, nil
}

// cycleOf gives the cycle that a sector begins with.
func cycleOf(b []byte) uint32 {
	if be.Uint32(b) == recordMagic {
		return be.Uint32(b[4:])
	}
	return be.Uint32(b)
}

// cycle reads one sector's cycle.
func (l *log) cycle(ctx context.Context, number int64) (uint32, error) {
	b, err := l.read(ctx, number, 1)
	if err != nil {
		return 0, err
	}
	return cycleOf(b), nil
}

// findHead gives the sector behind the last that was written without a gap,
// and the cycle of those before it; the head may be at the end of the ring.
func (l *log) findHead(ctx context.Context) (head int64, cycle uint32, err error) {
	if cycle, err = l.cycle(ctx, 0); err != nil {
		return 0, 0, err
	}
	if cycle == 0 { // even mkfs.xfs writes a record there
		return 0, 0, errors.New("the log's beginning is empty")
	}
	head = int64(sort.Search(int(l.sectors), func(i int) bool {
		if err != nil {
			return true
		}
		var c uint32
		c, err = l.cycle(ctx, int64(i))
		return c != cycle
	}))
	if err != nil {
		return 0, 0, err
	}
	return l.firstGap(ctx, head, cycle)
}

// firstGap goes back from a head to before the first sector that was not
// written, among those that may have been in flight. Where more records stand
// behind it than are ever written at once, it is damage.
func (l *log) firstGap(ctx context.Context, head int64, cycle uint32) (int64, uint32, error) {
	back := min(tornSectors, l.sectors/2)
	from, to := head-back, min(head+back, l.sectors)
	b, err := l.read(ctx, (from+l.sectors)%l.sectors, to-from)
	if err != nil {
		return 0, 0, err
	}
	gap, gapCycle, behind := head, cycle, 0
	for at := from; at < to; at++ {
		want, place := l.expect(at, cycle)
		written := want == 0 || cycleOf(b[(at-from)*sector:]) == want
		switch {
		case !written && at < gap:
			gap, gapCycle = at, want
		case written && at > gap && be.Uint32(b[(at-from)*sector:]) == recordMagic:
			behind++
		}
		if behind > maxInFlight {
			return 0, 0, fmt.Errorf("the log is damaged before sector %d", place)
		}
	}
	if gap < 0 {
		gap += l.sectors
	}
	return gap, gapCycle, nil
}

// expect gives the cycle and the sector of a place that counts from the start
// of a cycle's round, and is negative in the round before.
func (l *log) expect(at int64, cycle uint32) (want uint32, place int64) {
	if at < 0 {
		return cycle - 1, at + l.sectors
	}
	return cycle, at
}

// lastRecord gives the last whole record that ends at or before a head.
func (l *log) lastRecord(ctx context.Context, head int64, cycle uint32) (*record, error) {
	back := min(tornSectors, l.sectors)
	from := head - back
	b, err := l.read(ctx, (from+l.sectors)%l.sectors, back)
	if err != nil {
		return nil, err
	}
	// Each try reads a record; behind the gap there are at most those in flight.
	tries := 64
	for at := head - 1; at >= from && tries > 0; at-- {
		if be.Uint32(b[(at-from)*sector:]) != recordMagic {
			continue
		}
		want, place := l.expect(at, cycle)
		tries--
		r, err := l.record(ctx, place)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil && r.lsn == lsnOf(want, place) && at+r.sectors <= head {
			return r, nil
		}
	}
	return nil, fmt.Errorf("no whole record before the log's head at sector %d", head)
}
