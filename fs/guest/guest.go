// Package guest fixes what a reader of a guest's filesystem offers. The
// packages below it read one format each, from an io.ReaderAt: no kernel, no
// root, no helper process, and safe on hostile bytes. Nothing is ever written;
// a journal is replayed into memory.
package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// Node names a file of a volume. It is the filesystem's own number where it
// has one (an inode number), stable for the volume's life. 0 names none.
type Node uint64

// Type is a file's type.
type Type uint8

const (
	Regular Type = iota + 1
	Directory
	Symlink
	CharDevice
	BlockDevice
	FIFO
	Socket
)

// Attr is what stat tells of a file.
type Attr struct {
	Node       Node
	Type       Type
	Perm       uint16 // permission bits with setuid, setgid and sticky: 07777
	UID, GID   uint32
	Links      uint32
	Size       int64  // of the content; of the target for a symlink
	Allocated  int64  // bytes that the file occupies in the volume (st_blocks * 512)
	Rdev       uint64 // of a device, as Linux encodes makedev
	Atime      time.Time
	Mtime      time.Time
	Ctime      time.Time
	Btime      time.Time // zero where unknown
	Generation uint64
}

// Entry is one name in a directory.
type Entry struct {
	Name   string // any bytes but '/' and NUL; "." and ".." are left out
	Node   Node
	Type   Type   // 0 where the directory does not tell
	Cookie uint64 // pass to ReadDir to go on behind this entry; never 0
}

// Extent is a run of a file's content.
type Extent struct {
	Offset int64 // in the file
	Length int64
	// Place is where the run lies in the volume, in bytes; -1 when it does
	// not lie there byte for byte (inline, compressed, encrypted).
	Place int64
	Hole  bool // unwritten or absent: reads as zeros
}

// Range is a run of a volume.
type Range struct{ Offset, Length int64 }

// Health says in what state a volume was found.
type Health uint8

const (
	Clean       Health = iota // no journal to replay
	Replayed                  // a journal was replayed in memory
	NotReplayed               // a journal is there and could not be: content may be stale
)

// State is what a volume tells of itself.
type State struct {
	Type     string // "ext4", "xfs", …
	Label    string
	UUID     string
	Size     int64 // bytes that the filesystem spans
	Used     int64 // bytes in use; -1 where unknown
	Block    int64 // bytes of the unit in which content is allocated; 0: 4096
	Health   Health
	Replayed int    // transactions
	Reason   string // why not replayed, or what a person should know
}

// Filesystem reads one volume. All methods are safe for concurrent use, obey
// their context and are bounded in time and memory whatever the volume says.
// Errors: fs.ErrNotExist for an absent node or name, ErrCorrupt when structures
// contradict each other, ErrUnsupported for a feature that is named in the
// error, else the reader's own I/O error. A short read is an error, never the
// end of a file.
type Filesystem interface {
	State() State
	Root() Node
	Stat(ctx context.Context, n Node) (Attr, error)
	Lookup(ctx context.Context, dir Node, name string) (Node, error)
	// ReadDir calls fn for each entry behind the one whose cookie is given (0:
	// from the start), until fn returns false.
	ReadDir(ctx context.Context, dir Node, cookie uint64, fn func(Entry) bool) error
	// ReadAt fills p from off of the content; io.EOF with a short count only
	// at the end of the file. Holes read as zeros.
	ReadAt(ctx context.Context, n Node, p []byte, off int64) (int, error)
	// Extents calls fn for the file's runs that reach beyond from, in order,
	// holes included, until fn returns false.
	Extents(ctx context.Context, n Node, from int64, fn func(Extent) bool) error
	Readlink(ctx context.Context, n Node) (string, error)
	// Xattrs returns all extended attributes by their full Linux names
	// (user.x, security.capability, system.posix_acl_access, trusted.x).
	Xattrs(ctx context.Context, n Node) (map[string][]byte, error)
	// Free calls fn for ranges of the volume that the filesystem says are
	// unused, in order, after replay; nothing that is in use is among them.
	// ErrUnsupported where it can't tell.
	Free(ctx context.Context, fn func(Range) bool) error
	// Files calls fn for the content extents of every regular file that lie
	// in the volume byte for byte (Place >= 0), in the order of the
	// filesystem's own tables, not of names; for the layout of a capture. It
	// reads metadata only. Bounded memory.
	Files(ctx context.Context, fn func(n Node, size int64, e Extent) bool) error
}

// Volume is what a filesystem reader opens: the bytes of one volume.
type Volume interface {
	io.ReaderAt
	Size() int64
}

// ReadFull reads len(p) bytes of a volume. A short read is an error, never the
// end of a file.
func ReadFull(ctx context.Context, v Volume, p []byte, off int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := v.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d of the volume: %w", len(p), off, err)
}

var (
	// ErrNotMine says that the volume does not hold this format.
	ErrNotMine = errors.New("not this filesystem")
	// ErrCorrupt says that a volume's structures contradict each other.
	ErrCorrupt = errors.New("filesystem is damaged")
	// ErrUnsupported says that a volume uses what the reader can't read.
	ErrUnsupported = errors.New("not supported")
)

// Corrupt makes an error that wraps ErrCorrupt.
func Corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// ErrNotExist is fs.ErrNotExist, for readers that need no more of io/fs.
var ErrNotExist = fs.ErrNotExist
