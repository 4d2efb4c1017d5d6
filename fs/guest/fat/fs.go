package fat

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"holdfast/fs/guest"
	"holdfast/fs/guest/blockcache"
	"holdfast/fs/guest/fat/chain"
)

// FS is an open filesystem. All methods are safe for concurrent use.
type FS struct {
	volume guest.Volume
	g      *geometry
	cache  *blockcache.Cache
	state  guest.State
	// Why its free space is not told:
	dirty    bool // it was not unmounted
	mirrored bool // the first FAT is damaged, the second one is used

	table chain.Table

	mu    sync.Mutex                       // guards named
	named map[uint32]map[string]guest.Node // names of directories, by the first cluster
}

var _ guest.Filesystem = (*FS)(nil)

// Open opens the FAT filesystem of a volume. Errors: guest.ErrNotMine,
// guest.ErrUnsupported, guest.ErrCorrupt, ctx's, or the volume's own.
func Open(ctx context.Context, v guest.Volume) (*FS, error) {
	if v.Size() < bootLen {
		return nil, guest.ErrNotMine
	}
	f := &FS{volume: v, cache: blockcache.New(cacheBytes), named: map[uint32]map[string]guest.Node{}}
	b, err := f.read(ctx, 0, bootLen)
	if err != nil {
		return nil, err
	}
	if f.g, err = parseBoot(b, v.Size()); err != nil {
		return nil, err
	}
	f.table.Next, f.table.Clusters = f.step, f.g.clusters
	if err := f.checkTable(ctx); err != nil {
		return nil, err
	}
	if f.g.bits == 32 && !f.g.has(f.g.rootCluster) {
		return nil, guest.Corrupt("fat: the root begins with cluster %d of %d", f.g.rootCluster, f.g.clusters)
	}
	return f, f.describe(ctx)
}

// describe fills in the state.
func (f *FS) describe(ctx context.Context) error {
	f.state.Type, f.state.UUID, f.state.Label = fmt.Sprint("fat", f.g.bits), f.g.id, f.g.label
	f.state.Size, f.state.Used, f.state.Block = f.g.size, -1, f.g.cluster
	if f.state.Label == "NO NAME" {
		f.state.Label = ""
	}
	err := f.eachPiece(ctx, f.g.rootCluster, func(_ int64, b []byte) bool {
		for ; len(b) >= entryLen; b = b[entryLen:] {
			if b[0] == 0 {
				return false
			}
			if b[0] != deleted && b[11]&attrMask != attrLong && b[11]&(attrLabel|attrDir) == attrLabel {
				f.state.Label = strings.TrimRight(decodeShort(b[:11]), " ")
				return false
			}
		}
		return true
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("read the root: %w", err)
	}
	clean, err := f.next(ctx, 1) // of FAT16 and 32
	if err != nil {
		return err
	}
	mark := map[int]uint32{12: 0, 16: 0x8000, 32: 0x08000000}[f.g.bits]
	if f.dirty = f.g.dirty || clean&mark != mark; f.dirty {
		f.state.Reason = strings.TrimPrefix(f.state.Reason+"; it was not unmounted", "; ")
	}
	return nil
}

// State implements guest.Filesystem.
func (f *FS) State() guest.State { return f.state }

// Root implements guest.Filesystem.
func (f *FS) Root() guest.Node { return rootNode }
