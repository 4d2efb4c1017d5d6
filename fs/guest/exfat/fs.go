package exfat

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"unicode/utf16"

	"holdfast/fs/guest"
	"holdfast/fs/guest/blockcache"
	"holdfast/fs/guest/fat/chain"
)

const (
	cacheBytes = 4 << 20
	pageBytes  = 64 << 10
)

// FS is an open filesystem. All methods are safe for concurrent use.
type FS struct {
	volume guest.Volume
	g      *geometry
	cache  *blockcache.Cache
	table  chain.Table
	root   stream
	bitmap stream
	state  guest.State
	lax    bool // checksums count as right: for tests of what stands behind them

	mu    sync.Mutex                       // guards named
	named map[uint32]map[string]guest.Node // names of directories, by the first cluster
}

var _ guest.Filesystem = (*FS)(nil)

// Open opens the exFAT filesystem of a volume. Errors: guest.ErrNotMine,
// guest.ErrUnsupported, guest.ErrCorrupt, ctx's, or the volume's own.
func Open(ctx context.Context, v guest.Volume) (*FS, error) {
	return openFS(ctx, &FS{volume: v})
}

func openFS(ctx context.Context, f *FS) (*FS, error) {
	f.cache, f.named = blockcache.New(cacheBytes), map[uint32]map[string]guest.Node{}
	var err error
	if f.g, f.state.Reason, err = readBoot(ctx, f.volume, f.lax); err != nil {
		return nil, err
	}
	f.table.Next, f.table.Clusters = f.step, f.g.clusters
	f.root = stream{cluster: f.g.root, size: min(maxDirectory, int64(f.g.clusters)*f.g.cluster)}
	f.state.Type, f.state.UUID, f.state.Size = "exfat", f.g.id, f.g.size
	if err := f.readRoot(ctx); err != nil {
		return nil, fmt.Errorf("read the root: %w", err)
	}
	if f.g.dirty {
		f.state.Reason = strings.TrimPrefix(f.state.Reason+"; it was not unmounted", "; ")
	}
	f.state.Used, f.state.Block = -1, f.g.cluster
	if used, err := f.countUsed(ctx); err == nil {
		f.state.Used = used
	}
	return f, ctx.Err()
}

// readRoot finds the label and the bitmap (7.1, 7.3).
func (f *FS) readRoot(ctx context.Context) error {
	// Its length is that of its chain.
	size := int64(0)
	if err := f.eachRun(ctx, f.root, 0, func(r chain.Run) bool { size += int64(r.Count) * f.g.cluster; return true }); err != nil {
		return err
	}
	f.root.size = size
	return f.eachEntry(ctx, f.root, func(_ int64, b []byte) bool {
		switch {
		case b[0] == typeLabel && b[1] <= 11:
			var units []uint16
			for i := range int(b[1]) {
				units = append(units, le.Uint16(b[2+2*i:]))
			}
			f.state.Label = string(utf16.Decode(units))
		case b[0] == typeBitmap && (b[1]&1 != 0) == f.g.second:
			f.bitmap = stream{cluster: le.Uint32(b[20:]), size: int64(min(le.Uint64(b[24:]), uint64(f.g.clusters)))}
		}
		return true
	})
}

// State implements guest.Filesystem.
func (f *FS) State() guest.State { return f.state }

// Root implements guest.Filesystem.
func (f *FS) Root() guest.Node { return rootNode }

// read gives n bytes, within a page or an entry, through the cache. They are
// shared.
func (f *FS) read(ctx context.Context, off, n int64) ([]byte, error) {
	page, within := off/pageBytes, off%pageBytes
	b, err := f.cache.Get(ctx, page, func() ([]byte, error) {
		p := make([]byte, min(pageBytes, f.volume.Size()-page*pageBytes))
		return p, guest.ReadFull(ctx, f.volume, p, page*pageBytes)
	})
	if err == nil && within+n <= int64(len(b)) {
		return b[within:][:n:n], nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p := make([]byte, n) // the trouble may lie in a neighbour
	return p, guest.ReadFull(ctx, f.volume, p, off)
}

// step gives what follows a cluster in the FAT.
func (f *FS) step(ctx context.Context, cluster uint32) (uint32, error) {
	b, err := f.read(ctx, f.g.tableAt+int64(cluster)*4, 4)
	if err != nil {
		return 0, err
	}
	return le.Uint32(b), nil
}
