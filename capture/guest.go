package capture

import (
	"context"
	"slices"
	"time"

	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
	"holdfast/fs/guest"
	"holdfast/fs/guest/layout"
	"holdfast/fs/guest/volume"
)

// What a version may leave out, as it is remembered in the version.
const (
	leftFree = "free" // what the guest's filesystems don't use
	leftSwap = "swap" // what its swap volumes and page files hold
)

// LayoutOptions are those with which a version was captured that left this out:
// to find the same again in its source.
func LayoutOptions(leftOut []string) layout.Options {
	return layout.Options{Free: slices.Contains(leftOut, leftFree), Swap: slices.Contains(leftOut, leftSwap)}
}

// leftOut is what the capture leaves out where it finds it.
func (o *Options) leftOut() (what []string) {
	if !o.KeepFree {
		what = append(what, leftFree)
	}
	if !o.KeepSwap {
		what = append(what, leftSwap)
	}
	return what
}

// scanned is what is known of the guest that lies on the disks.
type scanned struct {
	cutter Cutter            // nil: along the files in layout
	layout *layout.Layout    // nil: not looked at
	stamps map[string]stamps // of each disk, from before it was looked at
}

// scanDisks looks at all disks together, for volumes may lie on several. What
// it can't read becomes a notice of a disk: the error is that of ctx.
func scanDisks(ctx context.Context, opts *Options) (*scanned, error) {
	s := &scanned{cutter: opts.Cutter, stamps: map[string]stamps{}}
	for _, in := range opts.Disks {
		s.stamps[in.Name] = stampFiles(in.Source.Files)
	}
	o := LayoutOptions(opts.leftOut())
	if o.Cuts = opts.Cutter == nil; !o.Cuts && !o.Free && !o.Swap {
		return s, nil
	}
	began := time.Now()
	var disks []volume.Disk
	for _, in := range opts.Disks {
		disks = append(disks, volume.Disk{Name: in.Name, Volume: in.Source})
	}
	var err error
	if s.layout, err = layout.Scan(ctx, disks, o); err != nil {
		return nil, err
	}
	opts.Log.Info("looked for the guest's files", "read_bytes", s.layout.ReadBytes(), "took", time.Since(began))
	return s, nil
}

func (s *scanned) close() {
	if s.layout != nil {
		s.layout.Close()
	}
}

// name is that of the cut.
func (s *scanned) name() string {
	if s.cutter != nil {
		return s.cutter.Name()
	}
	return "files"
}

// guestDisk is what is known of one disk.
type guestDisk struct {
	*scanned
	name string
}

func (s *scanned) of(name string) guestDisk { return guestDisk{s, name} }

func (g guestDisk) notices() []string {
	if g.layout == nil {
		return nil
	}
	notices := g.layout.Notices(g.name)
	if err := g.layout.Err(); err != nil && len(notices) == 0 {
		notices = append(notices, "cut on the grid and captured whole, in part: "+err.Error())
	}
	return notices
}

// cut appends the ends of the cells of region n.
func (g guestDisk) cut(buf []int, n int64, length int) []int {
	if g.cutter != nil {
		return g.cutter.Cut(buf, n, length)
	}
	from := n * disk.RegionSize
	cuts := g.layout.Cuts(nil, g.name, from, from+int64(length))
	// Nor does a chunk reach over what is left out: its bytes are then those
	// that the source has there.
	for _, r := range g.layout.Out(nil, g.name, from, from+int64(length)) {
		if r.Offset > from {
			cuts = append(cuts, r.Offset)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	for i := range cuts {
		cuts[i] -= from
	}
	return cells(buf, cuts, length)
}

// cells appends the ends of the cells that cuts make of a region. What is
// longer than a chunk is cut on the grid: there lies no file. Where there would
// be more cells than a region map can hold, the smallest become one with their
// neighbours.
func cells(buf []int, cuts []int64, length int) []int {
	begin := len(buf)
	buf = divide(buf, cuts, length)
	if len(buf)-begin <= disk.MaxExtents {
		return buf
	}
	return divide(buf[:begin], sparse(cuts, length), length)
}

func divide(buf []int, cuts []int64, length int) []int {
	last := 0
	for i := range len(cuts) + 1 {
		cut := length
		if i < len(cuts) {
			cut = int(cuts[i])
		}
		for cut-last > pack.MaxChunk {
			last = (last/pack.MaxChunk + 1) * pack.MaxChunk
			buf = append(buf, last)
		}
		buf, last = append(buf, cut), cut
	}
	return buf
}

// smallCell is the smallest cell of a region that has too many. A smaller one
// is left only where it would make its neighbour larger than a chunk, so there
// are 512 of one and less than 150 of the other at most.
const smallCell = 8 << 10

// sparse leaves out cuts less than smallCell behind the one before.
func sparse(cuts []int64, length int) (kept []int64) {
	last := int64(0)
	for i, cut := range cuts {
		next := int64(length)
		if i+1 < len(cuts) {
			next = cuts[i+1]
		}
		if cut-last >= smallCell || next-last > pack.MaxChunk {
			kept, last = append(kept, cut), cut
		}
	}
	return kept
}

// joinGap is the longest gap that is read and thrown away: to read on is
// cheaper than to begin anew.
const joinGap = 32 << 10

// leaveOut takes from a task what the guest does not use, and says what to
// read.
func (g guestDisk) leaveOut(t *task) {
	t.reads = t.extents
	if g.layout == nil || len(t.extents) == 0 {
		return
	}
	base := t.n * disk.RegionSize
	out := g.layout.Out(nil, g.name, base, base+int64(t.length))
	if len(out) == 0 {
		return
	}
	data := t.extents
	t.extents, t.reads = nil, nil
	for _, s := range data {
		first := len(t.extents)
		t.extents = without(t.extents, s, out, base)
		t.left += int64(s.to - s.from)
		for i, part := range t.extents[first:] {
			t.left -= int64(part.to - part.from)
			if k := len(t.reads) - 1; i > 0 && part.from-t.reads[k].to <= joinGap {
				t.reads[k].to = part.to
			} else {
				t.reads = append(t.reads, part)
			}
		}
	}
}

// without appends the parts of s that are not out.
func without(spans []span, s span, out []guest.Range, base int64) []span {
	i, _ := slices.BinarySearchFunc(out, base+int64(s.from), func(r guest.Range, at int64) int {
		if r.Offset+r.Length <= at {
			return -1
		}
		return 1
	})
	from := s.from
	for ; i < len(out) && out[i].Offset < base+int64(s.to); i++ {
		if begin := int(out[i].Offset - base); begin > from {
			spans = append(spans, span{from, begin})
		}
		from = int(out[i].Offset + out[i].Length - base)
	}
	if from < s.to {
		spans = append(spans, span{from, s.to})
	}
	return spans
}

// clearBetween clears what was read and is not to be captured.
func (t *task) clearBetween(region []byte) {
	k := 0
	for _, r := range t.reads {
		from := r.from
		for ; k < len(t.extents) && t.extents[k].from < r.to; k++ {
			clear(region[from:t.extents[k].from])
			from = t.extents[k].to
		}
		clear(region[from:max(from, r.to)])
	}
}
