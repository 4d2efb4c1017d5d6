package part

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"holdfast/fs/guest"
)

// Kind is the sort of partition table.
type Kind string

const (
	None   Kind = "none"
	GPT    Kind = "gpt"
	MBR    Kind = "mbr"
	Hybrid Kind = "hybrid" // a GPT beside an MBR with partitions of its own
)

// Table is what lies on a disk. Notes say what a person should know of it.
type Table struct {
	Kind       Kind
	Sector     int64  // bytes, the unit in which the table counts
	UUID       string // of the disk; for an MBR its 8 hex digits
	Partitions []Partition
	// Taken are parts of the disk that belong to none of the partitions: of
	// the table itself, and what else another reader of it would see there.
	Taken []Range
	Notes []string
}

// Range is a run of the disk, in bytes.
type Range struct{ Start, Size int64 }

// Partition is one of them.
type Partition struct {
	Number    int   // as the kernel counts: logical ones from 5
	Start     int64 // bytes
	Size      int64 // bytes; may reach beyond the disk's end
	Type      string
	Name      string
	UUID      string
	Boot      bool
	Container bool // an extended partition, which only holds others
}

// Options of Read; the zero value is good for any disk.
type Options struct {
	// Sector is the size in which an MBR counts, which the table itself
	// does not tell. 0 means 512.
	Sector int64
}

// Read reads the partition table of a disk. A damaged table is told in Notes;
// the error is that of reading the disk, or of ctx.
func Read(ctx context.Context, v guest.Volume, o Options) (*Table, error) {
	if o.Sector == 0 {
		o.Sector = 512
	}
	r := &reader{ctx: ctx, v: v}
	boot := r.read(0, 512)
	if boot == nil || boot[510] != 0x55 || boot[511] != 0xaa {
		return &Table{Kind: None, Sector: o.Sector}, r.err
	}
	entries := parseEntries(boot)
	t := r.gpt(entries)
	if t == nil {
		t = r.mbr(boot, entries, o.Sector)
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case len(t.Partitions) == 0:
		return t, r.err
	case r.err != nil:
		t.note("%v", r.err)
	}
	return t, nil
}

// reader reads pieces of the disk; the first error is kept.
type reader struct {
	ctx context.Context
	v   guest.Volume
	err error
}

// read gives n bytes at off, nil when the disk is too short or unreadable.
func (r *reader) read(off, n int64) []byte {
	if r.ctx.Err() != nil || off < 0 || n < 0 || off > r.v.Size()-n {
		return nil
	}
	p := make([]byte, n)
	if got, err := r.v.ReadAt(p, off); got < len(p) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if r.err == nil {
			r.err = fmt.Errorf("read partition table at byte %d: %w", off, err)
		}
		return nil
	}
	return p
}

// UUID formats 16 bytes as GPT keeps them: the first three fields
// little-endian, the last two as they are.
func UUID(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x",
		binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}

func (t *Table) note(format string, args ...any) {
	if len(t.Notes) < 16 {
		t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
	}
}
