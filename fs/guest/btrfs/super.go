package btrfs

import (
	"bytes"
	"context"
	"fmt"

	"holdfast/fs/guest"
)

// superblock is what the reader needs of it (btrfs_super_block):
//
//	0 checksum 32  32 fsid  48 place  56 flags  64 magic  72 generation
//	80 root tree  88 chunk tree  96 log tree  112 bytes  120 bytes in use
//	136 devices  144 sector size 4  148 node size 4  160 bytes of system chunks 4
//	164 generation of the chunk tree  180 compat ro  188 incompat
//	196 kind of checksum 2  198 level of the root, chunk and log tree 1 each
//	201 this device 98  299 label 256  571 metadata uuid  811 system chunks
//
// and of the item of a device:
//
//	0 number  8 bytes  16 bytes in use  66 uuid  82 fsid
type superblock struct {
	generation           uint64
	root, chunks, log    pointer
	totalBytes, used     uint64
	deviceCount          uint64
	sectorSize, nodeSize uint64
	compatRO, incompat   uint64
	sums                 sumKind
	fsid, metadataID     [16]byte
	label                string
	systemChunks         []byte
	device               deviceItem
}

// deviceItem is what the filesystem says of one of its devices.
type deviceItem struct {
	number uint64
	bytes  uint64
	uuid   [16]byte
}

const (
	superLen       = 4096
	superMagic     = "_BHRfS_M"
	deviceItemLen  = 98
	systemChunksAt = 811
	maxSystem      = 2048
	maxLevel       = 8 // levels of a tree
)

// superPlaces are where a device has its superblock and the copies of it.
var superPlaces = [...]int64{64 << 10, 64 << 20, 256 << 30}

// readSuper reads a device's superblock. The first place is the one that is
// written first and that the kernel mounts by; where it is damaged, the newest
// of the copies counts. With lax, checksums count as right.
func readSuper(ctx context.Context, v guest.Volume, lax bool) (*superblock, error) {
	var best *superblock
	failed := guest.ErrNotMine
	for i, off := range superPlaces {
		if v.Size() < off+superLen {
			break
		}
		sb, err := readSuperAt(ctx, v, off, lax)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && (failed == guest.ErrNotMine || i == 0):
			failed = err
		case err == nil && i == 0:
			return sb, nil
		case err == nil && (best == nil || sb.generation > best.generation):
			best = sb
		}
	}
	if best != nil {
		return best, nil
	}
	return nil, failed
}

func readSuperAt(ctx context.Context, v guest.Volume, off int64, lax bool) (*superblock, error) {
	b := make([]byte, superLen)
	if err := guest.ReadFull(ctx, v, b, off); err != nil {
		return nil, err
	}
	if string(b[64:72]) != superMagic || le.Uint64(b[48:]) != uint64(off) {
		return nil, guest.ErrNotMine
	}
	return parseSuper(b, lax)
}

// parseSuper verifies a superblock and takes it apart.
func parseSuper(b []byte, lax bool) (*superblock, error) {
	kind := le.Uint16(b[196:])
	if int(kind) >= len(sumKinds) {
		return nil, fmt.Errorf("btrfs with checksums of kind %d: %w", kind, guest.ErrUnsupported)
	}
	sb := &superblock{
		generation: le.Uint64(b[72:]), totalBytes: le.Uint64(b[112:]), used: le.Uint64(b[120:]), deviceCount: le.Uint64(b[136:]),
		sectorSize: uint64(le.Uint32(b[144:])), nodeSize: uint64(le.Uint32(b[148:])),
		compatRO: le.Uint64(b[180:]), incompat: le.Uint64(b[188:]), sums: sumKinds[kind],
		fsid: [16]byte(b[32:]), metadataID: [16]byte(b[32:]), label: string(bytes.TrimRight(b[299:555], "\x00")),
		device: parseDevice(b[201:]),
	}
	if !lax && !sb.sums.fits(b[32:], b) {
		return nil, guest.Corrupt("btrfs superblock: its checksum is wrong")
	}
	if unknown := sb.incompat &^ readableIncompat; unknown != 0 {
		return nil, fmt.Errorf("btrfs with features %s: %w", nameFeatures(unknown), guest.ErrUnsupported)
	}
	if sb.incompat&incompatMetadataID != 0 {
		sb.metadataID = [16]byte(b[571:])
	}
	sb.root = pointer{le.Uint64(b[80:]), sb.generation, b[198]}
	sb.chunks = pointer{le.Uint64(b[88:]), le.Uint64(b[164:]), b[199]}
	sb.log = pointer{le.Uint64(b[96:]), sb.generation + 1, b[200]}
	return sb, sb.check(b)
}

// check holds sizes against each other: later bounds rest on them.
func (sb *superblock) check(b []byte) error {
	power := func(n, low, high uint64) bool { return n >= low && n <= high && n&(n-1) == 0 }
	length := le.Uint32(b[160:])
	switch {
	case !power(sb.sectorSize, 4096, 64<<10) || !power(sb.nodeSize, sb.sectorSize, 64<<10):
		return guest.Corrupt("btrfs superblock: sectors of %d bytes, nodes of %d", sb.sectorSize, sb.nodeSize)
	case sb.root.level >= maxLevel || sb.chunks.level >= maxLevel || sb.log.level >= maxLevel:
		return guest.Corrupt("btrfs superblock: trees of %d, %d and %d levels", sb.root.level, sb.chunks.level, sb.log.level)
	case length > maxSystem:
		return guest.Corrupt("btrfs superblock: %d bytes of system chunks", length)
	case sb.totalBytes > 1<<62 || sb.used > sb.totalBytes || sb.device.bytes > sb.totalBytes:
		return guest.Corrupt("btrfs superblock: %d bytes of %d are in use, %d are on this device", sb.used, sb.totalBytes, sb.device.bytes)
	case sb.generation > 1<<62:
		return guest.Corrupt("btrfs superblock: generation %d", sb.generation)
	}
	sb.systemChunks = append([]byte(nil), b[systemChunksAt:][:length]...)
	return nil
}

func parseDevice(b []byte) deviceItem {
	return deviceItem{number: le.Uint64(b), bytes: le.Uint64(b[8:]), uuid: [16]byte(b[66:])}
}

func formatID(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
