package vhdx

import (
	"fmt"
	"slices"

	"holdfast/capture/source"
)

const (
	// maxLog bounds the log that is searched. Hyper-V and qemu make logs of
	// 1 MiB, and the format allows 4 GiB.
	maxLog = 1 << 30
	// maxWrites bounds the writes of a sequence, 64 bytes of memory each.
	// More than a log of 1 GiB full of data sectors has.
	maxWrites = 1 << 19
)

// ring is the log as it lies in the file: positions wrap at its end.
type ring struct {
	file *source.File
	span
	id guid
}

// readSector reads the sector at a position that may lie beyond the end once.
func (r ring) readSector(b []byte, pos int64) error {
	return r.file.ReadFull(b[:logSector], r.off+pos%r.length, "VHDX log")
}

// found is what a search of the log finds.
type found struct {
	valid   map[int64]logEntry // by position
	claimed int                // sectors that begin like an entry of this log, valid or not
	torn    int                // those of which the rest was never written
}

// entries searches the whole log.
func (r ring) entries() (found, error) {
	all := found{valid: map[int64]logEntry{}}
	sector := make([]byte, logSector)
	// The sectors of real entries overlap only those of older, half
	// overwritten ones. A log made to be slow is given up.
	budget := 8*r.length + 64*mib
	for pos := int64(0); pos < r.length; pos += logSector {
		if err := r.readSector(sector, pos); err != nil {
			return all, err
		}
		if hasEntry(sector, r.id) {
			all.claimed++
		}
		e, ok := parseLogHeader(sector, pos, r.length, r.id)
		if !ok {
			continue
		}
		if budget -= e.length; budget < 0 {
			return all, r.file.Corrupt(r.off+pos, "the log's entries overlap each other")
		}
		valid, torn, err := r.validate(e, sector)
		if err != nil {
			return all, err
		}
		if valid {
			all.valid[pos] = e
		}
		if torn {
			all.torn++
		}
	}
	return all, nil
}

// validate reads an entry and proves its checksum, descriptors and data
// sectors. One that is not valid is torn when all sectors from where it fails
// hold what was there before. It overwrites sector.
func (r ring) validate(e logEntry, sector []byte) (valid, torn bool, err error) {
	check := entryCheck{entry: e}
	for pos := e.off; pos < e.off+e.length; pos += logSector {
		if err := r.readSector(sector, pos); err != nil {
			return false, false, err
		}
		if !torn && check.add(sector) {
			continue
		}
		if torn = pos > e.off && neverWritten(sector, e.sequence); !torn {
			return false, false, nil
		}
	}
	return !torn && check.done(), torn, nil
}

// activeSequence finds the entries to replay, oldest first: those from the
// tail to the head of the newest complete sequence (section 2.3.3). It is
// empty when none is complete.
func (r ring) activeSequence(valid map[int64]logEntry) ([]logEntry, error) {
	heads := make([]logEntry, 0, len(valid))
	for _, e := range valid {
		heads = append(heads, e)
	}
	slices.SortFunc(heads, func(a, b logEntry) int {
		if a.sequence > b.sequence || a.sequence == b.sequence && a.off < b.off {
			return -1
		}
		return 1
	})
	// Each head costs at most one walk around the log; the newest one is
	// good in any log that was not tampered with.
	budget := 16*len(valid) + 1<<20
	for _, head := range heads {
		var seq []logEntry
		seen := int64(0) // bytes
		for pos := head.tail; ; {
			e, ok := valid[pos]
			seen += e.length
			if !ok || seen > r.length || len(seq) > 0 && e.sequence != seq[len(seq)-1].sequence+1 {
				break
			}
			if seq = append(seq, e); e.off == head.off {
				return seq, nil
			}
			pos = (pos + e.length) % r.length
		}
		if budget -= len(seq); budget < 0 {
			return nil, r.file.Corrupt(r.off, "the log's entries name tails that are none")
		}
	}
	return nil, nil
}

// write is a write of the log to be made to the file.
type write struct {
	descriptor
	from int64 // for data: where in the file its data sector lies
}

// writes lists what a sequence writes, in order.
func (r ring) writes(seq []logEntry) ([]write, error) {
	var all []write
	sector := make([]byte, logSector)
	for _, e := range seq {
		if int64(len(all))+e.count > maxWrites {
			return nil, r.file.Unsupported(fmt.Sprintf("a VHDX log of more than %d writes", maxWrites), replayRemedy)
		}
		data := e.off + e.descriptorBytes()
		for i := range e.count {
			at := logHeaderSize + i*descriptorSize
			if i == 0 || at%logSector == 0 {
				if err := r.readSector(sector, e.off+at&^(logSector-1)); err != nil {
					return nil, err
				}
			}
			d, ok := parseDescriptor(sector[at%logSector:], e.sequence)
			if !ok { // it was valid when it was proved
				return nil, r.file.Corrupt(r.off+e.off, "the log changed while it was read")
			}
			w := write{descriptor: d}
			if !d.zero {
				w.from = r.off + data%r.length
				data += logSector
			}
			all = append(all, w)
		}
	}
	return all, nil
}
