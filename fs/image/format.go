package image

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Format names a kind of image file; its text is also the file's extension.
type Format string

// The formats, in the order in which listings show them.
const (
	Raw   Format = "raw"
	Qcow2 Format = "qcow2"
	VHD   Format = "vhd"
	VHDX  Format = "vhdx"
	VMDK  Format = "vmdk"
)

// ErrTooLarge says that a format can't hold a disk: its offsets or its own
// limit end before. The format is then absent for that disk.
var ErrTooLarge = errors.New("disk too large for the format")

// The largest disks, in bytes. A raw image has no limit.
const (
	maxQcow2 = 1 << 50    // below the 2 PiB at which qemu refuses L1 and refcount tables
	maxVHD   = 2040 << 30 // what Hyper-V and qemu accept; the specification allows 2 TiB
	maxVHDX  = 64 << 40   // MS-VHDX 2.6.2.2
	maxVMDK  = 1 << 50    // qemu's bound on a grain directory; the 32-bit offsets end before on full disks
)

// Formats lists every format in display order. The slice is the caller's.
func Formats() []Format { return []Format{Raw, Qcow2, VHD, VHDX, VMDK} }

// ParseFormat finds a format by its name, in any case and with or without a
// leading dot.
func ParseFormat(name string) (Format, error) {
	f := Format(strings.ToLower(strings.TrimPrefix(name, ".")))
	if !slices.Contains(Formats(), f) {
		return "", fmt.Errorf("parse image format: %q is none of raw, qcow2, vhd, vhdx, vmdk", name)
	}
	return f, nil
}

// Ext is the file name's extension, with its dot.
func (f Format) Ext() string { return "." + string(f) }

// Supports reports whether the format can hold a disk of size bytes of which
// grains units of Grain are allocated. It is arithmetic only, and New agrees
// with it: New fails with ErrTooLarge exactly where Supports is false.
func Supports(f Format, size, grains int64) bool {
	return checkSize(f, size, grains) == nil
}

// checkSize returns an error that wraps ErrTooLarge where Supports is false.
func checkSize(f Format, size, grains int64) error {
	var limit int64
	switch f {
	case Raw:
		return nil
	case Qcow2:
		limit = maxQcow2
	case VHD:
		limit = maxVHD
	case VHDX:
		limit = maxVHDX
	case VMDK:
		limit = maxVMDK
	default:
		return fmt.Errorf("unknown image format %q", string(f))
	}
	if size > limit {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, limit)
	}
	if f == VMDK && !vmdkAddresses(size, grains) {
		return fmt.Errorf("%w: %d bytes stored are past 32-bit sector offsets", ErrTooLarge, grains*int64(Grain))
	}
	return nil
}

// New makes an image of format f up over d. It reads no map and no data, so
// it is cheap enough for a stat; the image holds a few numbers and keeps d. A look
// inside costs a KiB of memory more.
//
// The raw image has exactly the disk's size. The others count in sectors: a
// disk whose size is no multiple of 512 shows a virtual size rounded up to
// the next one, and what is beyond the disk's end reads as zeros.
//
// Errors: ErrTooLarge where the format can't hold the disk; a disk whose
// size or counts contradict each other is refused.
func New(f Format, d Disk, id Identity) (Image, error) {
	img, err := newImage(f, d, id)
	if err != nil {
		return nil, fmt.Errorf("make %s image up: %w", f, err)
	}
	return img, nil
}

func newImage(f Format, d Disk, id Identity) (Image, error) {
	if d.Size() < 1 {
		return nil, fmt.Errorf("disk size %d is below 1 byte", d.Size())
	}
	for _, u := range []Unit{Grain, Block, Span} {
		if err := unitsOf(d, u).check(); err != nil {
			return nil, err
		}
	}
	if err := checkSize(f, d.Size(), d.Count(Grain)); err != nil {
		return nil, err
	}
	img := &file{format: f, disk: d, id: id}
	img.measure()
	return img, nil
}
