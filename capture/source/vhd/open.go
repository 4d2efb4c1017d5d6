package vhd

import (
	"fmt"
	"io"
	"os"
	"time"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer"
)

// Open reads the VHD in f; the parents of a differencing one are VHDs that
// f.OpenRelated admits. It takes f over when it succeeds.
//
// Errors: *source.CorruptError for a damaged or truncated image and for a
// parent that is another than the child's, *source.UnsupportedError,
// and those of source.File.OpenRelated.
func Open(f *source.File, opts source.Options) (*source.Opened, error) {
	im, err := open(f, opts)
	if err != nil {
		return nil, err
	}
	return im.opened, nil
}

// image is an opened VHD with what its child wants to know of it.
type image struct {
	opened *source.Opened
	disk   *layer.Disk // what opened wraps
	footer footer
}

func open(f *source.File, opts source.Options) (image, error) {
	ft, notice, err := readFooter(f)
	if err != nil {
		return image{}, err
	}
	disk := &layer.Disk{Bytes: f, Length: ft.size, Files: []io.Closer{f}}
	opened := &source.Opened{Disk: disk, Format: "vhd", Files: []string{f.Name()}}
	if notice != "" {
		opened.Notices = append(opened.Notices, notice)
	}
	if ft.kind == typeFixed {
		// The footer itself needs no check: it was read from behind the data.
		if ft.size > f.Size()-oldFooterSize {
			return image{}, f.Corrupt(f.Size(), "a fixed disk of %d bytes in a file of %d: the image is truncated", ft.size, f.Size())
		}
		disk.Guest = flat{ft.size}
		return image{opened, disk, ft}, nil
	}
	h, err := readHeader(f, ft)
	if err != nil {
		return image{}, err
	}
	disk.Guest = newBlocks(f, h, ft.size, ft.kind == typeDifferencing)
	if ft.kind == typeDifferencing {
		parent, err := openParent(f, ft, h, opts)
		if err != nil {
			return image{}, err
		}
		disk.Parent = parent.Disk.(*layer.Disk) // what open made
		opened.Files = append(opened.Files, parent.Files...)
		opened.Notices = append(opened.Notices, parent.Notices...)
	}
	return image{opened, disk, ft}, nil
}

// openParent opens the disk that a differencing one continues. Its UUID must
// be the one that the child recorded; a differing time is only told, because
// copying a file changes it.
func openParent(f *source.File, ft footer, h header, opts source.Options) (*source.Opened, error) {
	if h.parentID == ft.id {
		return nil, f.Corrupt(ft.headerOff+40, "the image names itself (UUID %v) as its parent", ft.id)
	}
	return layer.OpenParent(f, h.parentRefs, func(pf *source.File, opts source.Options) (*source.Opened, error) {
		parent, err := open(pf, opts)
		if err != nil {
			return nil, err
		}
		if parent.footer.id != h.parentID {
			parent.disk.CloseParent()
			return nil, f.Corrupt(ft.headerOff+40, "the parent's UUID should be %v, but %s has %v: it is another disk", h.parentID, pf.Name(), parent.footer.id)
		}
		if notice := staleNotice(f, pf, h.parentStamp, parent.footer.stamp); notice != "" {
			parent.opened.Notices = append(parent.opened.Notices, notice)
		}
		return parent.opened, nil
	}, opts)
}

// staleNotice tells when the parent's times are not what the child recorded.
// Hyper-V records the modification time of the file, others the creation time
// in the footer.
func staleNotice(f, parent *source.File, recorded, created uint32) string {
	info, err := os.Stat(parent.Name())
	if recorded == 0 || recorded == created || err != nil {
		return ""
	}
	epoch := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	then := epoch.Add(time.Duration(recorded) * time.Second)
	// File times are rounded to two seconds on FAT.
	if now := info.ModTime(); now.Sub(then).Abs() > 2*time.Second {
		return fmt.Sprintf("%s: was modified at %s, but its child %s recorded %s: if it was written to since, and not only copied, the child's disk is wrong",
			parent.Name(), now.UTC().Format(time.RFC3339), f.Name(), then.Format(time.RFC3339))
	}
	return ""
}
