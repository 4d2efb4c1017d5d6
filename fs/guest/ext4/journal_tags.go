package ext4

import (
	"context"
	"fmt"

	"holdfast/fs/guest"
)

// A tag of a descriptor block (Journal, Descriptor Block):
//
//	csum_v3     block 4, flags 4, block high 4, checksum 4
//	otherwise   block 4, checksum 2, flags 2, then with 64bit block high 4,
//	            then with csum_v2 2 bytes that nobody uses
//	            behind either, unless it is the same as before: uuid 16
const (
	tagEscaped  = 0x1
	tagSameUUID = 0x2
	tagLast     = 0x8
)

// tagLen is the length of a tag without the uuid.
func (j *journal) tagLen() int {
	if j.has(journalCsumV3) {
		return 16
	}
	n := 8
	if j.has(journal64Bit) {
		n += 4
	}
	if j.has(journalCsumV2) {
		n += 2
	}
	return n
}

// parseTag reads a tag.
func (j *journal) parseTag(b []byte, sequence uint32) (c copied, flags uint16) {
	c = copied{home: uint64(be.Uint32(b)), sequence: sequence, seed: j.seed}
	flags = be.Uint16(b[6:])
	if j.has(journal64Bit) {
		c.home |= uint64(be.Uint32(b[8:])) << 32
	}
	switch {
	case j.has(journalCsumV3):
		c.check, c.sum = sum32, be.Uint32(b[12:])
	case j.has(journalCsumV2):
		c.check, c.sum = sum16, uint32(be.Uint16(b[4:]))
	}
	c.escaped = flags&tagEscaped != 0
	return c, flags
}

// descriptor notes the copies that follow a descriptor block, and goes on
// behind them.
func (s *scanner) descriptor(ctx context.Context, b []byte) error {
	body, tagLen := s.body(b), s.tagLen()
	if s.compat&journalCompatChecksum != 0 {
		s.sum = crc32BigEndian(s.sum, b)
	}
	for at := logHead; at+tagLen <= len(body); {
		c, flags := s.parseTag(body[at:], s.nextSequence)
		place, err := s.place(s.next)
		if err != nil {
			return err
		}
		if s.compat&journalCompatChecksum != 0 {
			copy, err := s.read(ctx, s.next)
			if err != nil {
				return err
			}
			s.sum = crc32BigEndian(s.sum, copy)
		}
		s.skip()
		c.place = place
		s.pending.copies = append(s.pending.copies, taggedCopy{copied: c})
		if at += tagLen; flags&tagSameUUID == 0 {
			at += 16
		}
		if flags&tagLast != 0 {
			break
		}
	}
	if len(s.copies)+len(s.pending.copies) > maxCopies {
		return fmt.Errorf("a journal of more than %d blocks to replay: %w", maxCopies, guest.ErrUnsupported)
	}
	return nil
}
