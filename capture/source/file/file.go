// Package file reads raw sources: regular files and block devices, whose bytes
// are the disk's bytes. The holes of a sparse file are holes of the disk; a
// block device cannot tell its holes and is all data.
package file

import "holdfast/capture/source"

// disk is a raw file or device.
type disk struct{ f *source.File }

var _ source.Disk = (*disk)(nil)

// Open reads f as a raw disk. It takes f over when it succeeds, which is
// always.
func Open(f *source.File, _ source.Options) (*source.Opened, error) {
	return &source.Opened{Disk: &disk{f: f}, Format: "raw", Files: []string{f.Name()}}, nil
}

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	return source.ReadAt(p, off, d.f.Size(), func(p []byte, off int64) error {
		return d.f.ReadFull(p, off, "data")
	})
}

func (d *disk) Size() int64 { return d.f.Size() }

func (d *disk) Extent(off int64) (source.Extent, error) { return d.f.Extent(off) }

func (d *disk) Close() error { return d.f.Close() }
