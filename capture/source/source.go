// Package source fixes what a capture reads: a disk of a known size, at any
// offset, with its holes known before they are read. The packages below it
// read one image format each; package image picks the right one by content.
package source

import "io"

// Disk is one opened source: the bytes that the guest sees, whatever file
// format or device they lie in.
//
// All methods but Close are safe for concurrent use. Nothing that a Disk does
// writes to the source.
type Disk interface {
	// ReadAt reads guest bytes. It fills p or returns an error; io.EOF with
	// a short count only at the end of the disk. Holes read as zeros.
	io.ReaderAt
	// Size is the guest's disk size in bytes.
	Size() int64
	// Extent describes the run that begins at off: 1 <= Length <= Size-off,
	// all data or all hole. Neighbouring runs may be of the same sort. It
	// may read metadata, never data. off must lie in [0, Size).
	Extent(off int64) (Extent, error)
	// Close releases the files.
	Close() error
}

// Extent is a run of guest bytes.
type Extent struct {
	Length int64 // bytes
	Data   bool  // false: a hole, which reads as zeros and is never read
}

// Opened is a disk with what its opening told.
type Opened struct {
	Disk
	Format  string   // "raw", "qcow2", "vhd", "vhdx" or "vmdk"
	Files   []string // every file that the disk's bytes come from, the named one first
	Notices []string // what a person should know, e.g. that internal snapshots are ignored
}

// Options say how to open a source. The zero value detects the format and
// follows references only inside the image's own directory tree.
type Options struct {
	// Format overrides detection: "", "raw", "qcow2", "vhd", "vhdx", "vmdk".
	Format string
	// FollowBacking lists directories, besides the image's own, whose files
	// a backing chain, parent locator or extent description may name. "/"
	// allows all.
	FollowBacking []string
}
