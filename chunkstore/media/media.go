// Package media is where packs lie: immutable files with names that are used
// once. A directory is the only medium so far; the interface asks for no more
// than an S3-compatible store can do (create-only put, ranged get, list,
// delete).
//
// Layout of a directory medium:
//
//	packs/ab/ab0123456789cdef.pack   finished; ab: the first two digits
//	packs/unfinished/<name>          being written, or left by a crash
//
// The durable order of one file is Upload.Commit's: write under unfinished/,
// fsync, rename into place, fsync the directory. A name in place is therefore
// whole; whatever lies under unfinished/ may end anywhere.
package media

import (
	"errors"
	"io"
)

// ErrExists says that a finished file of that name is there already.
var ErrExists = errors.New("file exists")

// Media holds finished files. Methods are safe for concurrent use. A name is
// a plain file name of at least two characters.
type Media interface {
	// Create begins a file. It appears under its name at Commit.
	Create(name string) (Upload, error)
	// Open opens a finished file; the error wraps fs.ErrNotExist when there
	// is none.
	Open(name string) (File, error)
	// List calls fn with every finished file's name, in no order.
	List(fn func(name string) error) error
	// Remove deletes a finished file.
	Remove(name string) error
}

// Upload is a file being written, front to back. What was written can be read
// back at once. It is used by one writer; reads may run beside it.
type Upload interface {
	io.Writer
	io.ReaderAt
	// Commit makes the file durable and then visible under its name. After
	// it only ReadAt and Close may be called.
	Commit() error
	// Close gives the file up when it was not committed, leaving what was
	// written for Unfinished, and releases it in any case.
	Close() error
}

// File is a finished file.
type File interface {
	io.ReaderAt
	io.Closer
	// Size is the file's length in bytes.
	Size() int64
}
