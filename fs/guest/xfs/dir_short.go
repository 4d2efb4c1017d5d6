package xfs

import "holdfast/fs/guest"

// A directory in its inode (Short Form Directories): entries 1, those with
// inode numbers of 8 bytes 1, parent 4 or 8; then for each entry the length of
// its name 1, its address in a block 2, name, kind 1 (with ftype), number 4 or
// 8. Numbers are long in all entries if they are in one.

// eachShortDirent walks such a directory.
func (f *FS) eachShortDirent(in *inode, fn func(dirent) bool) (more bool, err error) {
	b := in.data.bytes
	if in.size < int64(len(b)) {
		b = b[:in.size]
	}
	if len(b) < 6 {
		return true, guest.Corrupt("xfs directory %d: %d bytes", in.number, len(b))
	}
	count, numberLen := int(b[0]), 4
	if b[1] > 0 {
		numberLen = 8
	}
	kindLen := 0
	if f.sb.ftype {
		kindLen = 1
	}
	last := uint64(0)
	for b = b[min(2+numberLen, len(b)):]; count > 0; count-- {
		if len(b) < 3 || len(b) < 3+int(b[0])+kindLen+numberLen {
			return true, guest.Corrupt("xfs directory %d: an entry ends behind the inode", in.number)
		}
		name, rest := b[3:3+int(b[0])], b[3+int(b[0]):]
		e := dirent{name: string(name), cookie: uint64(be.Uint16(b[1:])) >> cookieShift}
		if kindLen > 0 {
			e.kind = rest[0]
		}
		if rest = rest[kindLen:]; numberLen == 8 {
			e.inode = be.Uint64(rest)
		} else {
			e.inode = uint64(be.Uint32(rest))
		}
		b = rest[numberLen:]
		if err := f.checkDirent(in, e); err != nil {
			return true, err
		}
		if e.cookie <= last {
			return true, guest.Corrupt("xfs directory %d: %q at address %d, behind %d", in.number, e.name, e.cookie<<cookieShift, last<<cookieShift)
		}
		last = e.cookie
		if !fn(e) {
			return false, nil
		}
	}
	return true, nil
}
