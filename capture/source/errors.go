package source

import (
	"errors"
	"fmt"
	"strconv"
)

// ErrEmpty: the named file has no bytes at all, which is never a disk.
var ErrEmpty = errors.New("file is empty, a disk has at least one byte")

// ErrNotDisk: the name is a directory, a pipe, a socket or a character device.
var ErrNotDisk = errors.New("neither a regular file nor a block device")

// CorruptError tells that an image contradicts itself or ends too early.
type CorruptError struct {
	File   string // path of the damaged file
	Off    int64  // byte in that file where the contradiction lies
	Reason string
}

// Error names the file, the place and the reason.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s: at byte %d: %s", e.File, e.Off, e.Reason)
}

// UnsupportedError tells that an image is whole but uses a feature that
// cannot be read, such as encryption.
type UnsupportedError struct {
	File    string
	Feature string // as a person would look it up, e.g. "LUKS encryption"
	Remedy  string // what to do about it; may be empty
}

// Error names the file, the feature and the remedy.
func (e *UnsupportedError) Error() string {
	if e.Remedy == "" {
		return fmt.Sprintf("%s: uses %s, which is not supported", e.File, e.Feature)
	}
	return fmt.Sprintf("%s: uses %s, which is not supported; %s", e.File, e.Feature, e.Remedy)
}

// RefusedError tells that an image names a file outside of the directories
// that may be read for it.
type RefusedError struct {
	Image string // path of the image that holds the reference
	Ref   string // the reference as it is written in the image
	Dir   string // the directory that FollowBacking would have to list
}

// Error names the image, the reference and the option that would allow it.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s: refers to %q, which is outside of the directories it may read; "+
		"if the image is trusted, allow it with --follow-backing %s", e.Image, e.Ref, quoteOdd(e.Dir))
}

// quoteOdd quotes a name that a terminal or a shell could misread: it comes
// from an image that may be hostile.
func quoteOdd(s string) string {
	for _, r := range s {
		if r <= ' ' || !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

// MissingError tells that a file which an image names is not there. It wraps
// the error of the open, so errors.Is(err, fs.ErrNotExist) holds.
type MissingError struct {
	Image string // path of the image that holds the reference
	Ref   string // the reference as it is written in the image
	Err   error
}

// Error names the image and the file that it lacks.
func (e *MissingError) Error() string {
	return fmt.Sprintf("%s: refers to %q, which is missing: %v", e.Image, e.Ref, e.Err)
}

// Unwrap gives the error of the open.
func (e *MissingError) Unwrap() error { return e.Err }
