// Package mapped makes one volume of pieces that lie on others: a partition of
// a disk, a stripe set of partitions, a mirror of those. A Mapping is pure
// arithmetic (or a look-up in a tree): it tells where bytes lie. What it maps
// to is again a Device, down to the disks; so one loop reads any of them, and
// one walk tells on which disks the bytes lie.
//
//	disk a ─ slice ─┐
//	                ├─ mirror ─ linear ─ "vg0-root"
//	disk b ─ slice ─┘
//
// Devices are immutable and safe for concurrent use. They form a graph without
// loops, since a device is made of finished ones; depth and the number of
// copies are bounded, so that hostile metadata can't make a read explode.
package mapped

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"holdfast/fs/guest"
)

// Bounds of the graph below a device. LVM at its deepest (thin volume, pool,
// pool data, raid image, physical volume, md, partition, disk) needs 10.
const (
	maxDepth = 24
	maxWays  = 64
)

// Place is where a piece lies.
type Place struct {
	On  *Device
	Off int64
}

// Piece is a run of a device.
type Piece struct {
	Length int64
	// Places hold the same bytes; the first is read, the others when it
	// fails. None: the piece reads as zeros.
	Places []Place
	// Shared says that other devices use these places as well.
	Shared bool
}

// Mapping tells where a device's bytes lie. It must be safe for concurrent use.
type Mapping interface {
	// Piece describes the run that begins at off: 1 <= Length <= limit.
	// 0 <= off and off+limit <= the device's size.
	Piece(off, limit int64) (Piece, error)
}

// Device is a volume that is mapped to others, or a disk.
type Device struct {
	size    int64
	mapping Mapping
	ways    int // places where one byte may lie
	depth   int
	disks   []string // that it lies on, in the order in which it was made of them

	disk    string // of a disk, which has no mapping
	content io.ReaderAt
}

var _ guest.Volume = (*Device)(nil)

// Disk makes the device that the others lie on.
func Disk(name string, v guest.Volume) *Device {
	return &Device{size: v.Size(), disk: name, content: v, ways: 1, disks: []string{name}}
}

// New makes a device of size bytes. ways is the largest number of places a
// mapping gives at once for one byte, counted through below: the devices that
// it maps to. ErrCorrupt beyond the bounds of the graph.
func New(size int64, m Mapping, ways int, below ...*Device) (*Device, error) {
	d := &Device{size: size, mapping: m, ways: max(1, ways)}
	for _, b := range below {
		d.depth = max(d.depth, b.depth+1)
		for _, name := range b.disks {
			if !slices.Contains(d.disks, name) {
				d.disks = append(d.disks, name)
			}
		}
	}
	if size < 0 || d.depth > maxDepth || d.ways > maxWays {
		return nil, guest.Corrupt("volume of %d bytes, %d levels and %d copies", size, d.depth, ways)
	}
	return d, nil
}

// Size is the device's size in bytes.
func (d *Device) Size() int64 { return d.size }

// Disks names the disks that the device lies on, each once.
func (d *Device) Disks() []string { return slices.Clone(d.disks) }

// Ways is the number of places at which one byte may lie on disks.
func (d *Device) Ways() int { return d.ways }

// ReadAt fills p from off. io.EOF comes only at the device's own end; where
// what lies below ends early it is io.ErrUnexpectedEOF.
func (d *Device) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d: negative offset", off)
	}
	if off >= d.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > d.size-off {
		p, end = p[:d.size-off], io.EOF
	}
	for done := 0; done < len(p); {
		n, err := d.readPiece(p[done:], off+int64(done))
		if done += n; err != nil {
			return done, err
		}
	}
	return len(p), end
}

// readPiece reads the piece at off, or as much of it as fits. It reads at
// least one byte, or fails.
func (d *Device) readPiece(p []byte, off int64) (int, error) {
	if d.mapping == nil {
		return readFull(d.content, p, off)
	}
	piece, err := d.piece(off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	p = p[:piece.Length]
	if len(piece.Places) == 0 {
		clear(p)
		return len(p), nil
	}
	var first error
	for _, at := range piece.Places {
		n, err := readFull(at.On, p, at.Off)
		if err == nil {
			return n, nil
		}
		if first == nil {
			first = err
		}
	}
	return 0, first
}

// piece asks the mapping and holds it to its contract.
func (d *Device) piece(off, limit int64) (Piece, error) {
	piece, err := d.mapping.Piece(off, limit)
	if err == nil && (piece.Length < 1 || piece.Length > limit) {
		err = guest.Corrupt("a piece of %d bytes at %d", piece.Length, off)
	}
	return piece, err
}

// readFull reads all of p, or fails.
func readFull(r io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("read %d bytes at %d: %w", len(p), off, err)
}
