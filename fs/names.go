package fs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/zeebo/blake3"
)

// Names of VMs and disks may be any bytes; names of files may not. A name
// becomes a file name by these rules, byte by byte, %XX being two upper-case
// hexadecimal digits:
//
//	'%'                                   %25
//	'/'                                   %2F
//	a leading '.'                         %2E   (".", ".." and hidden names too)
//	control characters (Unicode Cc)       %XX for each of their bytes
//	bytes that are not UTF-8              %XX
//	README.txt, latest, version.json,     first byte as %XX: these names are
//	files, volumes.json                   the tree's own
//
// A name that is then longer than 255 bytes is cut at a character and ends in
// "%~" and 32 hexadecimal digits of its BLAKE3 hash. No other name contains
// "%~", so a shortened name is known as such; it is found again by shortening
// the names that there are. Everything else is reversible: a file name that
// Escape would not have written stands for nothing.
//
// The tree is case-sensitive and does not normalise: "Web" and "web", or two
// spellings of "é", are different names.
const (
	maxFileName = 255 // NAME_MAX
	shortMark   = "%~"
	shortHash   = 16 // bytes
	hexDigits   = "0123456789ABCDEF"
)

// The tree's own names.
const (
	readmeName  = "README.txt"
	latestName  = "latest"
	versionName = "version.json"
	filesName   = "files"
	volumesName = "volumes.json"
	rootName    = "root" // of the guest's namespace
)

var ownNames = []string{readmeName, latestName, versionName, filesName, volumesName}

// ErrShortened says that a file name was shortened and can't be reversed.
var ErrShortened = errors.New("shortened name")

// errNotEscaped says that Escape never writes this file name.
var errNotEscaped = errors.New("not an escaped name")

// Escape returns the file name of a VM or disk name, at most 255 bytes. name
// is not empty.
func Escape(name string) string { return escapeTo(name, maxFileName) }

// FileName is Escape with an extension, which counts in the 255 bytes.
func FileName(name, ext string) string { return escapeTo(name, maxFileName-len(ext)) + ext }

// Unescape returns the name whose Escape is file. The error wraps ErrShortened
// when file was shortened.
func Unescape(file string) (string, error) {
	if strings.Contains(file, shortMark) {
		return "", fmt.Errorf("file name %q: %w", file, ErrShortened)
	}
	if len(file) > maxFileName {
		return "", fmt.Errorf("file name of %d bytes: %w", len(file), errNotEscaped)
	}
	var b strings.Builder
	for rest := file; rest != ""; {
		if rest[0] != '%' {
			b.WriteByte(rest[0])
			rest = rest[1:]
			continue
		}
		if len(rest) < 3 {
			return "", fmt.Errorf("file name %q: %w", file, errNotEscaped)
		}
		c, err := hex.DecodeString(rest[1:3])
		if err != nil {
			return "", fmt.Errorf("file name %q: %w", file, errNotEscaped)
		}
		b.Write(c)
		rest = rest[3:]
	}
	if name := b.String(); name != "" && escapeAll(name) == file {
		return name, nil
	}
	return "", fmt.Errorf("file name %q: %w", file, errNotEscaped)
}

// DiskDir is the name of a disk's directory in files/: Escape's, but that of the
// guest's namespace is taken there.
func DiskDir(disk string) string {
	if disk == rootName {
		return "%72oot"
	}
	return Escape(disk)
}

// VolumeDir is where a volume's files lie below files/.
func VolumeDir(disk, volume string) string { return DiskDir(disk) + "/" + Escape(volume) }

// escapeTo escapes and shortens to at most limit bytes.
func escapeTo(name string, limit int) string {
	full := escapeAll(name)
	if len(full) <= limit {
		return full
	}
	sum := blake3.Sum256([]byte(name))
	tail := shortMark + hex.EncodeToString(sum[:shortHash])
	end := 0
	for end < len(full) {
		n := unitLen(full[end:])
		if end+n > limit-len(tail) {
			break
		}
		end += n
	}
	return full[:end] + tail
}

// unitLen is the length of what must not be cut at the start of an escaped
// name: %XX or one character.
func unitLen(s string) int {
	if s[0] == '%' {
		return 3
	}
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// escapeAll escapes without shortening.
func escapeAll(name string) string {
	b := make([]byte, 0, len(name)+8)
	own := slices.Contains(ownNames, name)
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		first := i == 0 && (own || r == '.')
		if first || r == '%' || r == '/' || unicode.IsControl(r) || r == utf8.RuneError && n == 1 {
			for _, c := range []byte(name[i : i+n]) {
				b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
			}
		} else {
			b = append(b, name[i:i+n]...)
		}
		i += n
	}
	return string(b)
}

// idSeconds is the part of a version id that is its time to the second; up to
// three more bytes tell versions of the same second apart.
const idSeconds = "2006-01-02T15-04-05Z"

// timeOf returns the time that an id names.
func timeOf(id string) time.Time {
	t, err := time.Parse(idSeconds, id[:min(len(id), len(idSeconds))])
	if err != nil {
		return time.Unix(0, 0)
	}
	return t
}
