// Package image opens a source of any format: it looks at the content, never
// at the name, and hands the file to the package of its format. Backing images
// and parents come back here, so a chain may mix formats.
package image

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/capture/source"
	"holdfast/capture/source/file"
	"holdfast/capture/source/qcow2"
	"holdfast/capture/source/vhd"
	"holdfast/capture/source/vhdx"
	"holdfast/capture/source/vmdk"
)

// formats are the words that Options.Format knows.
var formats = []string{formatRaw, formatQcow2, formatVHD, formatVHDX, formatVMDK}

// Open opens the image file or block device at path.
//
// Errors, all with the path: fs.ErrNotExist, fs.ErrPermission,
// source.ErrEmpty, source.ErrNotDisk, *source.CorruptError,
// *source.UnsupportedError, *source.RefusedError and *source.MissingError.
func Open(path string, opts source.Options) (*source.Opened, error) {
	if opts.Format != "" && !slices.Contains(formats, opts.Format) {
		return nil, fmt.Errorf("unknown image format %q; known are %s", opts.Format, strings.Join(formats, ", "))
	}
	f, err := source.OpenFile(path, opts)
	if err != nil {
		return nil, err
	}
	if f.Size() == 0 {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, source.ErrEmpty)
	}
	f.SetOpener(open)
	opened, err := open(f, opts)
	if err != nil {
		f.Close()
		return nil, err
	}
	return opened, nil
}

// open reads f in the format that opts tells, or else in that of its content.
func open(f *source.File, opts source.Options) (*source.Opened, error) {
	format, notice := opts.Format, ""
	if format == "" {
		var err error
		if format, notice, err = detectFile(f); err != nil {
			return nil, err
		}
	}
	opened, err := opener(format)(f, opts)
	if err != nil {
		return nil, err
	}
	if notice != "" {
		opened.Notices = append(opened.Notices, f.Name()+": "+notice)
	}
	return opened, nil
}

func opener(format string) source.Opener {
	switch format {
	case formatQcow2:
		return qcow2.Open
	case formatVHD:
		return vhd.Open
	case formatVHDX:
		return vhdx.Open
	case formatVMDK:
		return vmdk.Open
	}
	return file.Open
}

// detectFile is detect for an open file.
func detectFile(f *source.File) (format, notice string, err error) {
	head := make([]byte, min(headLen, f.Size()))
	if err := f.ReadFull(head, 0, "first sector"); err != nil {
		return "", "", err
	}
	tail := make([]byte, min(tailLen, f.Size()))
	if err := f.ReadFull(tail, f.Size()-int64(len(tail)), "last sector"); err != nil {
		return "", "", err
	}
	format, notice = detect(head, tail, f.Size())
	if f.IsDevice() && format != formatRaw {
		// Whoever writes the device, perhaps a guest, has chosen the format.
		notice = "is read as " + format + " by its content; if a guest uses the device itself, say --format raw"
	}
	return format, notice, nil
}
