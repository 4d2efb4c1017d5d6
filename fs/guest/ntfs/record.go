package ntfs

import (
	"context"
	"errors"

	"holdfast/fs/guest"
)

// Files of the volume itself.
const (
	recordMFT     = 0
	recordLog     = 2
	recordVolume  = 3
	recordRoot    = 5
	recordBitmap  = 6
	recordSecure  = 9
	recordUpcase  = 10
	firstUser     = 16 // what lies below is not listed
	mirrorRecords = 4  // that $MFTMirr keeps
)

// A file record (FILE record segment header):
//
//	0 "FILE"  4 update sequence: offset 2, count 2  8 LSN  16 sequence 2
//	18 names 2  20 first attribute 2  22 flags 2  24 bytes in use 4
//	32 base record 8  40 next attribute id 2  44 number 4
const (
	recordHead    = 42
	flagInUse     = 0x1
	flagDirectory = 0x2
	flagViewIndex = 0x8 // its indexes are not of names
	refMask       = 1<<48 - 1
)

// record is one file record, verified and apart from the cache.
type record struct {
	number   uint64
	sequence uint16
	links    uint16 // names, DOS names among them
	flags    uint16
	base     uint64 // of which this one is an extension; 0 for none
	attrs    []attribute
}

// unprotect verifies a record or index block by its update sequence: the last
// two bytes of each 512 are the same number, and what they were lies in an
// array behind it. Where one differs, a write was torn.
func unprotect(b []byte) error {
	at, count := int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
	if count != len(b)/strideLen+1 || at%2 != 0 || at < 8 || at+2*count > strideLen-2 {
		return guest.Corrupt("an update sequence of %d numbers at %d in %d bytes", count, at, len(b))
	}
	sequence := le.Uint16(b[at:])
	for i := 1; i < count; i++ {
		end := b[i*strideLen-2:][:2]
		if le.Uint16(end) != sequence {
			return guest.Corrupt("torn: sector %d is of another write", i-1)
		}
		copy(end, b[at+2*i:])
	}
	return nil
}

// recentRecords is how many records are kept parsed: a look-up, a stat and a
// read of the same file follow one another.
const recentRecords = 256

// record gives a file record that is in use. It is shared: nobody may write to
// it. Others, and such as the table does not have, are fs.ErrNotExist.
func (f *FS) record(ctx context.Context, number uint64) (*record, error) {
	slot := &f.recent[number%recentRecords]
	if r := slot.Load(); r != nil && r.number == number {
		return r, ctx.Err()
	}
	r, err := f.readRecord(ctx, number)
	if err == nil {
		slot.Store(r)
	}
	return r, err
}

func (f *FS) readRecord(ctx context.Context, number uint64) (*record, error) {
	if number >= f.records {
		return nil, guest.ErrNotExist
	}
	b := make([]byte, f.g.recordSize)
	err := f.readTable(ctx, b, int64(number)*f.g.recordSize)
	if err != nil {
		return nil, err
	}
	r, err := parseRecord(b, number)
	if number < mirrorRecords && errors.Is(err, guest.ErrCorrupt) {
		if m, mirrored := f.mirrored(ctx, number); mirrored == nil {
			return m, nil
		}
	}
	return r, err
}

// mirrored reads one of the first records from their copy.
func (f *FS) mirrored(ctx context.Context, number uint64) (*record, error) {
	if f.g.mirror <= 0 || f.g.mirror >= f.g.clusters {
		return nil, guest.Corrupt("ntfs boot sector: $MFTMirr at cluster %d of %d", f.g.mirror, f.g.clusters)
	}
	b := make([]byte, f.g.recordSize)
	if err := f.readFull(ctx, b, f.g.place(f.g.mirror)+int64(number)*f.g.recordSize); err != nil {
		return nil, err
	}
	return parseRecord(b, number)
}

// parseRecord reads a record from b, which it changes and keeps.
func parseRecord(b []byte, number uint64) (*record, error) {
	switch string(b[:4]) {
	case "FILE":
	case "\x00\x00\x00\x00":
		return nil, guest.ErrNotExist // never used
	default:
		return nil, guest.Corrupt("ntfs record %d: its magic is %q", number, b[:4])
	}
	if err := unprotect(b); err != nil {
		return nil, wrapRecord(number, err)
	}
	r := &record{
		number: number, sequence: le.Uint16(b[16:]), links: le.Uint16(b[18:]), flags: le.Uint16(b[22:]),
		base: le.Uint64(b[32:]) & refMask,
	}
	if r.flags&flagInUse == 0 {
		return nil, guest.ErrNotExist
	}
	inUse := int64(le.Uint32(b[24:]))
	if inUse > int64(len(b)) {
		return nil, guest.Corrupt("ntfs record %d: %d bytes in use of %d", number, inUse, len(b))
	}
	var err error
	if r.attrs, err = parseAttributes(b[:inUse], int(le.Uint16(b[20:]))); err != nil {
		return nil, wrapRecord(number, err)
	}
	return r, nil
}

// file is a file's base record with the list of its attributes, if they lie in
// several records.
type file struct {
	*record
	list []listed
	last *record // the extension used last
}

func (x *file) directory() bool { return x.flags&flagDirectory != 0 }

// file reads a file by its number. An extension is none.
func (f *FS) file(ctx context.Context, number uint64) (*file, error) {
	r, err := f.record(ctx, number)
	if err != nil {
		return nil, err
	}
	if r.base != 0 {
		return nil, guest.ErrNotExist
	}
	x := &file{record: r}
	return x, f.readList(ctx, x)
}

// node reads a file that a directory may name.
func (f *FS) node(ctx context.Context, n guest.Node) (*file, error) {
	if n < firstUser && n != recordRoot {
		return nil, guest.ErrNotExist
	}
	return f.file(ctx, uint64(n))
}

// reference reads the file that a reference of 8 bytes leads to: the number and,
// above it, the sequence number of the record when the reference was made.
func (f *FS) reference(ctx context.Context, ref uint64) (*file, error) {
	x, err := f.node(ctx, guest.Node(ref&refMask))
	if err == nil && ref>>48 != 0 && uint16(ref>>48) != x.sequence {
		return nil, guest.Corrupt("ntfs record %d: a reference to its use %d, but it is in its use %d", x.number, ref>>48, x.sequence)
	}
	return x, err
}
