package fs

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/fs/guest"
	"holdfast/fs/guest/readers"
	"holdfast/fs/guest/volume"
)

// maxOpenVolumes bounds the filesystems that are open at a time in all versions
// of a mount; each holds at most about 16 MiB. One that is wanted again is
// opened again, its journal replayed again.
const maxOpenVolumes = 12

// openVolumes are the open filesystems of a mount, the one used last at the end.
type openVolumes struct {
	mu   sync.Mutex // guards list
	list []*guestVolume
}

// use notes that v was used, and closes what was used longest ago.
func (o *openVolumes) use(v *guestVolume) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.list); n > 0 && o.list[n-1] == v {
		return
	}
	o.list = slices.DeleteFunc(o.list, func(w *guestVolume) bool { return w == v })
	o.list = append(o.list, v)
	if len(o.list) > maxOpenVolumes {
		go o.list[0].drop() // it may be opening at the moment
		o.list = o.list[1:]
	}
}

// guestVolume is a volume of a version whose files are shown.
type guestVolume struct {
	t    *tree
	v    *catalog.Version
	disk string // under which it is shown
	vol  *volume.Volume

	mu sync.Mutex // guards fs; held while it is opened
	fs guest.Filesystem
}

// open returns the volume's filesystem.
func (g *guestVolume) open(ctx context.Context) (guest.Filesystem, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fs == nil {
		fs, err := readers.Open(ctx, g.vol)
		if err != nil {
			return nil, err
		}
		g.fs = fs
	}
	g.t.volumes.use(g)
	return g.fs, nil
}

func (g *guestVolume) drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fs = nil
}

func (g *guestVolume) place(op string) place {
	return place{op: op + " in volume " + g.vol.Name, vm: g.v.VM, version: g.v.ID}
}

// guestVolumes are what lies inside the disks of one version.
type guestVolumes struct {
	layout *volume.Layout
	shown  []*guestVolume
}

// findVolumes looks into the disks of a version.
func (t *tree) findVolumes(ctx context.Context, v *catalog.Version) (*guestVolumes, error) {
	var disks []volume.Disk
	for i := range v.Disks {
		r, err := disk.Open(t.chunks, t.maps, v.Disks[i].Map)
		if err != nil {
			return nil, fmt.Errorf("disk %q: %w", v.Disks[i].Name, err)
		}
		disks = append(disks, volume.Disk{Name: v.Disks[i].Name, Volume: r})
	}
	layout, err := volume.Find(ctx, disks)
	if err != nil {
		return nil, err
	}
	found := &guestVolumes{layout: layout}
	for _, vol := range layout.Volumes {
		if !readers.Knows(vol.Type) || len(vol.Disks()) == 0 || vol.State == volume.Member || vol.Device == nil {
			continue
		}
		found.shown = append(found.shown, &guestVolume{t: t, v: v, disk: vol.Disks()[0], vol: vol})
	}
	return found, nil
}

// describedVolume is a volume in volumes.json.
type describedVolume struct {
	volume.Description
	Path       string `json:"path,omitempty"`       // of its files, from volumes.json's directory
	Journal    string `json:"journal,omitempty"`    // "clean", "replayed" or "not replayed"
	Replayed   int    `json:"replayed,omitempty"`   // transactions
	Filesystem string `json:"filesystem,omitempty"` // as its reader names it
	Problem    string `json:"problem,omitempty"`    // why its files can't be shown, or what to know
}

// describe is volumes.json. It opens every volume that is shown.
func (f *guestVolumes) describe(ctx context.Context) ([]byte, error) {
	doc := struct {
		Tables  []volume.Table    `json:"tables"`
		Volumes []describedVolume `json:"volumes"`
		Notes   []string          `json:"notes,omitempty"`
	}{f.layout.Tables, []describedVolume{}, f.layout.Notes}
	for _, vol := range f.layout.Volumes {
		d := describedVolume{Description: vol.Description}
		if i := slices.IndexFunc(f.shown, func(g *guestVolume) bool { return g.vol == vol }); i >= 0 {
			f.shown[i].describe(ctx, &d)
		}
		doc.Volumes = append(doc.Volumes, d)
	}
	b, err := json.MarshalIndent(doc, "", "  ")
	return append(b, '\n'), err
}

func (g *guestVolume) describe(ctx context.Context, d *describedVolume) {
	fs, err := g.open(ctx)
	if err != nil {
		d.Problem = err.Error()
		return
	}
	d.Path = Escape(g.disk) + "/" + Escape(g.vol.Name)
	st := fs.State()
	d.Filesystem, d.Used, d.Replayed, d.Problem = st.Type, st.Used, st.Replayed, st.Reason
	switch st.Health {
	case guest.Clean:
		d.Journal = "clean"
	case guest.Replayed:
		d.Journal = "replayed"
	case guest.NotReplayed:
		d.Journal = "not replayed"
	}
}
