package ext4

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"holdfast/fs/guest"
)

// Blocks of the log: magic 4, type 4, sequence 4, then by type (Journal):
//
//	descriptor  tags, each for one copied block, which follow in order
//	commit      0x0c checksum type 1, size 1; 0x10 checksum; 0x30 seconds 8
//	revocation  0x0c bytes in use, with these 16; numbers of blocks
//
// With checksums of version 2 and 3 descriptors and revocations end with one.
const (
	logHead       = 12
	logDescriptor = 1
	logCommit     = 2
	logRevoke     = 5

	revokeHead    = 16
	commitSum     = 0x10
	commitSeconds = 0x30

	maxCopies  = 1 << 20
	maxRevoked = 1 << 21
)

// log is what a scan has found: all that was committed, in order.
type log struct {
	copies       []taggedCopy
	revoked      []revocation
	transactions int
	nextSequence uint32
}

// taggedCopy is a copy in the nth transaction.
type taggedCopy struct {
	copied
	nth int
}

// revocation says that copies of a block up to the nth transaction are void.
type revocation struct {
	home uint64
	nth  int
}

// scanner walks the log.
type scanner struct {
	*journal
	log
	next       uint64 // log block
	budget     uint64 // of log blocks: each belongs to one transaction only
	sum        uint32 // of the oldest kind, over the transaction so far
	doubtful   bool   // a checksum was wrong: is this an older round's block?
	lastCommit uint64 // seconds
	pending    log    // of the transaction that is not committed yet
}

// scan reads the log from its start to the first block that does not go on
// from the one before: the transactions that were committed. An error says
// that the log is damaged in between; what was found up to there is given.
func (j *journal) scan(ctx context.Context) (log, error) {
	s := &scanner{journal: j, next: j.start, budget: j.blocks, sum: ^uint32(0)}
	s.nextSequence = j.sequence
	for s.budget > 0 {
		b, err := s.take(ctx)
		if err != nil {
			return s.log, err
		}
		if be.Uint32(b) != journalMagic || be.Uint32(b[8:]) != s.nextSequence {
			break
		}
		more := true
		switch be.Uint32(b[4:]) {
		case logDescriptor:
			err = s.descriptor(ctx, b)
		case logRevoke:
			err = s.revocations(b)
		case logCommit:
			more, err = s.commit(b)
		default:
			more = false
		}
		if err != nil {
			return s.log, err
		}
		if !more {
			break
		}
	}
	return s.log, nil
}

// take reads the next log block.
func (s *scanner) take(ctx context.Context) ([]byte, error) {
	b, err := s.read(ctx, s.next)
	s.skip()
	return b, err
}

func (s *scanner) skip() {
	s.next = s.wrap(s.next + 1)
	s.budget -= min(1, s.budget)
}

// body gives what lies before the checksum at a block's end, if there is one.
func (s *scanner) body(b []byte) []byte {
	if !s.summed() {
		return b
	}
	end := len(b) - 4
	if crc32cZeros(crc32c(s.seed, b[:end]), 4) != be.Uint32(b[end:]) {
		s.doubtful = true
	}
	return b[:end]
}

// revocations notes the blocks of a revocation block.
func (s *scanner) revocations(b []byte) error {
	body := s.body(b)
	used := int64(be.Uint32(b[logHead:]))
	if used > int64(len(body)) {
		if s.doubtful {
			return nil // an older round's block
		}
		return guest.Corrupt("ext4 journal: a revocation of %d bytes", used)
	}
	width := 4
	if s.has(journal64Bit) {
		width = 8
	}
	for at := revokeHead; at+width <= int(used); at += width {
		home := uint64(be.Uint32(body[at:]))
		if width == 8 {
			home = be.Uint64(body[at:])
		}
		s.pending.revoked = append(s.pending.revoked, revocation{home: home})
	}
	if len(s.revoked)+len(s.pending.revoked) > maxRevoked {
		return fmt.Errorf("a journal that revokes more than %d blocks: %w", maxRevoked, guest.ErrUnsupported)
	}
	return nil
}

// commit closes the transaction; more is false when the log ends before it. A
// wrong checksum in a commit that is not older than the last one is damage.
func (s *scanner) commit(b []byte) (more bool, err error) {
	seconds := be.Uint64(b[commitSeconds:])
	older := seconds < s.lastCommit
	if s.doubtful || !s.commitSumRight(b) {
		if older || s.has(journalAsync) && !s.doubtful {
			return false, nil // of an earlier round, or never finished
		}
		return false, guest.Corrupt("ext4 journal: transaction %d has a wrong checksum", s.nextSequence)
	}
	for _, c := range s.pending.copies {
		if c.home >= s.fs.sb.blocks {
			return false, guest.Corrupt("ext4 journal: transaction %d has a copy of block %d of %d", s.nextSequence, c.home, s.fs.sb.blocks)
		}
		c.nth = s.transactions
		s.copies = append(s.copies, c)
	}
	for _, r := range s.pending.revoked {
		s.revoked = append(s.revoked, revocation{r.home, s.transactions})
	}
	s.pending.copies, s.pending.revoked = s.pending.copies[:0], s.pending.revoked[:0]
	s.transactions++
	s.nextSequence++
	s.sum, s.lastCommit = ^uint32(0), seconds
	return true, nil
}

// commitSumRight verifies a commit block, or with the oldest kind of checksum
// all that the transaction has copied.
func (s *scanner) commitSumRight(b []byte) bool {
	found := be.Uint32(b[commitSum:])
	if s.summed() {
		sum := crc32cZeros(crc32c(s.seed, b[:commitSum]), 4)
		return crc32c(sum, b[commitSum+4:]) == found
	}
	if s.compat&journalCompatChecksum != 0 {
		kind, size := b[logHead], b[logHead+1]
		return kind == 1 && size == 4 && found == s.sum || kind == 0 && size == 0 && found == 0
	}
	return true
}

// overlay leaves of all copies the newest of each block, unless the block was
// revoked in that transaction or later.
func (l *log) overlay() overlay {
	slices.SortFunc(l.revoked, func(a, b revocation) int {
		return cmp.Or(cmp.Compare(a.home, b.home), cmp.Compare(b.nth, a.nth)) // the last one first
	})
	slices.SortStableFunc(l.copies, func(a, b taggedCopy) int { return cmp.Compare(a.home, b.home) })
	var o overlay
	for i, c := range l.copies {
		if i+1 < len(l.copies) && l.copies[i+1].home == c.home {
			continue
		}
		r, found := slices.BinarySearchFunc(l.revoked, c.home, func(r revocation, home uint64) int { return cmp.Compare(r.home, home) })
		if !found || l.revoked[r].nth < c.nth {
			o = append(o, c.copied)
		}
	}
	return o
}
