package layout

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/fs/guest"
	"holdfast/fs/guest/volume"
)

var le = binary.LittleEndian

// MaxCell is how much of a file lies between two cuts at most: the largest
// chunk. It must not change: what versions share is cut alike.
const MaxCell = 64 << 10

// maxNotices of a scan, and the length of one.
const (
	maxNotices   = 16
	noticeLength = 300
)

// Options say what a scan looks for.
type Options struct {
	Cuts      bool   // where files lie
	Free      bool   // what filesystems don't use
	Swap      bool   // what swap partitions and Windows' page files hold
	MaxMemory int    // bytes of bits in memory; 0: 32 MiB
	TempDir   string // for what is beyond; "": the system's
	// Patience is how long one volume may take beyond a second for each GiB
	// of it; 0: 30 s. It is a last resort: see the package doc for the others.
	Patience time.Duration

	grace time.Duration // what a reader has to come to its end then; 0: 10 s
}

// Layout tells of the disks of a VM where files lie and what is not used. It
// is safe for concurrent use.
type Layout struct {
	notices []notice
	names   []string
	read    int64

	mu    sync.Mutex // guards pages
	pages *pages
}

// notice is what a person should know of a disk.
type notice struct{ disk, text string }

// Scan looks at the disks of a VM, all of them together. What it can't read it
// tells in Notices; the error is that of ctx alone. It reads metadata, never
// files. Close the layout when it is no longer needed.
func Scan(ctx context.Context, disks []volume.Disk, o Options) (*Layout, error) {
	if o.MaxMemory == 0 {
		o.MaxMemory = 32 << 20
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.grace == 0 {
		o.grace = 10 * time.Second
	}
	l := &Layout{pages: newPages(o.MaxMemory, o.TempDir)}
	s := &scan{Layout: l, options: o, meter: new(meter)}
	for _, d := range disks {
		l.names = append(l.names, d.Name)
		s.disks = append(s.disks, volume.Disk{Name: d.Name, Volume: metered{d.Volume, s.meter}})
	}
	err := s.run(ctx)
	l.read = s.meter.read.Load()
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Close lets go of the temporary file, if there is one.
func (l *Layout) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pages.close()
}

// ReadBytes is what the scan has read of the disks.
func (l *Layout) ReadBytes() int64 { return l.read }

// Notices tell what of a disk could not be read, or not be left out, and why.
// What concerns several disks is told of the first.
func (l *Layout) Notices(disk string) (texts []string) {
	for _, n := range l.notices {
		if n.disk == disk {
			texts = append(texts, n.text)
		}
	}
	return texts
}

// Err is the error of the temporary file. From then on there are no cuts and
// nothing is out.
func (l *Layout) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pages.err
}

// notice adds one.
func (l *Layout) notice(disk, format string, args ...any) {
	n := notice{disk, fmt.Sprintf(format, args...)}
	if len(n.text) > noticeLength {
		n.text = strings.ToValidUTF8(n.text[:noticeLength], "") + "…"
	}
	if len(l.notices) < maxNotices && !slices.Contains(l.notices, n) {
		l.notices = append(l.notices, n)
	}
}

// plane names the bits of a disk; ok is false for one that was not scanned.
func (l *Layout) plane(disk string, kind uint8) (p plane, ok bool) {
	i := slices.Index(l.names, disk)
	return plane{i, kind}, i >= 0
}

// Cuts appends to buf the cuts of a disk between from and to, both excluded, in
// order. from must be a multiple of 4096.
func (l *Layout) Cuts(buf []int64, disk string, from, to int64) []int64 {
	p, ok := l.plane(disk, cutPlane)
	if !ok {
		return buf
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	none := len(buf)
	for at := from; at < to; {
		cut := l.pages.next(p, at, to, true)
		if cut < to && cut > from {
			buf = append(buf, cut)
		}
		at = cut + l.pages.unit(p, cut)
	}
	if l.pages.err != nil {
		return buf[:none]
	}
	return buf
}

// Out appends to buf the ranges of a disk in [from, to) that are out, in order.
// from must be a multiple of 4096.
func (l *Layout) Out(buf []guest.Range, disk string, from, to int64) []guest.Range {
	p, ok := l.plane(disk, outPlane)
	if !ok {
		return buf
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	none := len(buf)
	for at := from; at < to; {
		begin := l.pages.next(p, at, to, true)
		if begin >= to {
			break
		}
		at = l.pages.next(p, begin, to, false)
		buf = append(buf, guest.Range{Offset: begin, Length: at - begin})
	}
	if l.pages.err != nil {
		return buf[:none]
	}
	return buf
}
