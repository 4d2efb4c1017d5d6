package ntfs

import (
	"context"

	"fmt"

	"holdfast/fs/guest"
	"holdfast/fs/guest/ntfs/lz"
)

// Files that Windows has compressed as a whole (Windows Overlay Filter, WOF):
// the unnamed stream is a hole of the right size, this one has the content. It
// begins with the places of all chunks but the first, counted from the table's
// end, in 4 bytes, or 8 when the file has 4 GiB or more; a chunk that could not
// be made smaller is stored as it is. The reparse data name the format:
//
//	0 version 4  4 provider 4 (1 a WIM file elsewhere, 2 this file)
//	8 version 4  12 algorithm 4 (0 XPRESS of 4 KiB, 1 LZX of 32 KiB,
//	2 XPRESS of 8 KiB, 3 XPRESS of 16 KiB)
const (
	wofLen          = 16
	wofProviderFile = 2
	wofWideTable    = 4 << 30
)

var wofStream = wide("WofCompressedData")

// wof is the content of such a file.
type wof struct {
	packed   *stream
	size     int64
	chunkLog uint
	unpack   func(dst, src []byte) error
}

// wof reads what the reparse data say of a file's content.
func (f *FS) wof(ctx context.Context, x *file, reparse []byte, size int64) (*wof, error) {
	if len(reparse) < wofLen || le.Uint32(reparse) != 1 {
		return nil, guest.Corrupt("ntfs record %d: %d bytes of WOF data", x.number, len(reparse))
	}
	if provider := le.Uint32(reparse[4:]); provider != wofProviderFile {
		return nil, fmt.Errorf("ntfs record %d: content that lies in a WIM file (WOF provider %d) is %w", x.number, provider, guest.ErrUnsupported)
	}
	w := &wof{size: size, unpack: lz.XPRESS}
	switch algorithm := le.Uint32(reparse[12:]); algorithm {
	case 0:
		w.chunkLog = 12
	case 1:
		w.chunkLog, w.unpack = 15, lz.LZX
	case 2:
		w.chunkLog = 13
	case 3:
		w.chunkLog = 14
	default:
		return nil, fmt.Errorf("ntfs record %d: WOF algorithm %d is %w", x.number, algorithm, guest.ErrUnsupported)
	}
	var err error
	if w.packed, err = f.stream(ctx, x, attrData, wofStream); err == nil && w.packed == nil {
		err = guest.Corrupt("ntfs record %d: it has no stream WofCompressedData", x.number)
	}
	return w, err
}

// entry is the width of a place in the table.
func (w *wof) entry() int64 {
	if w.size >= wofWideTable {
		return 8
	}
	return 4
}

// readWOF fills p from off; both lie within the file.
func (f *FS) readWOF(ctx context.Context, w *wof, p []byte, off int64) error {
	chunk := make([]byte, 1<<w.chunkLog)
	packed := make([]byte, 1<<w.chunkLog)
	for len(p) > 0 {
		number, within := off>>w.chunkLog, off&(1<<w.chunkLog-1)
		plain := chunk[:min(int64(len(chunk)), w.size-number<<w.chunkLog)]
		if within == 0 && len(p) >= len(plain) {
			plain = p[:len(plain)] // without a copy
		}
		if err := f.readChunk(ctx, w, number, plain, packed); err != nil {
			return err
		}
		n := len(plain)
		if &plain[0] != &p[0] {
			n = copy(p, plain[within:])
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// readChunk unpacks one chunk into plain, which has its length; packed is
// scratch of a chunk's full length.
func (f *FS) readChunk(ctx context.Context, w *wof, number int64, plain, packed []byte) error {
	from, to, err := f.chunkPlace(ctx, w, number)
	if err != nil {
		return err
	}
	if to-from > int64(len(plain)) || to <= from || to > w.packed.size {
		return guest.Corrupt("ntfs record %d: chunk %d lies from %d to %d of %d", w.packed.owner, number, from, to, w.packed.size)
	}
	if to-from == int64(len(plain)) {
		return f.readStream(ctx, w.packed, plain, from)
	}
	packed = packed[:to-from]
	if err := f.readStream(ctx, w.packed, packed, from); err != nil {
		return err
	}
	if err := w.unpack(plain, packed); err != nil {
		return guest.Corrupt("ntfs record %d: chunk %d: %v", w.packed.owner, number, err)
	}
	return nil
}

// chunkPlace gives where a chunk begins and ends in the packed stream.
func (f *FS) chunkPlace(ctx context.Context, w *wof, number int64) (from, to int64, err error) {
	width := w.entry()
	entries := (w.size - 1) >> w.chunkLog // all chunks but the first
	table := entries * width
	if table > w.packed.size {
		return 0, 0, guest.Corrupt("ntfs record %d: a table of %d chunks in %d bytes", w.packed.owner, entries, w.packed.size)
	}
	place := func(i int64) (int64, error) {
		var b [8]byte
		if err := f.readStream(ctx, w.packed, b[:width], i*width); err != nil {
			return 0, err
		}
		v := le.Uint64(b[:])
		if v > uint64(w.packed.size-table) {
			return 0, guest.Corrupt("ntfs record %d: chunk %d is at %d of %d", w.packed.owner, i+1, v, w.packed.size-table)
		}
		return table + int64(v), nil
	}
	from, to = table, w.packed.size
	if number > 0 {
		if from, err = place(number - 1); err != nil {
			return 0, 0, err
		}
	}
	if number < entries {
		to, err = place(number)
	}
	return from, to, err
}
