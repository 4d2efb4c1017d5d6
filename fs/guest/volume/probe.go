package volume

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf16"

	"holdfast/fs/guest"
)

// Format is what a volume holds, as its header says. Nothing of it is proved:
// that is the work of the format's reader.
type Format struct {
	// Type is "" for nothing known, else one of: ext2 ext3 ext4 xfs btrfs
	// ntfs fat12 fat16 fat32 exfat swap; and of what is named only: iso9660
	// udf squashfs erofs jbd f2fs reiserfs jfs nilfs2 gfs2 bcachefs refs
	// apfs hfs hfsplus zfs ufs1 ufs2 vmfs luks1 luks2 bitlocker bcache drbd
	// hibernation isw-raid ddf-raid.
	Type    string
	Label   string
	UUID    string // in the format's own notation
	Size    int64  // bytes that it spans; 0 when not told
	Used    int64  // bytes in use; -1 when not told
	Refused string // why it is not read, "" for what readers may know
	Also    string // another type whose signature is there: an old one, mostly
}

// signature finds one format; ok is false when it is another.
type signature func(p *peek) (f Format, ok bool)

// signatures in the order in which they count: what seals a volume off first,
// then what keeps its mark in the first sectors, then the others.
var signatures = []signature{
	luks, bitlocker, bcache, raidBIOS, swap,
	xfs, btrfs, ext, ntfs, exfat, refs, apfs, squashfs, erofs, f2fs, hfs,
	reiserfs, jfs, nilfs2, gfs2, iso9660, udf, ufs, zfs, vmfs, drbd, fat,
}

// Probe looks at the superblocks of a volume. The error is that of reading it,
// when nothing was recognised.
func Probe(ctx context.Context, v guest.Volume) (Format, error) {
	p := &peek{ctx: ctx, v: v}
	defer p.done()
	found := Format{Used: -1}
	for _, s := range signatures {
		f, ok := s(p)
		switch {
		case !ok:
		case found.Type == "":
			found = f
		case found.Also == "":
			found.Also = f.Type
		}
	}
	if found.Type == "" && p.err != nil {
		return Format{Used: -1}, p.err
	}
	found.Label = strings.ToValidUTF8(strings.TrimRight(found.Label, " \x00"), "\ufffd")
	return found, ctx.Err()
}

// peek reads pieces of a volume. Where the volume ends early, or can't be read,
// there is nothing; the first error is kept.
type peek struct {
	ctx  context.Context
	v    guest.Volume
	err  error
	head []byte // the first bytes, where most signatures lie
	lent []*[]byte
	rest []byte // of one that was lent, for what is small
}

const (
	headSize = 72 << 10
	bigSize  = 128 << 10 // the most that a signature reads at once
)

// bigs are buffers for what is read. Most volumes are looked at once each, many of
// them one after the other: without these their buffers are most of what that costs.
var bigs = sync.Pool{New: func() any { b := make([]byte, bigSize); return &b }}

// done gives the buffers back. Nothing that at returned may be used any more.
func (p *peek) done() {
	for _, b := range p.lent {
		bigs.Put(b)
	}
}

func (p *peek) buffer(n int64) []byte {
	switch {
	case n > bigSize:
		return make([]byte, n)
	case n >= bigSize/8:
		return p.lend()[:n:n]
	case n > int64(len(p.rest)):
		p.rest = p.lend()
	}
	b := p.rest[:n:n]
	p.rest = p.rest[n:]
	return b
}

// lend takes a buffer until done.
func (p *peek) lend() []byte {
	b := bigs.Get().(*[]byte)
	p.lent = append(p.lent, b)
	return *b
}

// at gives n bytes at off, nil when they are not there. They are not to be
// changed, nor used when the probe is over.
func (p *peek) at(off, n int64) []byte {
	if off < 0 || n < 0 || off > p.v.Size()-n || p.ctx.Err() != nil {
		return nil
	}
	if off+n > headSize {
		return p.read(off, n)
	}
	if p.head == nil {
		p.head = p.read(0, min(headSize, p.v.Size()))
		if p.head == nil {
			p.head = []byte{}
		}
	}
	if off+n > int64(len(p.head)) {
		return p.read(off, n) // the head can't be read as a whole
	}
	return p.head[off : off+n]
}

func (p *peek) read(off, n int64) []byte {
	b := p.buffer(n)
	got, err := p.v.ReadAt(b, off)
	if got == len(b) {
		return b
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if p.err == nil {
		p.err = fmt.Errorf("read %d bytes at %d: %w", n, off, err)
	}
	return nil
}

// is tells whether the mark lies at off.
func (p *peek) is(off int64, mark string) bool {
	return string(p.at(off, int64(len(mark)))) == mark
}

// uuid formats 16 bytes in their order.
func uuid(b []byte) string {
	if len(bytes.Trim(b, "\x00")) == 0 {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// text gives what is before the first NUL.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// text16 decodes UTF-16LE before the first NUL.
func text16(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// product multiplies a count by a size; 0 when that is no size of a volume.
func product(count, size uint64) int64 {
	if size == 0 || count > (1<<62)/size {
		return 0
	}
	return int64(count * size)
}

// usedOf is what is not free; -1 when that makes no sense.
func usedOf(count, free, size uint64) int64 {
	if free > count || product(count, size) == 0 {
		return -1
	}
	return product(count-free, size)
}

func powerOfTwo(n, low, high uint64) bool { return n >= low && n <= high && n&(n-1) == 0 }
