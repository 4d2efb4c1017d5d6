package heal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"holdfast/chunkstore"
	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/fs/guest"
	"holdfast/fs/guest/readers"
	"holdfast/fs/guest/volume"
)

// HurtFile is a guest's file of which a part lies in a damaged chunk.
type HurtFile struct {
	VM      string `json:"vm"`
	Version string `json:"version"`
	Disk    string `json:"disk"` // the first that its volume lies on
	Volume  string `json:"volume"`
	Path    string `json:"path,omitempty"` // in the volume; "": its name was not found
	Node    uint64 `json:"node"`
	Offset  int64  `json:"offset"` // in the file, of the first hurt byte
	Length  int64  `json:"length"` // hurt bytes in all
	Problem string `json:"problem,omitempty"`
}

const (
	maxHurtFiles    = 10000   // in a report
	maxHurtVersions = 64      // whose guests are looked into, the newest of each VM first
	maxNames        = 1 << 20 // directory entries that are read for a volume's names
	guestCache      = 16 << 20
)

// Versions is what of a store leads to the guests' files: a store itself, or its
// owner's other side.
type Versions interface {
	chunkstore.Getter
	chunkstore.Roots
}

// GuestFiles names the guest files that lie in the hurt ranges of a report. It
// looks into at most 64 versions, and reads their filesystems' metadata only; a
// filesystem whose own structures are hurt is told of by a file without a name.
func GuestFiles(ctx context.Context, store Versions, r *HurtReport) error {
	byVersion := map[[2]string][]Use{}
	for _, c := range r.Chunks {
		for _, u := range c.Uses {
			if u.Kind == UseManifest {
				continue
			}
			k := [2]string{u.VM, u.Version}
			byVersion[k] = append(byVersion[k], u)
		}
	}
	var order [][2]string
	for k := range byVersion {
		order = append(order, k)
	}
	sort.Slice(order, func(i, j int) bool {
		return order[i][1] > order[j][1] || order[i][1] == order[j][1] && order[i][0] < order[j][0]
	})
	for i, k := range order {
		if i >= maxHurtVersions || len(r.Files) >= maxHurtFiles {
			r.Unlisted += len(order) - i
			return ctx.Err()
		}
		v, err := catalog.Get(ctx, store, k[0], k[1])
		if err == nil {
			err = guestFilesOf(ctx, store, v, byVersion[k], r)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.Files = append(r.Files, HurtFile{VM: k[0], Version: k[1], Problem: err.Error()})
		}
	}
	return nil
}

// guestFilesOf looks into one version.
func guestFilesOf(ctx context.Context, store Versions, v *catalog.Version, uses []Use, r *HurtReport) error {
	chunks, err := cache.New(store, cache.Options{Bytes: guestCache})
	if err != nil {
		return err
	}
	defer chunks.Close()
	maps := disk.NewMaps(store, guestCache)
	var disks []volume.Disk
	for i := range v.Disks {
		rd, err := disk.Open(chunks, maps, v.Disks[i].Map)
		if err != nil {
			return fmt.Errorf("disk %q: %w", v.Disks[i].Name, err)
		}
		disks = append(disks, volume.Disk{Name: v.Disks[i].Name, Volume: rd})
	}
	layout, err := volume.Find(ctx, disks)
	if err != nil {
		return err
	}
	hurt := map[string]ranges{}
	for _, u := range uses {
		hurt[u.Disk] = append(hurt[u.Disk], guest.Range{Offset: u.Offset, Length: u.Length})
	}
	for _, vol := range layout.Volumes {
		if !readers.Knows(vol.Type) || vol.State == volume.Member || vol.Device == nil || len(vol.Disks()) == 0 {
			continue
		}
		in, err := hurtIn(vol, hurt)
		if len(in) == 0 && err == nil {
			continue
		}
		var list []HurtFile
		if err == nil {
			list, err = filesIn(ctx, vol, in)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			list = append(list, HurtFile{Problem: err.Error()})
		}
		for _, f := range list {
			if len(r.Files) >= maxHurtFiles {
				r.Unlisted++
				continue
			}
			f.VM, f.Version, f.Disk, f.Volume = v.VM, v.ID, vol.Disks()[0], vol.Name
			r.Files = append(r.Files, f)
		}
	}
	return nil
}

// ranges are runs of bytes, in order and apart once sorted.
type ranges []guest.Range

// sorted puts the ranges in order and makes one of those that touch.
func (r ranges) sorted() ranges {
	slices.SortFunc(r, func(a, b guest.Range) int {
		switch {
		case a.Offset < b.Offset:
			return -1
		case a.Offset > b.Offset:
			return 1
		}
		return 0
	})
	out := r[:0]
	for _, x := range r {
		if n := len(out); n > 0 && x.Offset <= out[n-1].Offset+out[n-1].Length {
			out[n-1].Length = max(out[n-1].Length, x.Offset+x.Length-out[n-1].Offset)
			continue
		}
		out = append(out, x)
	}
	return out
}

// common calls fn for what the ranges, which are sorted, have of [off, off+n).
func (r ranges) common(off, n int64, fn func(off, n int64)) {
	i := sort.Search(len(r), func(i int) bool { return r[i].Offset+r[i].Length > off })
	for ; i < len(r) && r[i].Offset < off+n; i++ {
		from, to := max(off, r[i].Offset), min(off+n, r[i].Offset+r[i].Length)
		fn(from, to-from)
	}
}

// hurtIn returns the ranges of a volume that lie in hurt ranges of its disks.
func hurtIn(vol *volume.Volume, hurt map[string]ranges) (ranges, error) {
	for d := range hurt {
		hurt[d] = hurt[d].sorted()
	}
	var in ranges
	err := vol.EachRun(0, vol.Size(), func(run volume.Run) bool {
		hurt[run.Disk].common(run.DiskOffset, run.Length, func(off, n int64) {
			in = append(in, guest.Range{Offset: run.Offset + off - run.DiskOffset, Length: n})
		})
		return len(in) < maxHurt
	})
	return in.sorted(), err
}

// filesIn lists the files of a volume that lie in ranges of it.
func filesIn(ctx context.Context, vol *volume.Volume, in ranges) ([]HurtFile, error) {
	fsys, err := readers.Open(ctx, vol)
	if err != nil {
		return nil, err
	}
	found := map[guest.Node]*HurtFile{}
	err = fsys.Files(ctx, func(n guest.Node, _ int64, e guest.Extent) bool {
		in.common(e.Place, e.Length, func(off, length int64) {
			f := found[n]
			if f == nil {
				f = &HurtFile{Node: uint64(n), Offset: e.Offset + off - e.Place}
				found[n] = f
			}
			f.Offset = min(f.Offset, e.Offset+off-e.Place)
			f.Length += length
		})
		return len(found) < maxHurtFiles
	})
	if len(found) > 0 {
		err = errors.Join(err, nameFiles(ctx, fsys, found))
	}
	var list []HurtFile
	for _, f := range found {
		list = append(list, *f)
	}
	slices.SortFunc(list, func(a, b HurtFile) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return int(a.Node) - int(b.Node)
	})
	return list, err
}

// nameFiles finds the paths of files by reading directories, breadth first,
// until all have one or maxNames entries were read. Directories that can't be
// read are passed over: what they name stays without a name.
func nameFiles(ctx context.Context, fsys guest.Filesystem, found map[guest.Node]*HurtFile) error {
	type dir struct {
		node guest.Node
		path string
	}
	queue, seen := []dir{{fsys.Root(), ""}}, map[guest.Node]bool{fsys.Root(): true}
	left, names := len(found), 0
	for len(queue) > 0 && left > 0 && names < maxNames && ctx.Err() == nil {
		d := queue[0]
		queue = queue[1:]
		// A directory that can't be read has its own place in the report: its
		// chunk is damaged.
		_ = fsys.ReadDir(ctx, d.node, 0, func(e guest.Entry) bool {
			names++
			path := d.path + "/" + e.Name
			if f := found[e.Node]; f != nil && f.Path == "" {
				f.Path = path
				left--
			}
			if (e.Type == guest.Directory || e.Type == 0) && !seen[e.Node] {
				seen[e.Node] = true
				queue = append(queue, dir{e.Node, path})
			}
			return names < maxNames && left > 0
		})
	}
	return ctx.Err()
}
