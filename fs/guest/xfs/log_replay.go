package xfs

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
)

// replayed is what a replay did.
type replayed struct {
	dirty        bool
	transactions int
	intents      map[intent]bool // begun, not done
}

// intent names an update that spans transactions, by its kind and number.
type intent struct {
	kind   uint16
	number uint64
}

const maxIntents = 1 << 16

// intentKinds names the kinds: each has an item that begins an update and one,
// with the next number, that ends it.
var intentKinds = map[uint16]string{
	0x1236: "free an extent", 0x1240: "map an extent to its owner", 0x1242: "count an extent's users", 0x1244: "map an extent to a file",
	0x1246: "set an xattr", 0x1248: "exchange extents", 0x124a: "free a real-time extent", 0x124c: "map a real-time extent to its owner",
	0x124e: "count a real-time extent's users",
}

// unfinished says what was begun and not done.
func (r replayed) unfinished() string {
	if len(r.intents) == 0 {
		return ""
	}
	counts := map[uint16]int{}
	for i := range r.intents {
		counts[i.kind]++
	}
	var parts []string
	for kind, n := range counts {
		parts = append(parts, fmt.Sprintf("%d to %s", n, intentKinds[kind]))
	}
	sort.Strings(parts)
	return "updates that the guest will finish at its next mount: " + strings.Join(parts, ", ")
}

// replay replays the log into the overlay, if it is dirty.
func (f *FS) replay(ctx context.Context) (replayed, error) {
	l, err := f.openLog()
	if err != nil {
		return replayed{}, err
	}
	head, cycle, err := l.findHead(ctx)
	if err != nil {
		return replayed{}, err
	}
	last, err := l.lastRecord(ctx, head, cycle)
	if err != nil {
		return replayed{}, err
	}
	if last.unmounts() && (last.place+last.sectors)%l.sectors == head%l.sectors {
		return replayed{}, nil
	}
	if unknown := f.sb.logIncompat &^ readableLogIncompat; unknown != 0 {
		return replayed{}, fmt.Errorf("a log with unknown features %#x", unknown)
	}
	return l.replay(ctx, last)
}

// unmounts says that a record tells of a clean unmount, and no more.
func (r *record) unmounts() bool {
	return r.operations == 1 && len(r.data) >= opHead && r.data[9]&opUnmount != 0
}

// replay replays from the tail that a record names up to that record, or up to
// the last before a gap: then its own tail counts.
func (l *log) replay(ctx context.Context, last *record) (replayed, error) {
	limit := last.lsn
	for range maxInFlight + 1 {
		c := newCancels()
		stop, err := l.eachTransaction(ctx, last, c.note)
		if err != nil {
			return replayed{}, err
		}
		if stop == nil {
			return l.replayItems(ctx, last, c)
		}
		if stop.place == last.place || l.distance(stop.place, limit) > tornSectors {
			return replayed{}, fmt.Errorf("a gap in the log behind the record at sector %d", stop.place)
		}
		last = stop
	}
	return replayed{}, errors.New("the log's end is torn")
}

// distance is the number of sectors from a place on to that of an LSN.
func (l *log) distance(place int64, lsn uint64) int64 {
	return (lsnPlace(lsn) - place + l.sectors) % l.sectors
}

// replayItems is the second pass.
func (l *log) replayItems(ctx context.Context, last *record, c *cancels) (replayed, error) {
	r := replayer{fs: l.fs, cancels: c, done: replayed{dirty: true, intents: map[intent]bool{}}}
	l.fs.overlay.content = map[int64]*[sector]byte{}
	stop, err := l.eachTransaction(ctx, last, func(t *transaction) error { return r.transaction(ctx, t) })
	if err == nil && stop != nil {
		err = errors.New("the log changes while it is read")
	}
	l.fs.overlay.build()
	return r.done, err
}

// eachTransaction calls fn for the transactions that are committed between the
// tail that a record names and that record's end. If a record between is
// missing or damaged, stop is the one before it.
func (l *log) eachTransaction(ctx context.Context, last *record, fn func(*transaction) error) (stop *record, err error) {
	a := assembler{open: map[uint32]*transaction{}, committed: fn}
	place, lsn := lsnPlace(last.tail), last.tail
	var before *record
	// Each record is at least a header long.
	for range l.sectors {
		if place >= l.sectors {
			return nil, fmt.Errorf("the log's tail is at sector %d of %d", place, l.sectors)
		}
		r, err := l.record(ctx, place)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil && (r.lsn < lsn || r.lsn > last.lsn) {
			err = fmt.Errorf("log record at sector %d: it is of another cycle", place)
		}
		if err != nil && before == nil {
			return nil, fmt.Errorf("the log's tail: %w", err)
		}
		if err != nil {
			return before, nil
		}
		if err := a.add(r); err != nil {
			return nil, err
		}
		if r.lsn == last.lsn {
			return nil, nil
		}
		before, lsn, place = r, r.lsn+1, (place+r.sectors)%l.sectors
	}
	return nil, errors.New("the log has no end")
}
