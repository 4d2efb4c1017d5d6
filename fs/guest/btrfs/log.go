package btrfs

import (
	"context"
	"fmt"
	"slices"

	"holdfast/fs/guest"
)

// The log holds what was synced since the last commit, as parts of the trees of
// files. Its own tree of trees has a log for each subvolume that has one: the
// items of its inodes as they shall be, checksums of new content, and for
// directories the ranges of entries that are whole in it, so that what the
// subvolume has there and the log has not was deleted.
const (
	maxReplay = 48 << 20 // bytes of all changes
	maxPinned = 1 << 20
	maxLogs   = 4096
)

// logged is what was replayed.
type logged struct {
	trees  map[uint64]*changes // by the subvolume
	logs   []*tree             // for their checksums
	pinned []span              // the log's own nodes and extents, in order; they are in use
}

// span is a run of the logical space.
type span struct{ start, end uint64 }

// recover replays the log, if there is one, and notes how that went.
func (f *FS) recover(ctx context.Context) error {
	if f.sb.log.block == 0 {
		return nil
	}
	err := f.replay(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	clear(f.trees)
	if err != nil {
		f.log = nil
		f.state.Health = guest.NotReplayed
		f.note("%v", err)
		return nil
	}
	f.state.Health, f.state.Replayed = guest.Replayed, len(f.log.logs)
	return nil
}

// replay replays all logs.
func (f *FS) replay(ctx context.Context) error {
	f.log = &logged{trees: map[uint64]*changes{}}
	logs, err := f.findLogs(ctx)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	bytes := 0
	for _, log := range logs {
		id := log.dir
		if err := f.pin(ctx, log); err != nil {
			return fmt.Errorf("read the log of subvolume %d: %w", id, err)
		}
		dest, err := f.volume(ctx, id)
		if isAbsent(err) {
			continue // the subvolume was deleted
		}
		if err != nil {
			return err
		}
		dest.changes = &changes{}
		r := replayer{ctx: ctx, fs: f, log: log, dest: dest, fixup: map[uint64]bool{}, budget: maxReplay - bytes}
		if err := r.all(); err != nil {
			return fmt.Errorf("replay the log of subvolume %d: %w", id, err)
		}
		bytes += dest.changes.bytes
		f.log.trees[id] = dest.changes
		f.log.logs = append(f.log.logs, log)
	}
	slices.SortFunc(f.log.pinned, func(a, b span) int { return compareKeys(key{object: a.start}, key{object: b.start}) })
	return nil
}

// findLogs lists the logs; each one's dir is the number of its subvolume.
func (f *FS) findLogs(ctx context.Context) ([]*tree, error) {
	var logs []*tree
	var failed error
	w := walk{ctx: ctx, fs: f, tree: &tree{id: treeLog, root: f.sb.log}, seen: f.pinNode, fn: func(k key, item []byte) bool {
		if k.is(treeLog, kindRoot) {
			var t *tree
			if t, failed = parseRoot(treeLog, item); failed == nil {
				t.dir = k.offset
				logs = append(logs, t)
			}
		}
		return failed == nil && len(logs) < maxLogs
	}}
	if err := w.all(); err != nil {
		return nil, err
	}
	if len(logs) == maxLogs {
		failed = guest.Corrupt("btrfs: %d logs", maxLogs)
	}
	return logs, failed
}

// pin notes what a log takes of the volume: its nodes, and new extents. No
// other tree names them.
func (f *FS) pin(ctx context.Context, log *tree) error {
	w := walk{ctx: ctx, fs: f, tree: log, seen: f.pinNode, fn: func(k key, item []byte) bool {
		if k.kind == kindExtentData && len(item) >= extentLen && item[20] != extentInline {
			if place, n := le.Uint64(item[21:]), le.Uint64(item[29:]); place != 0 && place < 1<<62 && n < 1<<62 {
				f.log.pinned = append(f.log.pinned, span{place, place + n})
			}
		}
		return len(f.log.pinned) < maxPinned
	}}
	if err := w.all(); err != nil {
		return err
	}
	if len(f.log.pinned) >= maxPinned {
		return fmt.Errorf("btrfs: a log with more than %d extents: %w", maxPinned, guest.ErrUnsupported)
	}
	return nil
}

func (f *FS) pinNode(p pointer) {
	f.log.pinned = append(f.log.pinned, span{p.block, p.block + f.sb.nodeSize})
}
