// Package image makes disk image files up on the fly: raw, qcow2, VHD, VHDX
// and VMDK as functions of an offset. Nothing is stored and nothing is held in
// memory but a few numbers: an image is a Layout (arithmetic) over a disk's
// allocation (counts kept in the disk map).
package image

import (
	"context"
	"time"
)

// Unit is a granularity in which a disk counts what is allocated. The numbers
// are those that the disk map keeps (chunkstore/disk); formats are built from
// them so that any offset is found by counting and never by a walk.
type Unit = int64

const (
	Grain Unit = 64 << 10  // qcow2 cluster, VMDK grain
	Block Unit = 2 << 20   // VHD and VHDX block
	Span  Unit = 512 << 20 // what one qcow2 L2 table covers
)

// Disk is a version's disk as the made-up formats see it. A unit is allocated
// when any byte of it is stored; the last unit of a disk may be short. All
// methods are safe for concurrent use.
type Disk interface {
	// ReadAtContext fills p with guest bytes from off; holes are zeros.
	// off+len(p) <= Size.
	ReadAtContext(ctx context.Context, p []byte, off int64) error
	// Size is the guest's disk size in bytes, any number >= 1.
	Size() int64
	// Count returns how many units u of the disk are allocated. O(1).
	Count(u Unit) int64
	// Rank returns how many allocated units u come before unit number n,
	// and whether unit n itself is allocated. 0 <= n < ceil(Size/u).
	Rank(ctx context.Context, u Unit, n int64) (rank int64, allocated bool, err error)
	// Select returns the number of the k-th allocated unit, 0 <= k < Count(u).
	Select(ctx context.Context, u Unit, k int64) (n int64, err error)
	// Extent describes the guest run that begins at off: its length and
	// whether it is stored (data) or a hole. It reads maps, never data.
	Extent(ctx context.Context, off int64) (length int64, data bool, err error)
	// DataBytes is how many guest bytes are stored (not holes). O(1).
	DataBytes() int64
}

// Identity fixes what a header says about itself, so that the same version
// gives the same bytes at every open, on every machine.
type Identity struct {
	UUID [16]byte  // of this disk in this version
	Time time.Time // the version's time
}

// SegmentKind says where a run of an image file's bytes comes from.
type SegmentKind uint8

const (
	Zeros SegmentKind = iota // reads as zeros
	Made                     // header or table: Bytes holds it
	Guest                    // the guest's bytes from GuestOff on
)

// Segment is a run of an image file.
type Segment struct {
	Kind     SegmentKind
	Length   int64
	GuestOff int64  // for Guest
	Bytes    []byte // for Made: Length bytes; the caller must not change them
}

// Image is one made-up file.
type Image interface {
	// Size is the exact file size in bytes.
	Size() int64
	// Segment describes the run that begins at file offset off, in
	// [0, Size). 1 <= Length <= min(max, Size-off). It makes at most max
	// bytes of tables up and never reads guest data.
	Segment(ctx context.Context, off, max int64) (Segment, error)
	// AllocatedBytes is what st_blocks should tell: made-up bytes that are
	// not all zero regions by design, plus the guest bytes stored. O(1).
	AllocatedBytes() int64
}
