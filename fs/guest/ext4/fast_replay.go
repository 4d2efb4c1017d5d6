package ext4

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"holdfast/fs/guest"
)

// Bounds of a replay: of a changed file's pieces, and of all work, in the time
// that moving one run takes. Searching a block of a directory takes as long as
// moving some hundred runs.
const (
	maxFastRuns  = 1 << 16
	maxFastWork  = 40 << 20
	fastDirBlock = 100
)

// fastReplay applies records. As in the kernel, a record that speaks of an
// inode that is not there is passed over.
type fastReplay struct {
	*fastCommits
	fs   *FS
	work int64
}

// spend counts work, and ends a replay that needs too much.
func (r *fastReplay) spend(n int64) error {
	if r.work += n; r.work > maxFastWork {
		return fmt.Errorf("more changes than can be kept in memory: %w", guest.ErrUnsupported)
	}
	return nil
}

// change gives the changes to an inode, to be added to.
func (r *fastReplay) change(number uint32) *fastInode {
	c := r.inodes[number]
	if c == nil {
		c = &fastInode{}
		r.inodes[number] = c
	}
	return c
}

// apply applies one record.
func (r *fastReplay) apply(ctx context.Context, record fastRecord) error {
	v := record.value
	number := le.Uint32(v)
	switch record.tag {
	case fastAddRange:
		return r.addRange(ctx, number, v[4:])
	case fastDelRange:
		from := uint64(le.Uint32(v[4:]))
		return r.delRange(ctx, number, from, from+uint64(le.Uint32(v[8:])))
	case fastInodeTag:
		return r.inodeRecord(ctx, number, v[4:])
	}
	return r.name(ctx, record.tag, number, le.Uint32(v[4:]), string(v[8:]))
}

// inodeRecord replaces an inode's bytes but for its map, which records of
// ranges change. The map of what has none (a link's target, inline content)
// comes with the bytes.
func (r *fastReplay) inodeRecord(ctx context.Context, number uint32, value []byte) error {
	old, err := r.bytesOf(ctx, number)
	if err != nil {
		return err
	}
	raw := append([]byte(nil), old...)
	copy(raw, value[:inodeMap])
	copy(raw[inodeGeneration:], value[inodeGeneration:])
	if flags := le.Uint32(raw[0x20:]); flags&flagExtents == 0 {
		copy(raw[inodeMap:inodeGeneration], value[inodeMap:])
	} else if le.Uint16(raw[inodeMap:]) != extentMagic {
		clear(raw[inodeMap:inodeGeneration])
		le.PutUint16(raw[inodeMap:], extentMagic)
		le.PutUint16(raw[inodeMap+4:], (inodeMapLen-extentEntry)/extentEntry)
	}
	c := r.change(number)
	c.raw, c.links = raw, 0
	return r.countBlocks(ctx, number)
}

// bytesOf gives an inode's bytes as they are by now.
func (r *fastReplay) bytesOf(ctx context.Context, number uint32) ([]byte, error) {
	if c := r.inodes[number]; c != nil && c.raw != nil {
		return c.raw, nil
	}
	return r.fs.rawInode(ctx, number)
}

// countBlocks sets the number of blocks that a file occupies to those of its
// map: the record's own number is of a map that was not logged.
func (r *fastReplay) countBlocks(ctx context.Context, number uint32) error {
	c := r.inodes[number]
	flags := le.Uint32(c.raw[0x20:])
	if mode := le.Uint16(c.raw) & modeType; flags&flagExtents == 0 || mode != modeFile && mode != modeLink {
		return nil
	}
	if err := r.mapInode(ctx, number, c); err != nil {
		return err
	}
	sectors := c.allocated() * uint64(r.fs.sb.blockSize) / 512
	le.PutUint32(c.raw[0x1c:], uint32(sectors))
	if r.fs.sb.ro&roHugeFile != 0 {
		le.PutUint16(c.raw[0x74:], uint16(sectors>>32))
	}
	le.PutUint32(c.raw[0x20:], flags&^flagHugeFile)
	return nil
}

// present reads an inode, nil if it is not in use.
func (r *fastReplay) present(ctx context.Context, number uint32) (*inode, error) {
	in, err := r.fs.inode(ctx, guest.Node(number))
	if errors.Is(err, guest.ErrNotExist) || errors.Is(err, guest.ErrCorrupt) {
		return nil, nil
	}
	return in, err
}

// mapInode turns an inode's map into a list of runs, once.
func (r *fastReplay) mapInode(ctx context.Context, number uint32, c *fastInode) error {
	if c.mapped {
		return nil
	}
	in, err := r.fs.anyInode(ctx, number)
	if err != nil {
		return err
	}
	if in.flags&flagExtents == 0 {
		return guest.Corrupt("ext4 inode %d: a range of a file without extents", number)
	}
	err = r.fs.eachMapped(ctx, in, func(m run) bool {
		c.runs = append(c.runs, m)
		return len(c.runs) < maxFastRuns
	})
	if err == nil && len(c.runs) == maxFastRuns {
		err = guest.Corrupt("ext4 inode %d: a file in more than %d pieces", number, maxFastRuns)
	}
	if err == nil {
		c.mapped = true
		err = r.spend(int64(len(c.runs)))
	}
	return err
}

// eachMapped calls fn for what a file maps, blocks set aside among it.
func (f *FS) eachMapped(ctx context.Context, in *inode, fn func(run) bool) error {
	for block := uint64(0); block < maxLogical; {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := f.mapBlock(ctx, in, block)
		if err != nil {
			return err
		}
		block = m.end()
		if (!m.hole || m.unwritten) && !fn(m) {
			return nil
		}
	}
	return nil
}

func (r *fastReplay) addRange(ctx context.Context, number uint32, extent []byte) error {
	in, err := r.present(ctx, number)
	if in == nil || err != nil {
		return err
	}
	m, err := r.fs.mapLeaf(in, extent, uint64(le.Uint32(extent)), maxLogical)
	if err != nil {
		return err
	}
	c := r.change(number)
	if err := r.mapInode(ctx, number, c); err != nil {
		return err
	}
	r.used = append(r.used, blockRange{m.place, m.place + m.count})
	c.put(m)
	return r.spend(int64(len(c.runs)))
}

func (r *fastReplay) delRange(ctx context.Context, number uint32, from, to uint64) error {
	in, err := r.present(ctx, number)
	if in == nil || err != nil {
		return err
	}
	c := r.change(number)
	if err := r.mapInode(ctx, number, c); err != nil {
		return err
	}
	c.cut(from, to)
	return r.spend(int64(len(c.runs)))
}

// name applies a record of a name in a directory.
func (r *fastReplay) name(ctx context.Context, tag uint16, parent, number uint32, name string) error {
	in, err := r.present(ctx, number)
	if in == nil || err != nil {
		return err
	}
	dir, err := r.present(ctx, parent)
	if dir == nil || err != nil || !dir.is(modeDir) {
		return err
	}
	if dir.encrypted() {
		return guest.Corrupt("ext4 directory %d: a fast commit of an encrypted name", parent)
	}
	if strings.ContainsAny(name, "/\x00") {
		return guest.Corrupt("ext4 directory %d: a fast commit of the name %q", parent, name)
	}
	found, err := r.find(ctx, dir, name)
	if err != nil && !errors.Is(err, guest.ErrNotExist) {
		return err
	}
	if tag == fastUnlink {
		r.unlink(parent, in, found, name)
	} else {
		r.link(tag, parent, in, found, name)
	}
	return nil
}

// find looks a name up as FS.find does, and counts the work.
func (r *fastReplay) find(ctx context.Context, dir *inode, name string) (dirent, error) {
	known := dir.changes != nil && (dir.changes.fresh || dir.changes.removed([]byte(name)))
	if known || r.fs.indexed(dir) {
		if err := r.spend(5 * fastDirBlock); err != nil {
			return dirent{}, err
		}
		if known {
			return r.fs.find(ctx, dir, name)
		}
		if e, err := r.fs.findIndexed(ctx, dir, name); !isBadIndex(err) {
			return e, err
		}
	}
	blocks := min(dir.size/int64(r.fs.sb.blockSize), int64(r.fs.sb.blocks))
	if err := r.spend((blocks + 1) * fastDirBlock); err != nil {
		return dirent{}, err
	}
	return r.fs.findListed(ctx, dir, name)
}

// unlink takes a name away, if it still leads to the inode. With its last name
// the file goes, and its map.
func (r *fastReplay) unlink(parent uint32, in *inode, found dirent, name string) {
	if found.inode == 0 {
		return
	}
	if found.inode == in.number {
		r.change(parent).setName(name, 0)
	}
	c := r.change(in.number)
	c.links--
	if in.links <= 1 {
		c.mapped, c.runs = true, nil
	}
}

// link adds a name, if there is none. What is created has one link, or as a
// directory two, and is one of its parent's.
func (r *fastReplay) link(tag uint16, parent uint32, in *inode, found dirent, name string) {
	c := r.change(in.number)
	if found.inode == 0 {
		r.change(parent).setName(name, in.number)
	}
	switch {
	case tag == fastCreate && in.is(modeDir):
		c.fresh = true
		c.links += 2 - int(in.links)
		r.change(parent).links++
	case tag == fastCreate:
		c.links += 1 - int(in.links)
	case found.inode == 0:
		c.links++
	}
}
