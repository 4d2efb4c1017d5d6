package fs

import (
	"context"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/fs/image"
)

// Who reads a mount first waits for much that is not what he reads: for the pages of
// this program that reading takes, for region maps, for packs to be opened. Measured,
// all cold: 8 ms for the first read, 1 to 5 for each of the next few, where one takes
// 0.1 to 0.2 later. So a mount reads a little itself as soon as it answers. It is of
// those versions that are likeliest to be read: the newest ones, where there are few VMs.
const (
	rehearseVMs   = 8       // the first by name, and no more
	rehearseBytes = 2 << 30 // of data on the disks whose maps are loaded: they take 30 ms and 5 MiB
	rehearseReads = 4       // of each disk, spread over it
)

// rehearse does what first reads would wait for, until somebody reads or ctx ends. Errors
// show when the bytes are read.
func (t *tree) rehearse(ctx context.Context) {
	defer func() {
		if what := recover(); what != nil {
			t.panicked(what)
		}
	}()
	vms, err := catalog.VMs(ctx, t.store)
	if err != nil {
		return
	}
	room := int64(rehearseBytes)
	for _, vm := range vms[:min(len(vms), rehearseVMs)] {
		id, err := catalog.Newest(ctx, t.store, vm, "")
		if err != nil {
			continue
		}
		v, err := catalog.Get(ctx, t.store, vm, id)
		if err != nil {
			continue
		}
		for i := range v.Disks {
			if ctx.Err() != nil || t.count.readers() > 0 {
				return
			}
			room -= t.rehearseDisk(ctx, v, &v.Disks[i], room)
		}
	}
}

// rehearseDisk reads a disk as somebody would who reads all over it. It returns how many
// bytes of data that has whose maps were loaded: room at the most.
func (t *tree) rehearseDisk(ctx context.Context, v *catalog.Version, d *catalog.Disk, room int64) (used int64) {
	data, err := disk.Open(t.chunks, t.maps, d.Map)
	if err != nil {
		return 0
	}
	n, err := newImageNode(t, v, d, image.Raw, data)
	if err != nil {
		return 0
	}
	if used = data.DataBytes(); used <= room {
		data.LoadMaps(ctx)
	} else {
		used = 0
	}
	for k := range int64(rehearseReads) {
		if ctx.Err() != nil || t.count.readers() > 0 {
			break
		}
		at, err := image.SeekData(ctx, n.img, data, data.Size()/rehearseReads*k)
		if err != nil {
			continue
		}
		if r, err := n.collect(ctx, at, int(min(4<<10, data.Size()-at)), true); err == nil {
			r.Done()
		}
	}
	return used
}
