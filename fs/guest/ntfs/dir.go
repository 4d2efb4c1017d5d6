package ntfs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"holdfast/fs/guest"
)

// A key of a directory's index is the same as the attribute $FILE_NAME:
//
//	0 directory 8  8 times 4 * 8  40 allocated 8  48 size 8  56 flags 4
//	60 reparse tag 4  64 units of the name 1  65 name space 1  66 name
const (
	nameHead    = 66
	spacePOSIX  = 0
	spaceDOS    = 2 // 8.3, beside a name of its own entry
	nameReparse = 0x400
	nameSystem  = 0x4
	nameDir     = 0x1000_0000
)

// fileName is a name of a file.
type fileName struct {
	parent uint64 // reference
	flags  uint32
	space  byte
	name   []byte // UTF-16LE
}

func parseName(b []byte) (fileName, error) {
	if len(b) < nameHead || len(b) < nameHead+2*int(b[64]) || b[64] == 0 {
		return fileName{}, guest.Corrupt("a name in %d bytes", len(b))
	}
	return fileName{parent: le.Uint64(b), flags: le.Uint32(b[56:]), space: b[65], name: b[nameHead : nameHead+2*int(b[64])]}, nil
}

// check refuses what no name on Linux can be.
func (n fileName) check() (string, error) {
	s := narrow(n.name)
	if s == "." || s == ".." || strings.ContainsAny(s, "/\x00") {
		return "", guest.Corrupt("the name %.300q", s)
	}
	return s, nil
}

// kind is the type as far as the name tells it; 0 where only the file does.
func (n fileName) kind() guest.Type {
	switch {
	case n.flags&nameReparse != 0:
		return 0
	case n.flags&nameDir != 0:
		return guest.Directory
	case n.flags&nameSystem != 0:
		return 0 // perhaps a link or device of Interix
	}
	return guest.Regular
}

// dir opens the index of a directory.
func (f *FS) dir(ctx context.Context, n guest.Node) (*index, error) {
	x, err := f.node(ctx, n)
	if err != nil {
		return nil, err
	}
	if !x.directory() {
		return nil, fmt.Errorf("ntfs record %d is no directory: %w", x.number, guest.ErrNotExist)
	}
	return f.index(ctx, x, nameIndex)
}

// A cookie is the number of a block, from 1, above the offset of an entry in it
// in units of 8 bytes, plus 1; the root is number 0.
const cookieShift = 14

// ReadDir implements guest.Filesystem. The root of the index comes first, then
// its blocks that are in use as they lie, whatever the tree: names are in no
// order. DOS names beside others, and files of the volume itself, are left out.
// Damaged blocks are passed over, and the first damage is the error in the end.
func (f *FS) ReadDir(ctx context.Context, dir guest.Node, cookie uint64, fn func(guest.Entry) bool) error {
	ix, err := f.dir(ctx, dir)
	if err != nil {
		return err
	}
	var damage error
	more := true
	err = f.eachName(ctx, ix, cookie, func(n fileName, ref, cookie uint64) bool {
		if n.space == spaceDOS || ref&refMask < firstUser {
			return true
		}
		name, bad := n.check()
		if bad != nil {
			if damage == nil {
				damage = wrapRecord(ix.owner, bad)
			}
			return true
		}
		more = fn(guest.Entry{Name: name, Node: guest.Node(ref & refMask), Type: n.kind(), Cookie: cookie})
		return more
	})
	if err == nil && more {
		err = damage
	}
	return err
}

// maxBadBlocks ends the listing of a directory that is all damage.
const maxBadBlocks = 1024

// listing is one walk over the entries of a directory.
type listing struct {
	f      *FS
	ix     *index
	cookie uint64 // only entries behind it
	fn     func(n fileName, ref, cookie uint64) bool
	more   bool
	bad    int
	damage error // the first
}

// eachName calls fn for all entries behind a cookie, until fn returns false; who
// stops early sees nothing of the damage.
func (f *FS) eachName(ctx context.Context, ix *index, cookie uint64, fn func(n fileName, ref, cookie uint64) bool) error {
	l := &listing{f: f, ix: ix, cookie: cookie, fn: fn, more: true}
	number := cookie >> cookieShift
	if number == 0 {
		l.node(ix.root, 0)
		number = 1
	}
	if ix.blocks != nil && l.more {
		if err := l.blocks(ctx, int64(number-1)); err != nil && l.more {
			return err
		}
	}
	if !l.more {
		return nil
	}
	return l.damage
}

// note remembers damage; other errors end the walk.
func (l *listing) note(err error) error {
	if err == nil || !errors.Is(err, guest.ErrCorrupt) {
		return err
	}
	l.bad++
	if l.damage == nil {
		l.damage = err
	}
	return nil
}

// node walks the entries of the root, number 0, or of a block.
func (l *listing) node(entries []byte, number uint64) {
	bad := eachEntry(entries, func(e entry) bool {
		at := number<<cookieShift | uint64(e.at/8+1)
		if e.last || at <= l.cookie {
			return true
		}
		n, err := parseName(e.key)
		if err != nil {
			_ = l.note(wrapRecord(l.ix.owner, err)) // always damage
			return true
		}
		l.more = l.fn(n, le.Uint64(e.bytes), at)
		return l.more
	})
	if bad != nil {
		_ = l.note(wrapRecord(l.ix.owner, bad)) // always damage
	}
}

// blocks walks the blocks in use from one on.
func (l *listing) blocks(ctx context.Context, number int64) error {
	bits := bitReader{f: l.f, s: l.ix.bitmap}
	for ; number < l.ix.blocks.size/l.ix.blockSize && l.more && l.bad < maxBadBlocks; number++ {
		used, err := bits.bit(ctx, number)
		if err == nil && used {
			var entries []byte
			if entries, err = l.f.block(ctx, l.ix, number*l.ix.blockSize); err == nil {
				l.node(entries, uint64(number+1))
			}
		}
		if err := l.note(err); err != nil {
			return err
		}
		if bits.end {
			break
		}
	}
	return nil
}

// bitReader reads the bits of a bitmap in order.
type bitReader struct {
	f    *FS
	s    *stream
	at   int64 // of held, in bytes
	held []byte
	end  bool // the bitmap ends before the bit
}

// bit tells whether bit n is set; behind the end it is not.
func (b *bitReader) bit(ctx context.Context, n int64) (bool, error) {
	const piece = 512
	if n/8 >= b.s.size {
		b.end = true
		return false, nil
	}
	if b.held == nil || n/8 < b.at || n/8 >= b.at+int64(len(b.held)) {
		at := n / 8 &^ (piece - 1)
		held := make([]byte, min(piece, b.s.size-at))
		if err := b.f.readStream(ctx, b.s, held, at); err != nil {
			b.end = true
			return false, err
		}
		b.at, b.held = at, held
	}
	return b.held[n/8-b.at]>>(n%8)&1 != 0, nil
}
