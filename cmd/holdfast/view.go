package main

import (
	"time"
	"unicode/utf8"

	"holdfast/chunkstore/catalog"
)

// The views are what --json prints. Their field names are a contract: fields
// may be added, none is renamed or removed. Sizes are bytes, times RFC 3339.

// nameView is a name that may be any bytes: where it is not valid UTF-8, the
// bytes follow in base64.
type nameView struct {
	Name  string `json:"name"`
	Bytes []byte `json:"name_bytes,omitempty"`
}

func viewName(name string) nameView {
	v := nameView{Name: name}
	if !utf8.ValidString(name) {
		v.Bytes = []byte(name)
	}
	return v
}

const (
	statePending   = "pending" // no scrub and no validation has proved it yet
	stateDamaged   = "damaged"
	stateForgotten = "forgotten"
)

// versionView is a version.
type versionView struct {
	VM       string     `json:"vm"`
	VMBytes  []byte     `json:"vm_bytes,omitempty"`
	ID       string     `json:"id"`
	State    string     `json:"state"`
	Error    string     `json:"error,omitempty"` // why it is damaged
	Pinned   bool       `json:"pinned"`
	Time     *time.Time `json:"time,omitempty"`
	Captured *time.Time `json:"captured,omitempty"`
	Host     string     `json:"host,omitempty"`
	Program  string     `json:"program,omitempty"`
	Cut      string     `json:"cut,omitempty"`
	LeftOut  []string   `json:"left_out,omitempty"` // "free", "swap": not captured where it was found
	*countsView
	Disks []diskView `json:"disks"`
}

// countsView is what a capture did.
type countsView struct {
	LogicalBytes     int64    `json:"logical_bytes"`
	ReadBytes        int64    `json:"read_bytes"`
	HoleBytes        int64    `json:"hole_bytes"`
	ZeroBytes        int64    `json:"zero_bytes"`
	LeftOutBytes     int64    `json:"left_out_bytes"` // data of the source that was not captured
	NewBytes         int64    `json:"new_bytes"`
	StoredBytes      int64    `json:"stored_bytes"`
	Chunks           int64    `json:"chunks"`
	NewChunks        int64    `json:"new_chunks"`
	DurationSeconds  float64  `json:"duration_seconds"`
	DedupRatio       *float64 `json:"dedup_ratio"`       // data : new; null where nothing was new
	CompressionRatio *float64 `json:"compression_ratio"` // new : stored
}

// diskView is a disk of a version.
type diskView struct {
	nameView
	Source    string `json:"source"`
	Format    string `json:"source_format"`
	DataBytes int64  `json:"data_bytes"` // that are not holes
	countsView
	Notices []string `json:"notices,omitempty"`
}

func viewVersion(v *catalog.Version, err error) versionView {
	name := viewName(v.VM)
	view := versionView{VM: name.Name, VMBytes: name.Bytes, ID: v.ID, State: statePending, Disks: []diskView{}}
	if err != nil {
		view.State, view.Error = stateDamaged, err.Error()
		return view
	}
	counts := viewCounts(v.Counts)
	view.Time, view.Captured, view.countsView = &v.Time, &v.Captured, &counts
	view.Host, view.Program, view.Cut = v.Host, v.Program, v.Cut
	view.LeftOut = v.LeftOut
	for _, d := range v.Disks {
		view.Disks = append(view.Disks, diskView{
			nameView: viewName(d.Name), Source: d.Source, Format: d.Format, DataBytes: d.Map.DataBytes,
			countsView: viewCounts(d.Counts), Notices: d.Notices,
		})
	}
	return view
}

// marked adds what was said of the version.
func (v versionView) marked(m catalog.Mark) versionView {
	v.Pinned = m == catalog.Pinned
	if m.Has(catalog.Forgotten) {
		v.State = stateForgotten
	}
	return v
}

// stateText shows the state to a person.
func (v versionView) stateText() string {
	text := stateText(v.State)
	if v.Pinned {
		text += ", pinned"
	}
	return text
}

func viewCounts(c catalog.Counts) countsView {
	return countsView{
		LogicalBytes: c.LogicalBytes, ReadBytes: c.ReadBytes, HoleBytes: c.HoleBytes, ZeroBytes: c.ZeroBytes, LeftOutBytes: c.LeftOutBytes,
		NewBytes: c.NewBytes, StoredBytes: c.StoredBytes, Chunks: c.Chunks, NewChunks: c.NewChunks,
		DurationSeconds: c.Duration.Seconds(),
		DedupRatio:      ratioJSON(dataBytes(c), c.NewBytes), CompressionRatio: ratioJSON(c.NewBytes, c.StoredBytes),
	}
}

// dataBytes is what a capture read and found to be more than zeros.
func dataBytes(c catalog.Counts) int64 { return max(c.ReadBytes-c.ZeroBytes, 0) }
