package image

import "context"

// longZeros is the shortest run of empty entries worth a segment of its own;
// shorter ones are made up with their neighbours.
const longZeros = 4096

// table is an array of entries of width bytes. Entries that stand for nothing
// allocated consist of blank bytes.
type table struct {
	width int64
	count int64
	blank byte
	// next returns the first entry at or after e, at most count, that may
	// differ from blank. It is asked only when blank is 0.
	next func(ctx context.Context, e int64) (int64, error)
	// fill writes the entries of [from, to) that are not blank into p,
	// which begins with entry from.
	fill func(ctx context.Context, p []byte, from, to int64) error
}

// area lays the table down at a file offset.
func (t *table) area(start int64) area {
	return area{start: start, end: start + t.count*t.width, at: t.at}
}

func (t *table) at(ctx context.Context, rel, max int64) (Segment, error) {
	e := rel / t.width
	if t.blank == 0 {
		next, err := t.next(ctx, e)
		if err != nil {
			return Segment{}, err
		}
		if run := next*t.width - rel; run >= min(max, longZeros) {
			return Segment{Kind: Zeros, Length: min(run, max)}, nil
		}
	}
	length := min(max, madeMax)
	to := ceilDiv(rel+length, t.width)
	p := make([]byte, (to-e)*t.width)
	if t.blank != 0 {
		for i := range p {
			p[i] = t.blank
		}
	}
	if err := t.fill(ctx, p, e, to); err != nil {
		return Segment{}, err
	}
	skip := rel - e*t.width
	return made(p[skip : skip+length]), nil
}

// entriesOfSpan is how many grains one span has: the entries of a qcow2 L2
// table, and of the sixteen VMDK grain tables that cover as much.
const entriesOfSpan = int64(Span) / int64(Grain)

// spanTables is the tables of all allocated spans, one after another, as one
// table: entry r*entriesOfSpan+j is for grain j of the r-th allocated span.
// put writes the entry of the grain with the given rank to p's start.
func spanTables(d Disk, width int64, put func(p []byte, rank int64)) *table {
	spans, grains := unitsOf(d, Span), unitsOf(d, Grain)
	t := &table{width: width, count: spans.count * entriesOfSpan}
	t.next = func(ctx context.Context, e int64) (int64, error) {
		r, j := e/entriesOfSpan, e%entriesOfSpan
		s, err := spans.selectAt(ctx, r)
		if err != nil {
			return 0, err
		}
		n, err := grains.next(ctx, s*entriesOfSpan+j)
		return r*entriesOfSpan + min(n-s*entriesOfSpan, entriesOfSpan), err
	}
	t.fill = func(ctx context.Context, p []byte, from, to int64) error {
		for e := from; e < to; {
			r, j := e/entriesOfSpan, e%entriesOfSpan
			s, err := spans.selectAt(ctx, r)
			if err != nil {
				return err
			}
			n := s*entriesOfSpan + j // the grain of entry e
			run := min(to-e, entriesOfSpan-j)
			at := p[(e-from)*width:]
			err = grains.each(ctx, n, n+run, func(g, rank int64) { put(at[(g-n)*width:], rank) })
			if err != nil {
				return err
			}
			e += run
		}
		return nil
	}
	return t
}
