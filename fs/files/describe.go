package files

import (
	"context"
	"encoding/json"
	"slices"

	"holdfast/fs/guest"
	"holdfast/fs/guest/volume"
)

// Described is a volume in volumes.json.
type Described struct {
	volume.Description
	Path       string `json:"path,omitempty"`       // of its files, from volumes.json's directory
	Journal    string `json:"journal,omitempty"`    // "clean", "replayed" or "not replayed"
	Replayed   int    `json:"replayed,omitempty"`   // transactions
	Filesystem string `json:"filesystem,omitempty"` // as its reader names it
	Problem    string `json:"problem,omitempty"`    // why its files can't be shown, or what to know
}

// Description is volumes.json.
type Description struct {
	Tables  []volume.Table `json:"tables"`
	Volumes []Described    `json:"volumes"`
	Root    *RootView      `json:"root,omitempty"` // absent where no guest's root was found
	Notes   []string       `json:"notes,omitempty"`
}

// RootView is what volumes.json tells of the guest's namespace.
type RootView struct {
	System string   `json:"system"` // "linux" or "windows"
	Mounts []Mount  `json:"mounts"`
	Notes  []string `json:"notes,omitempty"`
}

// Mount is one line of the guest's fstab, or one drive.
type Mount struct {
	Path    string `json:"path"`             // in the namespace
	Source  string `json:"source,omitempty"` // as fstab names it
	Volume  string `json:"volume,omitempty"` // as in Described.Path; absent where it was not found
	Problem string `json:"problem,omitempty"`
}

// PathOf tells where a volume's files lie below files/.
type PathOf func(disk, volume string) string

// Describe tells all that was found. It opens every volume that is shown. pathOf
// tells where a volume's files lie.
func (f *Found) Describe(ctx context.Context, pathOf PathOf) (*Description, error) {
	doc := &Description{Tables: f.Layout.Tables, Volumes: []Described{}, Notes: f.Layout.Notes}
	for _, vol := range f.Layout.Volumes {
		d := Described{Description: vol.Description}
		if i := slices.IndexFunc(f.Volumes, func(v *Volume) bool { return v.Volume == vol }); i >= 0 {
			f.Volumes[i].describe(ctx, &d, pathOf)
		}
		doc.Volumes = append(doc.Volumes, d)
	}
	space, err := f.Space(ctx)
	if err != nil {
		return nil, err
	}
	if space.System != "" {
		doc.Root = &RootView{space.System, space.describe(pathOf), space.Notes}
	}
	return doc, ctx.Err()
}

// JSON is the document as volumes.json holds it.
func (d *Description) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(d, "", "  ")
	return append(b, '\n'), err
}

func (v *Volume) describe(ctx context.Context, d *Described, pathOf PathOf) {
	fs, err := v.Open(ctx)
	if err != nil {
		d.Problem = err.Error()
		return
	}
	d.Path = pathOf(v.Disk(), v.Name)
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

func (s *Space) describe(pathOf PathOf) []Mount {
	list := slices.Clone(s.Mounts)
	for i := range list {
		if v := s.shown[i]; v != nil {
			list[i].Volume = pathOf(v.Disk(), v.Name)
		}
	}
	return list
}
