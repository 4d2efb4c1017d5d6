package qcow2

import (
	"errors"
	"fmt"
	"strings"

	"holdfast/capture/source"
)

// disk is an open image. It is immutable but for its caches.
type disk struct {
	f         *source.File
	h         *header
	tables    *tables
	inflaters *inflaters
	inflated  *source.Cache
	backing   source.Disk // nil for none
}

var _ source.Disk = (*disk)(nil)

// Open reads the header of f, then opens the external data file and the
// backing image that it names. It takes f over only when it succeeds.
//
// Errors: *source.CorruptError, *source.UnsupportedError, and those of
// File.OpenRelated for the files it names.
func Open(f *source.File, _ source.Options) (*source.Opened, error) {
	h, err := readHeader(f)
	if err != nil {
		return nil, err
	}
	d := &disk{f: f, h: h, inflaters: &inflaters{compression: h.compression}, inflated: source.NewCache(inflatedCacheBytes)}
	d.tables = newTables(f, h)
	opened := &source.Opened{Disk: d, Format: "qcow2", Files: []string{f.Name()}, Notices: h.notices(f.Name())}
	if err := d.openData(opened); err != nil {
		return nil, err
	}
	if err := d.openBacking(opened); err != nil {
		return nil, errors.Join(err, d.closeData())
	}
	return opened, nil
}

func (h *header) notices(name string) []string {
	var notices []string
	if h.snapshots > 0 {
		notices = append(notices, snapshotNotice(name, h.snapshots))
	}
	if h.features&incompatDirty != 0 {
		notices = append(notices, name+": is marked as dirty: it is in use, or its writer died; its reference counts may be stale, its data is read as it is")
	}
	return notices
}

// openData opens the external data file, if there is one.
func (d *disk) openData(opened *source.Opened) error {
	if d.h.features&incompatDataFile == 0 {
		return nil
	}
	ref, err := localRef(d.f, d.h.dataFile)
	if err != nil {
		return err
	}
	data, err := d.f.OpenRelated(ref)
	if err != nil {
		return err
	}
	d.tables.data = data
	opened.Files = append(opened.Files, data.Name())
	return nil
}

func (d *disk) closeData() error {
	if d.tables.data == d.f {
		return nil
	}
	return d.tables.data.Close()
}

// openBacking opens the backing image, if there is one.
func (d *disk) openBacking(opened *source.Opened) error {
	if d.h.backing == "" {
		return nil
	}
	ref, err := localRef(d.f, d.h.backing)
	if err != nil {
		return err
	}
	format, err := backingFormat(d.f, d.h.backingFormat)
	if err != nil {
		return err
	}
	backing, err := d.f.OpenDisk(ref, format)
	if err != nil {
		return err
	}
	d.backing = backing.Disk
	opened.Files = append(opened.Files, backing.Files...)
	opened.Notices = append(opened.Notices, backing.Notices...)
	return nil
}

// localRef turns a file name as qemu writes it into a path. qemu also knows
// "protocol:rest" and "json:{...}", which name no plain file.
func localRef(f *source.File, ref string) (string, error) {
	before, rest, found := strings.Cut(ref, ":")
	switch {
	case !found || strings.Contains(before, "/"):
		return ref, nil
	case before == "file":
		return rest, nil
	}
	return "", f.Unsupported(fmt.Sprintf("the reference %q, whose protocol %q names no file", ref, before),
		"point it to a file with qemu-img rebase -u")
}

// backingFormat turns qemu's name of a format into ours.
func backingFormat(f *source.File, name string) (string, error) {
	switch name {
	case "", "raw", "qcow2", "vhdx", "vmdk":
		return name, nil
	case "vpc":
		return "vhd", nil
	case "file", "host_device":
		return "raw", nil
	}
	return "", f.Unsupported(fmt.Sprintf("a backing image of format %q", name), "")
}

func (d *disk) Size() int64 { return d.h.size }

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	return source.ReadAt(p, off, d.h.size, d.fill)
}

// fill reads guest bytes that lie wholly in the disk.
func (d *disk) fill(p []byte, off int64) error {
	for len(p) > 0 {
		r, err := d.tables.run(off, int64(len(p)))
		if err != nil {
			return err
		}
		part := p[:min(int64(len(p)), r.length)]
		if err := d.fillRun(part, off, r); err != nil {
			return err
		}
		p, off = p[len(part):], off+int64(len(part))
	}
	return nil
}

// fillRun reads guest bytes that lie wholly in run r.
func (d *disk) fillRun(p []byte, off int64, r run) error {
	switch r.kind {
	case kindData:
		return d.tables.data.ReadPadded(p, r.host, "data cluster")
	case kindCompressed:
		return d.fillCompressed(p, off, r)
	case kindBacking:
		return source.ReadBelow(d.backing, p, off)
	}
	clear(p)
	return nil
}

// Extent looks through to the backing image, and to the holes of the file
// itself: an image with preallocated clusters has many.
func (d *disk) Extent(off int64) (source.Extent, error) {
	if err := source.CheckExtent(off, d.h.size); err != nil {
		return source.Extent{}, err
	}
	r, err := d.tables.run(off, d.h.size-off)
	if err != nil {
		return source.Extent{}, err
	}
	ext := source.Extent{Length: r.length}
	switch r.kind {
	case kindCompressed:
		ext.Data = true
	case kindData:
		ext, err = d.tables.data.Extent(r.host)
	case kindBacking:
		if d.backing != nil && off < d.backing.Size() {
			ext, err = d.backing.Extent(off)
		}
	}
	ext.Length = min(ext.Length, r.length)
	return ext, err
}

func (d *disk) Close() error {
	errs := []error{d.closeData(), d.f.Close()}
	if d.backing != nil {
		errs = append(errs, d.backing.Close())
	}
	return errors.Join(errs...)
}
