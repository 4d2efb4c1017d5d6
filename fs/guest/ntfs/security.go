package ntfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"holdfast/fs/guest"
)

// Since NTFS 3.0 files share their security descriptors: the stream $SDS of
// $Secure holds them, each behind a head, and the index $SII knows their places
// by id. Every 256 KiB of the stream are followed by a copy.
//
//	$SII key: id 4; data: hash 4, id 4, offset 8, length with head 4
//	$SDS head: hash 4, id 4, offset 8, length 4
const (
	sdsHead   = 20
	sdsMirror = 256 << 10
)

var (
	securityIndex  = wide("$SII")
	securityStream = wide("$SDS")
)

// descriptor reads a file's security descriptor, self-relative as on disk; nil
// when it has none.
func (f *FS) descriptor(ctx context.Context, in *inode) ([]byte, error) {
	own, err := f.readAll(ctx, in.file, attrSecurity, "", maxDescriptor)
	if err != nil || own != nil || in.security == 0 {
		return own, err
	}
	secure, err := f.file(ctx, recordSecure)
	if err != nil {
		return nil, fmt.Errorf("$Secure: %w", asDamage(err))
	}
	ix, err := f.index(ctx, secure, securityIndex)
	if err != nil {
		return nil, err
	}
	e, ok, err := f.search(ctx, ix, func(key []byte) int {
		if len(key) < 4 {
			return -1
		}
		return cmp.Compare(in.security, le.Uint32(key))
	})
	if err != nil || !ok {
		return nil, err
	}
	at, size := int(le.Uint16(e.bytes)), int(le.Uint16(e.bytes[2:]))
	if size < sdsHead || at > len(e.bytes)-size {
		return nil, guest.Corrupt("ntfs: $Secure has %d bytes for security id %d", size, in.security)
	}
	data := e.bytes[at:]
	return f.sharedDescriptor(ctx, secure, in.security, int64(le.Uint64(data[8:])), int64(le.Uint32(data[16:])))
}

// sharedDescriptor reads a descriptor from $SDS, or from its copy.
func (f *FS) sharedDescriptor(ctx context.Context, secure *file, id uint32, off, length int64) ([]byte, error) {
	s, err := f.stream(ctx, secure, attrData, securityStream)
	if err == nil && s == nil {
		err = guest.Corrupt("ntfs: $Secure has no $SDS")
	}
	if err != nil {
		return nil, err
	}
	if length < sdsHead || length > sdsHead+maxDescriptor {
		return nil, guest.Corrupt("ntfs: security id %d has %d bytes", id, length)
	}
	b := make([]byte, length)
	for _, at := range []int64{off, off + sdsMirror} {
		if at < 0 || at > s.size-length {
			continue
		}
		if err = f.readStream(ctx, s, b, at); err == nil && le.Uint32(b[4:]) == id && int64(le.Uint32(b[16:])) == length {
			return b[sdsHead:], nil
		}
		if err != nil && !errors.Is(err, guest.ErrCorrupt) {
			return nil, err
		}
	}
	return nil, guest.Corrupt("ntfs: $Secure does not have security id %d at %d", id, off)
}
