package guesttest

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest"
)

// The FIEMAP ioctl, from linux/fiemap.h: a head of 32 bytes, then extents of
// 56 bytes each.
const (
	fiemapIoctl   = 0xc020660b
	fiemapBatch   = 256
	fiemapSync    = 0x1
	fiemapLast    = 0x1
	fiemapUnknown = 0x2
	fiemapEncoded = 0x8
	fiemapInline  = 0x200
	fiemapTail    = 0x400
	fiemapUnwrit  = 0x800
)

// kernelExtents gives the data of a file as the kernel sees it: no holes,
// nothing unwritten, in order; Place is -1 where the bytes do not lie in the
// volume as they are.
func kernelExtents(f *os.File) ([]guest.Extent, error) {
	var all []guest.Extent
	buf := make([]byte, 32+56*fiemapBatch)
	ne := binary.NativeEndian
	for start := uint64(0); ; {
		clear(buf[:32])
		ne.PutUint64(buf, start)
		ne.PutUint64(buf[8:], ^uint64(0)-start)
		ne.PutUint32(buf[16:], fiemapSync)
		ne.PutUint32(buf[24:], fiemapBatch)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemapIoctl, uintptr(unsafe.Pointer(&buf[0]))); errno != 0 {
			return nil, fmt.Errorf("fiemap: %w", errno)
		}
		n := ne.Uint32(buf[20:])
		if n == 0 {
			return all, nil
		}
		for i := range n {
			e := buf[32+56*i:][:56]
			flags := ne.Uint32(e[40:])
			ext := guest.Extent{Offset: int64(ne.Uint64(e)), Place: int64(ne.Uint64(e[8:])), Length: int64(ne.Uint64(e[16:]))}
			if flags&(fiemapUnknown|fiemapEncoded|fiemapInline|fiemapTail) != 0 {
				ext.Place = -1
			}
			if flags&fiemapUnwrit == 0 {
				all = append(all, ext)
			}
			start = uint64(ext.Offset + ext.Length)
			if flags&fiemapLast != 0 {
				return all, nil
			}
		}
	}
}

// joined clips extents to size, leaves holes out and joins what touches, so
// that two lists of the same content are equal.
func joined(extents []guest.Extent, size int64) []guest.Extent {
	var out []guest.Extent
	for _, e := range extents {
		if e.Hole || e.Offset >= size {
			continue
		}
		e.Length = min(e.Length, size-e.Offset)
		if n := len(out); n > 0 {
			last := &out[n-1]
			touches := last.Offset+last.Length == e.Offset
			if touches && (last.Place < 0 && e.Place < 0 || last.Place >= 0 && last.Place+last.Length == e.Place) {
				last.Length += e.Length
				continue
			}
		}
		out = append(out, e)
	}
	return out
}
