package vhd

import (
	"encoding/binary"
	"fmt"

	"holdfast/capture/source"
)

const (
	footerSize    = 512
	oldFooterSize = 511 // Virtual PC before 2004
	sectorSize    = 512

	footerCookie = "conectix"
	majorVersion = 1 // upper half of a version field
)

// diskType is the type of a disk, as the footer has it.
type diskType uint32

const (
	typeFixed        diskType = 2
	typeDynamic      diskType = 3
	typeDifferencing diskType = 4
)

// uuid is a UUID in the order in which it is printed.
type uuid [16]byte

func (u uuid) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// footer is a checked footer.
type footer struct {
	headerOff int64  // of the dynamic header, not for fixed disks
	stamp     uint32 // time of creation, seconds since 2000-01-01
	size      int64  // current size
	kind      diskType
	id        uuid
}

// readFooter finds the footer: the last 512 bytes, the last 511, or the copy
// at the start when the one at the end is damaged or cut off; then notice says
// so. A fixed disk has no copy.
func readFooter(f *source.File) (ft footer, notice string, err error) {
	var last error
	for _, length := range []int64{footerSize, oldFooterSize} {
		if f.Size() < length {
			continue
		}
		ft, err = footerAt(f, f.Size()-length, int(length))
		if err == nil {
			return ft, "", nil
		}
		if last == nil {
			last = err
		}
	}
	if last == nil {
		return footer{}, "", f.Corrupt(0, "%d bytes are too few for a VHD footer: the image is truncated", f.Size())
	}
	ft, err = footerAt(f, 0, footerSize)
	if err != nil || ft.kind == typeFixed {
		return footer{}, "", last
	}
	notice = fmt.Sprintf("%s: the footer at the end is damaged (%v); its copy at the start was used", f.Name(), last)
	return ft, notice, nil
}

// footerAt reads and checks the footer of length bytes at off.
func footerAt(f *source.File, off int64, length int) (footer, error) {
	b := make([]byte, footerSize)
	if err := f.ReadFull(b[:length], off, "VHD footer"); err != nil {
		return footer{}, err
	}
	if string(b[:8]) != footerCookie {
		return footer{}, f.Corrupt(off, "no VHD footer: the image is truncated or not a VHD")
	}
	if err := checkSum(f, off, b, 64, "footer"); err != nil {
		return footer{}, err
	}
	if v := binary.BigEndian.Uint32(b[12:]); v>>16 != majorVersion {
		return footer{}, f.Unsupported(fmt.Sprintf("VHD format version %d.%d", v>>16, v&0xffff), "")
	}
	ft := footer{
		headerOff: int64(binary.BigEndian.Uint64(b[16:])),
		stamp:     binary.BigEndian.Uint32(b[24:]),
		size:      int64(binary.BigEndian.Uint64(b[48:])),
		kind:      diskType(binary.BigEndian.Uint32(b[60:])),
		id:        uuid(b[68:84]),
	}
	if ft.size <= 0 {
		return footer{}, f.Corrupt(off+48, "the footer gives a disk size of %d bytes", ft.size)
	}
	switch ft.kind {
	case typeFixed, typeDynamic, typeDifferencing:
		return ft, nil
	}
	return footer{}, f.Unsupported(fmt.Sprintf("VHD disk type %d", ft.kind), "")
}

// checkSum proves a structure that was read from off and keeps its checksum in
// the four bytes at place.
func checkSum(f *source.File, off int64, b []byte, place int, what string) error {
	if has, want := binary.BigEndian.Uint32(b[place:]), sum(b, place); has != want {
		return f.Corrupt(off+int64(place), "the %s's checksum is %08x, its bytes give %08x", what, has, want)
	}
	return nil
}

// sum is the complement of the sum of all bytes but the four at place.
func sum(b []byte, place int) uint32 {
	var s uint32
	for i, c := range b {
		if i < place || i >= place+4 {
			s += uint32(c)
		}
	}
	return ^s
}
