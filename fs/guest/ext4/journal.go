package ext4

import (
	"context"
	"fmt"

	"holdfast/fs/guest"
)

// Features of a journal (Journal, superblock).
const (
	journalCompatChecksum = 0x1

	journalRevoke     = 0x1
	journal64Bit      = 0x2
	journalAsync      = 0x4
	journalCsumV2     = 0x8
	journalCsumV3     = 0x10
	journalFastCommit = 0x20
	journalReadable   = journalRevoke | journal64Bit | journalAsync | journalCsumV2 | journalCsumV3 | journalFastCommit

	defaultFastBlocks = 256
	minJournalBlocks  = 1024
	maxJournalRuns    = 1 << 16
)

// journal is the journal's geometry, from its superblock:
//
//	0x00 magic, type (3 or 4), sequence  0x0c block size  0x10 blocks
//	0x14 first log block  0x18 first sequence  0x1c start (0: empty)
//	0x24 compat  0x28 incompat  0x30 uuid  0x50 checksum type
//	0x54 fast commit blocks  0xfc checksum
//
// Log blocks are numbers within the journal's file. The log lies in [first,
// last) and wraps; fast commits lie in (last, blocks).
type journal struct {
	fs                         *FS
	runs                       []run // where the file's blocks lie
	blocks, first, last, start uint64
	sequence                   uint32
	compat, incompat           uint32
	seed                       uint32
}

func (j *journal) has(feature uint32) bool { return j.incompat&feature != 0 }

// summed says that the journal's own blocks carry checksums.
func (j *journal) summed() bool { return j.has(journalCsumV2 | journalCsumV3) }

// openJournal finds the journal and reads its superblock.
func (f *FS) openJournal(ctx context.Context) (*journal, error) {
	switch {
	case f.sb.journalInode == 0 && f.sb.journalDevice != 0:
		return nil, fmt.Errorf("the journal is on another device: %w", guest.ErrUnsupported)
	case f.sb.journalInode == 0:
		return nil, guest.Corrupt("ext4: a journal is to be replayed, but there is none")
	}
	in, err := f.anyInode(ctx, f.sb.journalInode)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if !in.is(modeFile) || in.flags&flagInline != 0 {
		return nil, guest.Corrupt("ext4: the journal, inode %d, is no file", in.number)
	}
	j := &journal{fs: f}
	if err := j.mapFile(ctx, in); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	b, err := j.read(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("journal superblock: %w", err)
	}
	return j, j.parseSuper(b[:superLen], uint64(in.size)/uint64(f.sb.blockSize))
}

// mapFile notes where the journal's blocks lie.
func (j *journal) mapFile(ctx context.Context, in *inode) error {
	blocks := uint64(in.size) / uint64(j.fs.sb.blockSize)
	err := j.fs.eachRun(ctx, in, 0, min(blocks, maxLogical), func(r run) bool {
		j.runs = append(j.runs, r)
		return len(j.runs) < maxJournalRuns
	})
	if err == nil && len(j.runs) == maxJournalRuns {
		return guest.Corrupt("ext4: the journal is in more than %d pieces", maxJournalRuns)
	}
	return err
}

// parseSuper reads the journal's superblock; the file has that many blocks.
func (j *journal) parseSuper(b []byte, fileBlocks uint64) error {
	kind := be.Uint32(b[4:])
	if be.Uint32(b) != journalMagic || kind != 3 && kind != 4 {
		return guest.Corrupt("ext4 journal: its superblock has magic %#x, type %d", be.Uint32(b), kind)
	}
	j.blocks, j.first = uint64(be.Uint32(b[0x10:])), uint64(be.Uint32(b[0x14:]))
	j.sequence, j.start = be.Uint32(b[0x18:]), uint64(be.Uint32(b[0x1c:]))
	if kind == 4 {
		j.compat, j.incompat = be.Uint32(b[0x24:]), be.Uint32(b[0x28:])
		j.seed = crc32c(^uint32(0), b[0x30:0x40])
	}
	if unknown := j.incompat &^ journalReadable; unknown != 0 {
		return fmt.Errorf("journal with features %#x: %w", unknown, guest.ErrUnsupported)
	}
	if j.has(journalCsumV2) && j.has(journalCsumV3) {
		return guest.Corrupt("ext4 journal: checksums of two versions at once")
	}
	if j.summed() && crc32c(crc32cZeros(crc32c(^uint32(0), b[:0xfc]), 4), b[0x100:]) != be.Uint32(b[0xfc:]) {
		return guest.Corrupt("ext4 journal: its superblock has a wrong checksum")
	}
	j.last = j.blocks
	if j.has(journalFastCommit) {
		fast := uint64(be.Uint32(b[0x54:]))
		if fast == 0 {
			fast = defaultFastBlocks
		}
		if j.blocks >= fast+minJournalBlocks {
			j.last = j.blocks - fast
		}
	}
	if be.Uint32(b[0x0c:]) != j.fs.sb.blockSize || j.blocks > fileBlocks || j.first == 0 || j.first >= j.last || j.start >= j.last || j.start != 0 && j.start < j.first {
		return guest.Corrupt("ext4 journal: %d blocks of %d bytes from %d on, starting at %d, in a file of %d",
			j.blocks, be.Uint32(b[0x0c:]), j.first, j.start, fileBlocks)
	}
	return nil
}

// place gives the block of the volume where a log block lies.
func (j *journal) place(block uint64) (uint64, error) {
	low, high := 0, len(j.runs)
	for low < high {
		if mid := (low + high) / 2; j.runs[mid].end() <= block {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == len(j.runs) || j.runs[low].hole {
		return 0, guest.Corrupt("ext4 journal: its block %d is missing", block)
	}
	return j.runs[low].from(block).place, nil
}

// read reads a log block, into the caller's own buffer.
func (j *journal) read(ctx context.Context, block uint64) ([]byte, error) {
	place, err := j.place(block)
	if err != nil {
		return nil, err
	}
	b := make([]byte, j.fs.sb.blockSize)
	return b, j.fs.readFull(ctx, b, int64(place)*int64(len(b)))
}

// wrap gives the log block that a number behind the end stands for.
func (j *journal) wrap(block uint64) uint64 {
	if block >= j.last {
		return j.first + (block-j.first)%(j.last-j.first)
	}
	return block
}
