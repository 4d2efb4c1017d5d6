package files

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/fs/guest"
	"holdfast/fs/guest/readers"
	"holdfast/fs/guest/volume"
)

// maxOpen bounds the filesystems that an Opener has open at a time; each holds
// at most about 16 MiB. One that is wanted again is opened again, its journal
// replayed again.
const maxOpen = 12

// maxIdle is for how long one stays open that nobody uses. Without it the last version
// that somebody looked into, or one that was forgotten since, would keep its memory
// until twelve others were wanted.
const maxIdle = 5 * time.Minute

// Opener opens the guests' files of versions. It is safe for concurrent use and
// needs no closing.
type Opener struct {
	chunks *cache.Cache
	maps   *disk.Maps

	mu       sync.Mutex // guards what follows
	open     []*Volume  // the one used last at the end
	sweeping bool       // sweep will be called
}

// New makes an Opener that reads disks through these caches, which must stay
// open for as long as something of it is used.
func New(chunks *cache.Cache, maps *disk.Maps) *Opener { return &Opener{chunks: chunks, maps: maps} }

// Found is what lies inside the disks of one version. It is safe for concurrent
// use.
type Found struct {
	Layout  *volume.Layout
	Volumes []*Volume // whose files can be shown

	disks []string   // of the version, in its order
	mu    sync.Mutex // guards space; held while it is put together
	space *Space
}

// Find looks into the disks of a version. No filesystem is opened.
func (o *Opener) Find(ctx context.Context, v *catalog.Version) (*Found, error) {
	var disks []volume.Disk
	readers := map[string]*disk.Reader{}
	for i := range v.Disks {
		r, err := disk.Open(o.chunks, o.maps, v.Disks[i].Map)
		if err != nil {
			return nil, fmt.Errorf("disk %q: %w", v.Disks[i].Name, err)
		}
		disks = append(disks, volume.Disk{Name: v.Disks[i].Name, Volume: r})
		readers[v.Disks[i].Name] = r
	}
	found, err := o.look(ctx, disks)
	if err != nil {
		return nil, err
	}
	for _, vol := range found.Volumes {
		vol.readers = readers
	}
	return found, nil
}

func (o *Opener) look(ctx context.Context, disks []volume.Disk) (*Found, error) {
	layout, err := volume.Find(ctx, disks)
	if err != nil {
		return nil, err
	}
	found := &Found{Layout: layout}
	for _, d := range disks {
		found.disks = append(found.disks, d.Name)
	}
	for _, vol := range layout.Volumes {
		if readers.Knows(vol.Type) && len(vol.Disks()) > 0 && vol.State != volume.Member && vol.Device != nil {
			found.Volumes = append(found.Volumes, &Volume{o: o, Volume: vol})
		}
	}
	return found, nil
}

// Volume returns the volume that is shown as DISK/NAME.
func (f *Found) Volume(disk, name string) (*Volume, bool) {
	i := slices.IndexFunc(f.Volumes, func(v *Volume) bool { return v.Disk() == disk && v.Name == name })
	if i < 0 {
		return nil, false
	}
	return f.Volumes[i], true
}

// Space returns the guest's namespace, which is put together at the first call.
// An error is not kept.
func (f *Found) Space(ctx context.Context) (*Space, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.space == nil {
		s, err := assemble(ctx, f)
		if err != nil {
			return nil, err
		}
		f.space = s
	}
	return f.space, nil
}

// Volume is a volume whose files can be read.
type Volume struct {
	o *Opener
	*volume.Volume
	readers map[string]*disk.Reader // of the version's disks, by name

	used time.Time // guarded by o.mu

	mu sync.Mutex // guards fs; held while it is opened
	fs guest.Filesystem
}

// Disk names the disk under which the volume is shown: the first it lies on.
func (v *Volume) Disk() string { return v.Disks()[0] }

// Open returns the volume's filesystem. Nodes stay good when it is closed and
// opened again in between.
func (v *Volume) Open(ctx context.Context) (guest.Filesystem, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fs == nil {
		fs, err := readers.Open(ctx, v.Volume)
		if err != nil {
			return nil, err
		}
		v.fs = fs
	}
	v.o.use(v)
	return v.fs, nil
}

// use notes that v was used, and closes what was used longest ago.
func (o *Opener) use(v *Volume) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v.used = time.Now()
	if n := len(o.open); n > 0 && o.open[n-1] == v {
		return
	}
	o.open = slices.DeleteFunc(o.open, func(w *Volume) bool { return w == v })
	o.open = append(o.open, v)
	if len(o.open) > maxOpen {
		o.closeFirst()
	}
	if !o.sweeping {
		o.sweeping = true
		time.AfterFunc(maxIdle, o.sweep)
	}
}

// closeFirst closes what was used longest ago. o.mu is held.
func (o *Opener) closeFirst() {
	go o.open[0].drop() // it may be opening at the moment
	o.open = slices.Delete(o.open, 0, 1)
}

// sweep closes what nobody has used for long, and comes again when the next may be.
func (o *Opener) sweep() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.open) > 0 {
		if left := maxIdle - time.Since(o.open[0].used); left > 0 {
			time.AfterFunc(left, o.sweep)
			return
		}
		o.closeFirst()
	}
	o.sweeping = false
}

func (v *Volume) drop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fs = nil
}
