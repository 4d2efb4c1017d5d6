package ext4

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"holdfast/fs/guest"
)

// A fast commit (fs/ext4/fast_commit.h) is a list of records of tag 2, length
// 2, value; it begins with a head and ends with a tail, and pads to a block:
//
//	1 add range  inode 4, an extent of 12     4 link    parent 4, inode 4, name
//	2 del range  inode 4, first 4, count 4    5 unlink  the same
//	3 create     parent 4, inode 4, name      6 inode   inode 4, its bytes
//	7 pad        8 tail  sequence 4, checksum 4         9 head  features 4, sequence 4
//
// Only those of the transaction behind the last full commit count, and of
// these all up to the last tail whose checksum is right. They are applied in
// order to what the journal's replay gave.
const (
	fastAddRange = 1
	fastDelRange = 2
	fastCreate   = 3
	fastLink     = 4
	fastUnlink   = 5
	fastInodeTag = 6
	fastPad      = 7
	fastTail     = 8
	fastHead     = 9

	fastRecordHead = 4
	maxFastBytes   = 4 << 20
)

// fastRecord is one record; its value is the caller's own.
type fastRecord struct {
	tag   uint16
	value []byte
}

// fastCommits is what fast commits have changed. Nil changes nothing.
type fastCommits struct {
	commits int
	inodes  map[uint32]*fastInode
	used    []blockRange // by ranges that were added
}

// inode gives the changes to an inode, or nil.
func (c *fastCommits) inode(number uint32) *fastInode {
	if c == nil {
		return nil
	}
	return c.inodes[number]
}

// usedBlocks gives the blocks that added ranges use, in order and apart.
func (c *fastCommits) usedBlocks() []blockRange {
	if c == nil {
		return nil
	}
	return c.used
}

// settle sorts and joins the used blocks.
func (c *fastCommits) settle() {
	slices.SortFunc(c.used, func(a, b blockRange) int { return cmp.Compare(a.from, b.from) })
	var joined []blockRange
	for _, r := range c.used {
		if n := len(joined); n > 0 && r.from <= joined[n-1].to {
			joined[n-1].to = max(joined[n-1].to, r.to)
		} else {
			joined = append(joined, r)
		}
	}
	c.used = joined
}

// fastCommits reads and applies the fast commits behind the log, which ended
// before the transaction of that sequence. Nil when there are none.
func (j *journal) fastCommits(ctx context.Context, sequence uint32) (*fastCommits, error) {
	if !j.has(journalFastCommit) || j.last == j.blocks {
		return nil, nil
	}
	records, commits, err := j.fastRecords(ctx, sequence)
	if err != nil || commits == 0 {
		return nil, err
	}
	r := fastReplay{fs: j.fs, fastCommits: &fastCommits{commits: commits, inodes: map[uint32]*fastInode{}}}
	j.fs.fast = r.fastCommits // so that each record sees those before it
	for _, record := range records {
		if err := r.apply(ctx, record); err != nil {
			j.fs.fast = nil
			return nil, err
		}
	}
	r.settle()
	return r.fastCommits, nil
}

// fastScan reads records.
type fastScan struct {
	sequence uint32
	records  []fastRecord
	valid    int // records up to the last good tail
	commits  int
	sum      uint32
	bytes    int
}

// fastRecords reads the records of all complete fast commits.
func (j *journal) fastRecords(ctx context.Context, sequence uint32) ([]fastRecord, int, error) {
	s := fastScan{sequence: sequence}
	for block := j.last + 1; block < j.blocks; block++ {
		b, err := j.read(ctx, block)
		if err != nil {
			return nil, 0, err
		}
		if block == j.last+1 && le.Uint16(b) != fastHead {
			return nil, 0, nil
		}
		more, err := s.block(b, int(j.fs.sb.inodeSize))
		if err != nil {
			return nil, 0, err
		}
		if !more {
			break
		}
	}
	return s.records[:s.valid], s.commits, nil
}

// block reads one block's records; more is false when the list ends there.
func (s *fastScan) block(b []byte, inodeSize int) (more bool, err error) {
	for len(b) > fastRecordHead {
		r := fastRecord{tag: le.Uint16(b)}
		length := int(le.Uint16(b[2:]))
		if length > len(b)-fastRecordHead || !r.lengthRight(length, inodeSize) {
			return false, nil // what an older round has left behind
		}
		r.value = b[fastRecordHead:][:length]
		if more, err := s.record(r, b[:fastRecordHead+length]); err != nil || !more {
			return false, err
		}
		b = b[fastRecordHead+length:]
	}
	return true, nil
}

// lengthRight says whether a value can be that long.
func (r fastRecord) lengthRight(length, inodeSize int) bool {
	switch r.tag {
	case fastAddRange:
		return length == 16
	case fastDelRange:
		return length == 12
	case fastCreate, fastLink, fastUnlink:
		return length > 8 && length <= 8+maxName
	case fastInodeTag:
		return length >= 4+goodInodeSize && length <= 4+inodeSize
	case fastPad:
		return true
	case fastTail:
		return length >= 8
	case fastHead:
		return length == 8
	}
	return false
}

// record adds one record; whole is with its head.
func (s *fastScan) record(r fastRecord, whole []byte) (more bool, err error) {
	switch r.tag {
	case fastHead:
		if features := le.Uint32(r.value); features != 0 && le.Uint32(r.value[4:]) == s.sequence {
			return false, fmt.Errorf("features %#x: %w", features, guest.ErrUnsupported)
		}
		if le.Uint32(r.value[4:]) != s.sequence {
			return false, nil
		}
	case fastTail:
		sum := crc32c(s.sum, whole[:fastRecordHead+4])
		if le.Uint32(r.value) != s.sequence || le.Uint32(r.value[4:]) != sum {
			return false, nil // never finished
		}
		s.sum, s.valid = 0, len(s.records)
		s.commits++
		return true, nil
	case fastPad:
	default:
		if s.bytes += len(whole); s.bytes > maxFastBytes {
			return false, fmt.Errorf("more than %d bytes of them: %w", maxFastBytes, guest.ErrUnsupported)
		}
		s.records = append(s.records, fastRecord{r.tag, slices.Clone(r.value)})
	}
	s.sum = crc32c(s.sum, whole)
	return true, nil
}
