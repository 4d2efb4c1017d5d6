package ntfs

import (
	"context"
	"fmt"
	"slices"
	"time"

	"holdfast/fs/guest"
)

// $STANDARD_INFORMATION: 0 times of creation, of the last change of the
// content, of the record, and of the last access, 8 each; 32 DOS attributes 4;
// since NTFS 3.0 also 52 security id 4.
const (
	standardLen   = 36
	standardLenV3 = 72

	dosHidden     = 0x2
	dosSystem     = 0x4
	dosReparse    = 0x400
	dosOffline    = 0x1000
	dosRecall     = 0x40000  // on open
	dosRecallData = 0x400000 // on access to the content

	allPermissions = 0o777
)

// inode is what a file's record says of it.
type inode struct {
	*file
	kind              guest.Type
	dos               uint32
	security          uint32
	created, modified time.Time
	changed, accessed time.Time
	tag               uint32 // of the reparse point; 0 for none
	reparse           []byte // its data behind the head
	data              *stream
	ea                linuxEA
	interix           []byte // a link's target in UTF-16LE
	device            uint64
	size, allocated   int64
}

// inode reads a file that a directory may name.
func (f *FS) inode(ctx context.Context, n guest.Node) (*inode, error) {
	x, err := f.node(ctx, n)
	if err != nil {
		return nil, err
	}
	return f.describeFile(ctx, x)
}

// describeFile finds out what a file is.
func (f *FS) describeFile(ctx context.Context, x *file) (*inode, error) {
	in := &inode{file: x, kind: guest.Regular}
	if err := in.parseStandard(); err != nil {
		return nil, err
	}
	if x.directory() {
		in.kind = guest.Directory
		s, err := f.stream(ctx, x, attrIndexBlocks, nameIndex)
		if err != nil {
			return nil, err
		}
		if s != nil {
			in.size, in.allocated = s.size, s.allocated
		}
	} else {
		var err error
		if in.data, err = f.stream(ctx, x, attrData, ""); err != nil {
			return nil, err
		}
		if in.data != nil {
			in.size, in.allocated = in.data.size, in.data.allocated
		}
	}
	if err := f.readLinuxEA(ctx, in); err != nil {
		return nil, err
	}
	if in.dos&dosReparse != 0 {
		if err := f.readReparse(ctx, in); err != nil {
			return nil, err
		}
	} else if in.kind == guest.Regular && in.dos&dosSystem != 0 {
		return in, f.readInterix(ctx, in)
	}
	return in, nil
}

func (in *inode) parseStandard() error {
	i := slices.IndexFunc(in.attrs, func(a attribute) bool { return a.kind == attrStandard })
	if i < 0 || len(in.attrs[i].value) < standardLen {
		return guest.Corrupt("ntfs record %d: it has no standard information", in.number)
	}
	b := in.attrs[i].value
	in.created, in.modified, in.changed, in.accessed = readTime(b), readTime(b[8:]), readTime(b[16:]), readTime(b[24:])
	in.dos = le.Uint32(b[32:])
	if len(b) >= standardLenV3 {
		in.security = le.Uint32(b[52:])
	}
	return nil
}

// readTime reads a time: units of 100 ns since the year 1601.
func readTime(b []byte) time.Time {
	const perSecond, epoch = 10_000_000, 11_644_473_600
	n := int64(le.Uint64(b))
	return time.Unix(n/perSecond-epoch, n%perSecond*100)
}

// Stat implements guest.Filesystem. A node is the number of a file record. All
// files belong to root and are open to all, as with ntfs-3g when it has no map
// of users, but for those to which WSL has given an owner and a mode. A
// directory has one link, so that find looks into all of them; names of 8.3
// beside long ones are no links. The generation is the record's sequence number.
func (f *FS) Stat(ctx context.Context, n guest.Node) (guest.Attr, error) {
	in, err := f.inode(ctx, n)
	if err != nil {
		return guest.Attr{}, err
	}
	a := guest.Attr{
		Node: n, Type: in.kind, Perm: allPermissions, Links: 1, Size: in.size, Allocated: (in.allocated + 511) &^ 511, Generation: uint64(in.sequence),
		Atime: in.accessed, Mtime: in.modified, Ctime: in.changed, Btime: in.created, UID: in.ea.uid, GID: in.ea.gid,
	}
	if in.ea.hasMode && in.kind != guest.Symlink {
		a.Perm = uint16(in.ea.mode & 0o7777)
	}
	if in.kind != guest.Directory {
		if a.Links, err = f.links(ctx, in.file); err != nil {
			return a, err
		}
	}
	switch in.kind {
	case guest.Symlink:
		target, err := f.target(ctx, in)
		a.Size = int64(len(target))
		return a, err
	case guest.CharDevice, guest.BlockDevice:
		a.Rdev = in.device
	}
	return a, nil
}

// links counts a file's names, without those of DOS.
func (f *FS) links(ctx context.Context, x *file) (uint32, error) {
	n := uint32(0)
	err := f.each(ctx, x, attrFileName, func(a *attribute) bool {
		if name, err := parseName(a.value); err != nil || name.space != spaceDOS {
			n++
		}
		return true
	})
	return max(n, 1), err
}

// regular reads a file whose content can be read.
func (f *FS) regular(ctx context.Context, n guest.Node) (*content, error) {
	in, err := f.inode(ctx, n)
	if err != nil {
		return nil, err
	}
	if in.kind != guest.Regular {
		return nil, fmt.Errorf("ntfs record %d is no regular file: %w", in.number, guest.ErrNotExist)
	}
	return f.content(ctx, in)
}
