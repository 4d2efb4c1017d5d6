package vhdx

import (
	"io"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer"
)

// Open reads the VHDX in f; the parents of a differencing one are VHDXs that
// f.OpenRelated admits. An unreplayed log is replayed in memory. It takes f
// over when it succeeds.
//
// Errors: *source.CorruptError for a damaged or truncated image and for a
// parent that is another than the child's, *source.UnsupportedError, and those
// of source.File.OpenRelated.
func Open(f *source.File, opts source.Options) (*source.Opened, error) {
	im, err := open(f, opts)
	if err != nil {
		return nil, err
	}
	return im.opened, nil
}

// image is an opened VHDX with what its child wants to know of it.
type image struct {
	opened *source.Opened
	disk   *layer.Disk // what opened wraps
	header header
	meta   metadata
}

func open(f *source.File, opts source.Options) (image, error) {
	h, err := readHeader(f)
	if err != nil {
		return image{}, err
	}
	// Everything but the headers may be in the log, so it comes first.
	bytes, notice, err := replay(f, h)
	if err != nil {
		return image{}, err
	}
	r, err := readRegions(f, bytes, span{h.logOff, h.logLen})
	if err != nil {
		return image{}, err
	}
	m, err := readMetadata(f, bytes, r.metadata)
	if err != nil {
		return image{}, err
	}
	guest, err := newBAT(f, bytes, r.bat, m)
	if err != nil {
		return image{}, err
	}
	disk := &layer.Disk{Guest: guest, Bytes: bytes, Length: m.size, Files: []io.Closer{f}}
	opened := &source.Opened{Disk: disk, Format: "vhdx", Files: []string{f.Name()}}
	if notice != "" {
		opened.Notices = append(opened.Notices, notice)
	}
	if m.hasParent {
		parent, err := openParent(f, m, opts)
		if err != nil {
			return image{}, err
		}
		disk.Parent = parent.Disk.(*layer.Disk) // what open made
		opened.Files = append(opened.Files, parent.Files...)
		opened.Notices = append(opened.Notices, parent.Notices...)
	}
	return image{opened, disk, h, m}, nil
}

// openParent opens the disk that a differencing one continues. Its data write
// GUID must be the one that the child recorded: a parent that was written to
// since has another.
func openParent(f *source.File, m metadata, opts source.Options) (*source.Opened, error) {
	return layer.OpenParent(f, m.locator.paths, func(pf *source.File, opts source.Options) (*source.Opened, error) {
		parent, err := open(pf, opts)
		if err != nil {
			return nil, err
		}
		if !m.locator.matches(parent.header.dataWrite) {
			err = f.Corrupt(m.locator.off, "the parent's data write GUID should be %v, but %s has %v: it is another disk or was written to since",
				m.locator.linkage[0], pf.Name(), parent.header.dataWrite)
		} else if parent.meta.sector != m.sector {
			err = f.Corrupt(m.locator.off, "sectors of %d bytes over the parent %s with sectors of %d", m.sector, pf.Name(), parent.meta.sector)
		}
		if err != nil {
			parent.disk.CloseParent()
			return nil, err
		}
		return parent.opened, nil
	}, opts)
}
