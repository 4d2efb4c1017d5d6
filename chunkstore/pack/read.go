package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ReadFooter reads what a finished pack of size bytes holds, without reading
// its records. The error wraps ErrNoHeader or ErrNoTrailer when the pack must be
// scanned.
func ReadFooter(r io.ReaderAt, size int64) (Header, []Entry, error) {
	h, err := readHeader(r, size)
	if err != nil {
		return Header{}, nil, err
	}
	t, err := findTrailer(r, size)
	if err != nil {
		return h, nil, fmt.Errorf("pack of %d bytes: %w", size, err)
	}
	if t.pack != h.Pack {
		return h, nil, fmt.Errorf("trailer is of pack %016x: %w", t.pack, ErrNoTrailer)
	}
	footer, err := readFooter(r, size, &t)
	if err != nil {
		return h, nil, err
	}
	entries := make([]Entry, t.entries)
	for i := range entries {
		if entries[i], err = parseEntry(footer[i*EntryLen:], t.footerOff); err != nil {
			return h, nil, fmt.Errorf("footer entry %d: %w: %w", i, err, ErrNoTrailer)
		}
	}
	return h, entries, nil
}

// readHeader reads the pack's header, and heals it when it is hurt.
func readHeader(r io.ReaderAt, size int64) (Header, error) {
	head := make([]byte, HeaderLen)
	err := readFull(r, head, 0, size)
	if err == nil {
		var h Header
		if h, err = ParseHeader(head); err == nil {
			return h, nil
		}
	}
	if p, perr := OpenParity(r, size); perr == nil {
		if head, _, perr = p.ReadRange(0, HeaderLen); perr == nil {
			return ParseHeader(head)
		}
	}
	return Header{}, fmt.Errorf("%w: %w", ErrNoHeader, err)
}

// readFooter reads the footer's bytes, and heals them when they are hurt.
func readFooter(r io.ReaderAt, size int64, t *trailer) ([]byte, error) {
	n := t.entries * EntryLen
	if t.covered() > size { // the file is cut off before its footer
		return nil, fmt.Errorf("footer is cut off: %w", ErrNoTrailer)
	}
	footer := make([]byte, n)
	err := readFull(r, footer, t.footerOff, size)
	if err == nil && Sum(footer) == t.footerSum {
		return footer, nil
	}
	p, perr := OpenParity(r, size)
	if perr == nil {
		footer, _, perr = p.ReadRange(t.footerOff, int(n))
	}
	if perr != nil || Sum(footer) != t.footerSum {
		return nil, fmt.Errorf("footer is damaged: %w: %w", errors.Join(err, perr), ErrNoTrailer)
	}
	return footer, nil
}

func isNoTrailer(err error) bool { return errors.Is(err, ErrNoTrailer) }

func readFull(r io.ReaderAt, b []byte, off, size int64) error {
	return readAtLeast(r, b, off, len(b), size)
}

// readAtLeast reads into b, of which least bytes must come and lie in the file;
// the rest may lie behind its end.
func readAtLeast(r io.ReaderAt, b []byte, off int64, least int, size int64) error {
	if off < 0 || off+int64(least) > size {
		return io.ErrUnexpectedEOF
	}
	n, err := r.ReadAt(b, off)
	if n >= least {
		return nil
	}
	if err == nil { // a medium that breaks its word proves nothing of the bytes
		return fmt.Errorf("read %d bytes at %d: only %d came, without an error", least, off, n)
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

const scanWindow = 1 << 20

// Scan finds every record of a pack whose stored bytes fit their checksum, in
// order of offset, also behind damage: where a record does not fit, the search
// goes on at the next magic number. It reads size bytes once, MaxPack at most,
// and holds about 1 MiB. end is the offset behind the last good record (HeaderLen when there
// is none); skipped counts the bytes before end that belong to no record.
func Scan(r io.ReaderAt, size int64, fn func(Entry, []byte) error) (end, skipped int64, err error) {
	end = HeaderLen
	size = min(size, MaxPack) // no record lies behind that, and its offset would not fit
	buf := make([]byte, scanWindow+MaxRecord)
	for off := int64(HeaderLen); off+RecordHeaderLen <= size; {
		n := min(int64(len(buf)), size-off)
		if err := readFull(r, buf[:n], off, size); err != nil {
			return end, skipped, fmt.Errorf("read pack at %d: %w", off, err)
		}
		last := n == size-off
		pos := int64(0)
		for n-pos >= RecordHeaderLen && (last || pos < scanWindow) {
			rec, err := CheckStored(buf[pos:n])
			if err != nil {
				pos += nextMagic(buf[pos:n])
				continue
			}
			skipped += off + pos - end
			if err := fn(entryOf(rec, off+pos), rec.Bytes); err != nil {
				return end, skipped, err
			}
			pos += int64(len(rec.Bytes))
			end = off + pos
		}
		if last {
			break
		}
		off += pos
	}
	return end, skipped, nil
}

// nextMagic returns how far the next possible record lies behind b[0].
func nextMagic(b []byte) int64 {
	for at := 1; ; at++ {
		i := bytes.Index(b[at:], []byte(magicPrefix))
		if i < 0 || at+i+magicLen > len(b) {
			return int64(max(1, len(b)-magicLen+1))
		}
		at += i
		if _, err := versionOf(b[at:]); err == nil {
			return int64(at)
		}
	}
}

func entryOf(rec Record, off int64) Entry {
	return Entry{
		ID: rec.ID, Kind: rec.Kind, Offset: uint32(off),
		PlainLen: uint32(rec.PlainLen), PayloadLen: uint32(len(rec.Bytes) - RecordHeaderLen),
		Codec: CodecID(rec.Bytes[5]),
	}
}
