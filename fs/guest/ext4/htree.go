package ext4

import (
	"context"
	"errors"

	"holdfast/fs/guest"
)

// A hash tree (Hash Tree Directories) lies in the directory's own blocks. The
// root, block 0, holds the records . and .., the second of which reaches to
// the block's end and hides what follows; any other node begins with an empty
// record of its whole length.
//
//	0x18  root only: zeros 4, hash version 1, length of this 1 (8), levels 1, flags 1
//	0x20  (0x08 in a node) room 2, entries 2, block 4: the first entry, without a hash
//	…     hash 4, block 4 for each further entry, in order
//	end   with metadata_csum, behind the room for entries: zeros 4, checksum 4
//
// An odd hash says that the block goes on with names of the hash before.
const (
	indexRoot  = 0x20
	indexNode  = 0x08
	indexEntry = 8
)

// errBadIndex says that a hash tree can't be used; the list of names can.
var errBadIndex = errors.New("hash tree can't be used")

func isBadIndex(err error) bool { return errors.Is(err, errBadIndex) }

// checkIndexSum verifies a node of a hash tree: its bytes up to the last
// entry, then the tail without the checksum itself.
func checkIndexSum(in *inode, b []byte, root bool) bool {
	at := indexNode
	if root {
		at = indexRoot
	}
	room, entries := int(le.Uint16(b[at:])), int(le.Uint16(b[at+2:]))
	tail := at + room*indexEntry
	if entries > room || tail+8 > len(b) {
		return false
	}
	sum := crc32c(in.seed, b[:at+entries*indexEntry])
	return crc32cZeros(crc32c(sum, b[tail:tail+4]), 4) == le.Uint32(b[tail+4:])
}

// indexLevel is a node on the way down, and the entry that was taken.
type indexLevel struct {
	entries []byte // 8 bytes each
	taken   int
}

func (l indexLevel) hash(i int) uint32 { return le.Uint32(l.entries[indexEntry*i:]) }

// block is the logical block that the taken entry leads to.
func (l indexLevel) block() uint64 {
	return uint64(le.Uint32(l.entries[indexEntry*l.taken+4:]) & 0x0fffffff)
}

// take chooses the last entry whose hash is not above.
func (l *indexLevel) take(hash uint32) {
	low, high := 1, len(l.entries)/indexEntry
	for low < high {
		if mid := (low + high) / 2; l.hash(mid) <= hash {
			low = mid + 1
		} else {
			high = mid
		}
	}
	l.taken = low - 1
}

// index reads the entries of a node.
func (f *FS) index(ctx context.Context, in *inode, block uint64, at int) ([]byte, error) {
	b, err := f.dirBlock(ctx, in, block)
	if err != nil {
		return nil, err
	}
	room, entries := int(le.Uint16(b[at:])), int(le.Uint16(b[at+2:]))
	if entries == 0 || entries > room || at+entries*indexEntry > len(b) {
		return nil, errBadIndex
	}
	return b[at:][:entries*indexEntry], nil
}

// dirBlock reads and verifies a logical block of a directory; damage makes the
// tree unusable.
func (f *FS) dirBlock(ctx context.Context, in *inode, block uint64) ([]byte, error) {
	if block >= uint64(in.size)/uint64(f.sb.blockSize) {
		return nil, errBadIndex
	}
	r, err := f.mapBlock(ctx, in, block)
	if err != nil {
		return nil, err
	}
	if r.hole {
		return nil, errBadIndex
	}
	b, err := f.checkedDirBlock(ctx, in, block, r.place)
	if errors.Is(err, guest.ErrCorrupt) {
		return nil, errBadIndex
	}
	return b, err
}

// findIndexed looks a name up in the hash tree.
func (f *FS) findIndexed(ctx context.Context, in *inode, name string) (dirent, error) {
	hash, path, err := f.descendIndex(ctx, in, name)
	if err != nil {
		return dirent{}, err
	}
	// Names of one hash may go on in the next leaves; there are no more leaves
	// than blocks, whatever the entries say.
	for budget := in.size / int64(f.sb.blockSize); budget > 0; budget-- {
		e, err := f.findInLeaf(ctx, in, path[len(path)-1].block(), name)
		if err != nil || e.inode != 0 {
			return e, err
		}
		if more, err := f.nextLeaf(ctx, in, path, hash); err != nil || !more {
			return dirent{}, errors.Join(err, guest.ErrNotExist)
		}
	}
	return dirent{}, errBadIndex
}

// descendIndex walks from the root to the leaf where a name belongs.
func (f *FS) descendIndex(ctx context.Context, in *inode, name string) (uint32, []indexLevel, error) {
	root, err := f.dirBlock(ctx, in, 0)
	if err != nil {
		return 0, nil, err
	}
	info := root[0x18:]
	hash, ok := f.sb.hashName(info[4], name)
	levels, maxLevels := int(info[6]), 1
	if f.sb.incompat&incompatLargeDir != 0 {
		maxLevels = 2
	}
	if !ok || info[5] != 8 || info[7]&1 != 0 || levels > maxLevels {
		return 0, nil, errBadIndex
	}
	var path []indexLevel
	block, at := uint64(0), indexRoot
	for range levels + 1 {
		entries, err := f.index(ctx, in, block, at)
		if err != nil {
			return 0, nil, err
		}
		level := indexLevel{entries: entries}
		level.take(hash)
		path = append(path, level)
		block, at = level.block(), indexNode
	}
	return hash, path, nil
}

// nextLeaf moves path to the next leaf, if that goes on with names of hash.
func (f *FS) nextLeaf(ctx context.Context, in *inode, path []indexLevel, hash uint32) (bool, error) {
	depth := len(path) - 1
	for ; ; depth-- {
		if depth < 0 {
			return false, nil
		}
		if l := &path[depth]; l.taken+1 < len(l.entries)/indexEntry {
			l.taken++
			break
		}
	}
	if path[depth].hash(path[depth].taken)&^1 != hash {
		return false, nil
	}
	for ; depth < len(path)-1; depth++ {
		entries, err := f.index(ctx, in, path[depth].block(), indexNode)
		if err != nil {
			return false, err
		}
		path[depth+1] = indexLevel{entries: entries}
	}
	return true, nil
}

// findInLeaf searches one block.
func (f *FS) findInLeaf(ctx context.Context, in *inode, block uint64, name string) (dirent, error) {
	b, err := f.dirBlock(ctx, in, block)
	if err != nil {
		return dirent{}, err
	}
	var found dirent
	_, err = f.eachRecord(in, b, int64(block)*int64(f.sb.blockSize), func(e dirent) bool {
		if string(e.name) == name {
			found = e
		}
		return found.inode == 0
	})
	if err != nil && found.inode == 0 {
		return dirent{}, errBadIndex
	}
	return found, nil
}
