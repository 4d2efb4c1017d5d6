package md

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"holdfast/fs/guest"
	"holdfast/fs/guest/volume/mapped"
)

const (
	sectorSize = 512
	magic      = 0xa92b4efc
	maxRoles   = 1920 // what fits a superblock of 4 KiB
)

// Feature bits of 1.x.
const (
	featRecovery    = 2   // the member is being rebuilt
	featReshape     = 4   // the array is being reshaped
	featBadBlocks   = 8   // the member has a list of bad blocks
	featReplacement = 16  // it is to take another's place
	featNewOffset   = 64  // reshape moves the data
	featJournal     = 512 // the array has a journal device
	featLayout0     = 4096
	featKnown       = 1 | featRecovery | featReshape | featBadBlocks | featReplacement | 32 | featNewOffset | 128 | 256 | featJournal | 1024 | 2048 | featLayout0
)

// Roles that are no place in the array.
const (
	spare   = 0xffff
	faulty  = 0xfffe
	journal = 0xfffd
)

// Super is a member's superblock. Sizes and places are bytes.
type Super struct {
	Version string // "0.90", "1.0", "1.1", "1.2"
	UUID    string // as mdadm prints it
	Name    string // "host:name", or the minor number of a 0.90 array
	Level   int    // 0, 1, 4, 5, 6, 10, -1 for linear, others as the kernel has them
	At      int64  // where the superblock lies on the member

	layout   uint32
	size     int64 // used of each member
	chunk    int64
	disks    int
	data     guest.Range
	features uint32
	role     int
	roles    []uint16
	events   uint64
	badList  guest.Range // of the bad block log
}

// Probe reads the superblock of a member. guest.ErrNotMine when the device has
// none.
func Probe(ctx context.Context, d *mapped.Device) (*Super, error) {
	sectors := d.Size() / sectorSize
	places := []struct {
		version string
		at      int64
	}{
		{"1.1", 0},
		{"1.2", 8},
		{"1.0", (sectors - 16) &^ 7},
	}
	for _, p := range places {
		if p.at < 0 || p.at+8 > sectors {
			continue
		}
		b, err := superblock(ctx, d, p.at*sectorSize)
		if err != nil {
			return nil, err
		}
		if b == nil {
			continue
		}
		if s := parse1(b, p.version, p.at, sectors); s != nil {
			return s, nil
		}
	}
	if d.Size() < 128<<10 {
		return nil, guest.ErrNotMine
	}
	at := d.Size()&^(64<<10-1) - 64<<10
	b, err := superblock(ctx, d, at)
	if err != nil {
		return nil, err
	}
	if b != nil {
		if s := parse090(b, at); s != nil {
			return s, nil
		}
	}
	return nil, guest.ErrNotMine
}

// superblock reads the 4096 bytes at a byte that may be a superblock, or returns nil:
// most devices have no magic there, and each one that is looked into is asked four times.
func superblock(ctx context.Context, d *mapped.Device, at int64) ([]byte, error) {
	head, err := read(ctx, d, at, 4)
	if err != nil || binary.LittleEndian.Uint32(head) != magic {
		return nil, err
	}
	return read(ctx, d, at, 4096)
}

// parse1 reads a superblock of version 1.x that was found at a sector.
func parse1(b []byte, version string, at, sectors int64) *Super {
	le := binary.LittleEndian
	if le.Uint32(b) != magic || le.Uint32(b[4:]) != 1 || le.Uint64(b[144:]) != uint64(at) {
		return nil
	}
	roles := le.Uint32(b[220:])
	if roles > maxRoles || le.Uint32(b[216:]) != sum1(b[:256+2*roles]) {
		return nil
	}
	start, length, size := le.Uint64(b[128:]), le.Uint64(b[136:]), le.Uint64(b[80:])
	chunk, disks := le.Uint32(b[88:]), le.Uint32(b[92:])
	if start > uint64(sectors) || length > uint64(sectors)-start || size > math.MaxInt64/sectorSize || disks > maxRoles {
		return nil
	}
	s := &Super{
		Version: version, At: at * sectorSize,
		UUID:  mdUUID(b[16:32]),
		Name:  strings.TrimRight(string(b[32:64]), "\x00"),
		Level: int(int32(le.Uint32(b[72:]))), layout: le.Uint32(b[76:]),
		size: int64(size) * sectorSize, chunk: int64(chunk) * sectorSize, disks: int(disks),
		data:     guest.Range{Offset: int64(start) * sectorSize, Length: int64(length) * sectorSize},
		features: le.Uint32(b[8:]), events: le.Uint64(b[200:]), role: spare,
	}
	for i := range roles {
		s.roles = append(s.roles, le.Uint16(b[256+2*i:]))
	}
	if number := le.Uint32(b[160:]); number < roles {
		s.role = int(s.roles[number])
	}
	if s.features&featBadBlocks != 0 {
		off := (at + int64(int32(le.Uint32(b[188:])))) * sectorSize
		s.badList = guest.Range{Offset: off, Length: int64(le.Uint16(b[186:])) * sectorSize}
	}
	return s
}

// sum1 is the checksum of 1.x: the sum of its 32-bit words without the
// checksum's own, with the carry added.
func sum1(b []byte) uint32 {
	le := binary.LittleEndian
	sum := uint64(0)
	for i := 0; i+4 <= len(b); i += 4 {
		if i != 216 {
			sum += uint64(le.Uint32(b[i:]))
		}
	}
	if len(b)%4 == 2 {
		sum += uint64(le.Uint16(b[len(b)-2:]))
	}
	return uint32(sum) + uint32(sum>>32)
}

// parse090 reads a superblock of version 0.90.
//
//	word 0  magic, version      7  level, KiB used, devices    38  checksum, events
//	     5  UUID, first word   10  devices in use, minor       64  layout, chunk
//	    13  its other words   128  27 devices of 32 words     992  this device
func parse090(b []byte, at int64) *Super {
	le := binary.LittleEndian
	word := func(i int) uint32 { return le.Uint32(b[4*i:]) }
	if word(0) != magic || word(1) != 0 || word(2) < 90 || word(2) > 91 || word(10) > 27 {
		return nil
	}
	sum := uint64(0)
	for i := range 1024 {
		if i != 38 {
			sum += uint64(word(i))
		}
	}
	if uint32(sum)+uint32(sum>>32) != word(38) {
		return nil
	}
	s := &Super{
		Version: "0.90", At: at,
		UUID:  fmt.Sprintf("%08x:%08x:%08x:%08x", word(5), word(13), word(14), word(15)),
		Name:  fmt.Sprint(word(11)),
		Level: int(int32(word(7))), layout: word(64), size: int64(word(8)) << 10, chunk: int64(word(65)),
		disks: int(word(10)), data: guest.Range{Length: at}, role: spare,
		events: uint64(word(40))<<32 | uint64(word(39)),
	}
	if word(2) == 91 {
		s.features |= featReshape
	}
	const inSync = 1<<1 | 1<<2
	s.roles = make([]uint16, 27)
	for i := range 27 {
		s.roles[i] = spare
		d := 128 + 32*i
		if state := word(d + 4); state&1 != 0 {
			s.roles[i] = faulty
		} else if state&inSync == inSync && word(d+3) < 27 {
			s.roles[i] = uint16(word(d + 3))
		}
	}
	if number := word(992); number < 27 {
		s.role = int(s.roles[number])
	}
	return s
}

// mdUUID formats 16 bytes as mdadm does: four words as they lie.
func mdUUID(b []byte) string {
	return fmt.Sprintf("%x:%x:%x:%x", b[:4], b[4:8], b[8:12], b[12:16])
}

// read reads n bytes, or fails.
func read(ctx context.Context, r io.ReaderAt, off, n int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := make([]byte, n)
	got, err := r.ReadAt(p, off)
	if got == len(p) {
		return p, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return nil, fmt.Errorf("read RAID superblock at byte %d: %w", off, err)
}
