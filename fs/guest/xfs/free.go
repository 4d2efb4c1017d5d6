package xfs

import (
	"context"
	"errors"
	"fmt"

	"holdfast/fs/guest"
)

// Free implements guest.Filesystem from the B+trees of free space after
// replay; the blocks of their own free list, which is for the trees to grow,
// are in use, and so are those that an unfinished intent would free. Nothing
// is free behind the first damage in an AG's tree; the walk goes on with the
// next AG and ends with the first damage as its error. guest.ErrUnsupported
// for a volume whose log could not be replayed, that needs xfs_repair, or that
// has features unknown here that change the use of blocks.
func (f *FS) Free(ctx context.Context, fn func(guest.Range) bool) error {
	switch {
	case f.state.Health == guest.NotReplayed:
		return fmt.Errorf("free space with a log that was not replayed is %w", guest.ErrUnsupported)
	case f.sb.incompat&incompatNeedsRepair != 0:
		return fmt.Errorf("free space of a filesystem that needs xfs_repair is %w", guest.ErrUnsupported)
	case f.sb.compatRO&^readableCompatRO != 0:
		return fmt.Errorf("free space with read-only compatible features %#x is %w", f.sb.compatRO&^readableCompatRO, guest.ErrUnsupported)
	}
	var damage error
	for number := range f.sb.groups {
		more, err := f.freeInGroup(ctx, number, fn)
		if err != nil && !errors.Is(err, guest.ErrCorrupt) {
			return err
		}
		if !more && err == nil {
			return nil
		}
		if damage == nil {
			damage = err
		}
	}
	return damage
}

// freeInGroup gives the free ranges of one AG.
func (f *FS) freeInGroup(ctx context.Context, number uint32, fn func(guest.Range) bool) (more bool, err error) {
	g, err := f.freeGroup(ctx, number)
	if err != nil {
		return false, err
	}
	// The headers are never free: superblock, AGF, AGI, AGFL.
	end := uint64(max(4*f.sb.sectorSize>>f.sb.blockLog, 1))
	more = true
	err = f.eachRecord(ctx, treeFree, g, func(record []byte) (bool, error) {
		start, count := uint64(be.Uint32(record)), uint64(be.Uint32(record[4:]))
		if start < end || count == 0 || start+count > uint64(g.length) {
			return false, guest.Corrupt("xfs AG %d: %d blocks are free at %d, behind %d of %d", number, count, start, end, g.length)
		}
		end = start + count
		more = fn(guest.Range{Offset: f.sb.groupStart(number) + int64(start)<<f.sb.blockLog, Length: int64(count) << f.sb.blockLog})
		return more, ctx.Err()
	})
	return more, err
}
