package fat

import (
	"context"
	"fmt"
	"strings"

	"holdfast/fs/guest"
	"holdfast/fs/guest/fat/chain"
)

// rootNode is the root's number: its place lies in the boot sector.
const rootNode = 1

// maxDirectory is the most that a directory takes: 65,536 entries.
const maxDirectory = 65536 * entryLen

// found is one name of a directory.
type found struct {
	name   string
	entry  entry
	node   guest.Node
	cookie uint64 // number of the short entry, and 1
}

// eachPiece calls fn for the pieces of a directory in order, with their places.
func (f *FS) eachPiece(ctx context.Context, cluster uint32, fn func(place int64, b []byte) bool) error {
	if cluster == 0 { // the root of FAT12 and 16
		for at := int64(0); at < f.g.rootLen; {
			n := min(f.g.rootLen-at, pageBytes)
			b, err := f.read(ctx, f.g.rootAt+at, n)
			if err != nil || !fn(f.g.rootAt+at, b) {
				return err
			}
			at += n
		}
		return nil
	}
	limit := uint32(max(maxDirectory/f.g.cluster, 1))
	var failed error
	err := f.table.Each(ctx, cluster, 0, limit, func(r chain.Run) bool {
		for i := range r.Count {
			at := f.g.place(r.Cluster + i)
			var b []byte
			if b, failed = f.read(ctx, at, f.g.cluster); failed != nil || !fn(at, b) {
				return false
			}
		}
		return true
	})
	if failed != nil {
		return failed
	}
	return err
}

// eachFound calls fn for the files of a directory, until fn returns false.
// Names that can't be are passed over, and the first is the error in the end.
func (f *FS) eachFound(ctx context.Context, cluster uint32, fn func(found) bool) error {
	var long longName
	var damage error
	number, more := uint64(0), true
	err := f.eachPiece(ctx, cluster, func(place int64, b []byte) bool {
		for at := 0; at+entryLen <= len(b) && more; at += entryLen {
			raw := b[at:][:entryLen]
			number++
			switch {
			case raw[0] == 0:
				more = false
				continue
			case raw[0] == deleted:
				long = longName{}
				continue
			case raw[11]&attrMask == attrLong:
				long.add(raw)
				continue
			}
			e := parseEntry(raw, f.g.bits)
			name := long.name(&e)
			if name == "" {
				name = e.shortName()
			}
			long = longName{}
			if e.attr&attrLabel != 0 || name == "." || name == ".." {
				continue
			}
			if name == "" || strings.ContainsAny(name, "/\x00") {
				if damage == nil {
					damage = guest.Corrupt("fat: a name that can't be, %.40q, at byte %d", name, place+int64(at))
				}
				continue
			}
			more = fn(found{name, e, guest.Node((place + int64(at)) / entryLen), number + 1})
		}
		return more
	})
	if err != nil {
		return err
	}
	return damage
}

// entry reads the entry of a node.
func (f *FS) entry(ctx context.Context, n guest.Node) (entry, error) {
	if n == rootNode {
		return entry{attr: attrDir, cluster: f.g.rootCluster}, nil
	}
	if n < rootNode || int64(n) >= f.g.size/entryLen || int64(n)*entryLen < min(f.g.rootAt, f.g.dataAt) {
		return entry{}, fmt.Errorf("fat: node %d: %w", n, guest.ErrNotExist)
	}
	b, err := f.read(ctx, int64(n)*entryLen, entryLen)
	if err != nil {
		return entry{}, err
	}
	e := parseEntry(b, f.g.bits)
	if b[0] == 0 || b[0] == deleted || e.attr&attrLabel != 0 {
		return entry{}, fmt.Errorf("fat: node %d: %w", n, guest.ErrNotExist)
	}
	return e, nil
}

// directory reads the entry of a directory and gives its cluster.
func (f *FS) directory(ctx context.Context, n guest.Node) (uint32, error) {
	e, err := f.entry(ctx, n)
	switch {
	case err != nil:
		return 0, err
	case !e.dir():
		return 0, fmt.Errorf("fat: node %d is no directory: %w", n, guest.ErrNotExist)
	case n != rootNode && !f.g.has(e.cluster):
		return 0, guest.Corrupt("fat: the directory at byte %d begins with cluster %d of %d", int64(n)*entryLen, e.cluster, f.g.clusters)
	}
	return e.cluster, nil
}

// Lookup implements guest.Filesystem.
func (f *FS) Lookup(ctx context.Context, dir guest.Node, name string) (guest.Node, error) {
	cluster, err := f.directory(ctx, dir)
	if err != nil {
		return 0, err
	}
	names, err := f.names(ctx, cluster)
	if n, ok := names[name]; ok {
		return n, nil
	}
	if err == nil {
		err = fmt.Errorf("fat: %.260q: %w", name, guest.ErrNotExist)
	}
	return 0, err
}

// maxNamed is how many directories have their names remembered.
const maxNamed = 8

// names gives the names of a directory: of two that are equal the first. With
// an error there may be some as well.
func (f *FS) names(ctx context.Context, cluster uint32) (map[string]guest.Node, error) {
	f.mu.Lock()
	names := f.named[cluster]
	f.mu.Unlock()
	if names != nil {
		return names, nil
	}
	names = map[string]guest.Node{}
	err := f.eachFound(ctx, cluster, func(x found) bool {
		if _, twice := names[x.name]; !twice {
			names[x.name] = x.node
		}
		return true
	})
	if err != nil {
		return names, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.named) >= maxNamed {
		clear(f.named)
	}
	f.named[cluster] = names
	return names, nil
}

// ReadDir implements guest.Filesystem. Names come as they lie on disk.
func (f *FS) ReadDir(ctx context.Context, dir guest.Node, cookie uint64, fn func(guest.Entry) bool) error {
	cluster, err := f.directory(ctx, dir)
	if err != nil {
		return err
	}
	stopped := false
	err = f.eachFound(ctx, cluster, func(x found) bool {
		if x.cookie <= cookie {
			return true
		}
		e := guest.Entry{Name: x.name, Node: x.node, Type: guest.Regular, Cookie: x.cookie}
		if x.entry.dir() {
			e.Type = guest.Directory
		}
		stopped = !fn(e)
		return !stopped
	})
	if stopped {
		return nil
	}
	return err
}
