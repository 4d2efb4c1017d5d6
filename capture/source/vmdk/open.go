package vmdk

import (
	"errors"
	"fmt"

	"holdfast/capture/source"
)

// Open reads the header or descriptor of f, then opens the extents and the
// parent that it names. It takes f over only when it succeeds.
//
// Errors: *source.CorruptError, *source.UnsupportedError, and those of
// File.OpenRelated for the files it names.
func Open(f *source.File, _ source.Options) (*source.Opened, error) {
	d := &disk{}
	opened := &source.Opened{Disk: d, Format: "vmdk", Files: []string{f.Name()}}
	desc, err := d.open(f, opened)
	if err == nil && desc.hasParent() {
		err = d.openParent(f, desc, opened)
	}
	if err != nil {
		return nil, errors.Join(append([]error{err}, d.closeExtents()...)...)
	}
	d.files = append(d.files, f)
	return opened, nil
}

// open opens the extents; the descriptor is nil if f has none.
func (d *disk) open(f *source.File, opened *source.Opened) (*descriptor, error) {
	var head [len(Signature)]byte
	if err := f.ReadFull(head[:], 0, "VMDK header"); err != nil {
		return nil, err
	}
	if string(head[:]) == Signature {
		desc, err := readDescriptor(f, 0, f.Size())
		if err == nil {
			err = d.openExtents(f, desc, opened)
		}
		return desc, err
	}
	h, err := readSparseHeader(f)
	if err != nil {
		return nil, err
	}
	desc, err := readEmbedded(f, h)
	switch {
	case err != nil:
		return nil, err
	case desc == nil && h.capacity == 0:
		return nil, f.Corrupt(12, "no capacity and no descriptor")
	case h.capacity == 0:
		return desc, d.openExtents(f, desc, opened)
	case desc == nil:
		opened.Notices = append(opened.Notices, f.Name()+": has no descriptor: it may be one part of a larger disk, then capture the small text file beside it")
	default:
		d.cid = desc.cid
	}
	d.addSparse(newCaches(), f, h, h.capacity)
	return desc, nil
}

// readEmbedded reads the descriptor in a sparse file; nil if there is none,
// or only the empty place for it that qemu leaves in parts of a disk.
func readEmbedded(f *source.File, h *sparseHeader) (*descriptor, error) {
	if h.descOff == 0 || h.descLen == 0 {
		return nil, nil
	}
	var first [1]byte
	if err := f.ReadFull(first[:], h.descOff, "VMDK descriptor"); err != nil || first[0] == 0 {
		return nil, err
	}
	return readDescriptor(f, h.descOff, h.descLen)
}

// readDescriptor reads the n bytes of text at byte at of f.
func readDescriptor(f *source.File, at, n int64) (*descriptor, error) {
	if n > MaxDescriptor {
		return nil, f.Corrupt(at, "a descriptor of %d bytes; at most %d are possible", n, MaxDescriptor)
	}
	text := make([]byte, n)
	if err := f.ReadFull(text, at, "VMDK descriptor"); err != nil {
		return nil, err
	}
	return parseDescriptor(f, at, text)
}

// addSparse appends the first size bytes of a sparse extent to the disk.
func (d *disk) addSparse(c *caches, f *source.File, h *sparseHeader, size int64) {
	d.extents = append(d.extents, extent{start: d.size, end: d.size + size, sparse: &sparse{caches: c, f: f, h: h}})
	d.size += size
}

// openExtents opens all extents that the descriptor lists.
func (d *disk) openExtents(f *source.File, desc *descriptor, opened *source.Opened) error {
	d.cid = desc.cid
	if _, err := desc.size(f); err != nil {
		return err
	}
	if len(desc.extents) == 0 {
		return f.Corrupt(0, "the descriptor lists no extents")
	}
	c := newCaches()
	for _, line := range desc.extents {
		if err := line.checkType(f); err != nil {
			return err
		}
		if line.sectors == 0 {
			continue
		}
		if err := d.openExtent(c, f, line, opened); err != nil {
			return fmt.Errorf("%s: open an extent: %w", f.Name(), err)
		}
	}
	return nil
}

func (d *disk) openExtent(c *caches, f *source.File, line extentLine, opened *source.Opened) error {
	size := line.sectors * source.SectorSize
	if line.kind == "ZERO" {
		d.extents = append(d.extents, extent{start: d.size, end: d.size + size})
		d.size += size
		return nil
	}
	related, err := f.OpenRelated(line.file)
	if err != nil {
		return err
	}
	d.files = append(d.files, related)
	opened.Files = append(opened.Files, related.Name())
	if line.kind == "SPARSE" {
		h, err := readSparseHeader(related)
		if err != nil {
			return err
		}
		if h.capacity < size {
			return related.Corrupt(12, "the extent has %d bytes, the descriptor %s gives it %d", h.capacity, f.Name(), size)
		}
		d.addSparse(c, related, h, size)
		return nil
	}
	from := line.start * source.SectorSize
	if from > related.Size() || size > related.Size()-from {
		return related.Corrupt(related.Size(), "the file ends before its extent of %d bytes from byte %d on: the image is truncated", size, from)
	}
	d.extents = append(d.extents, extent{start: d.size, end: d.size + size, flat: related, flatOff: from})
	d.size += size
	return nil
}

// openParent opens the image that unallocated grains are read from.
func (d *disk) openParent(f *source.File, desc *descriptor, opened *source.Opened) error {
	if desc.parentHint == "" {
		return f.Corrupt(0, "the disk has a parent but does not name it")
	}
	parent, err := f.OpenDisk(desc.parentHint, "vmdk")
	if err != nil {
		return err
	}
	// A parent that was written after the child was made gives wrong bytes.
	if p, ok := parent.Disk.(*disk); ok && p.cid != desc.parentCID {
		err := f.Corrupt(0, "parent %s has CID %08x, %08x is expected: it was changed, or is another disk", desc.parentHint, p.cid, desc.parentCID)
		return errors.Join(err, parent.Close())
	}
	d.parent = parent.Disk
	opened.Files = append(opened.Files, parent.Files...)
	opened.Notices = append(opened.Notices, parent.Notices...)
	return nil
}
