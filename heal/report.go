package heal

import (
	"fmt"
	"time"

	"holdfast/chunkstore"
)

// FindingKind says what a scrub found.
type FindingKind string

const (
	FoundPack       FindingKind = "pack"       // something in it is not as it was written
	FoundMissing    FindingKind = "missing"    // a pack that the index knows is not there
	FoundUnknown    FindingKind = "unknown"    // a pack that the index does not know
	FoundForeign    FindingKind = "foreign"    // a file among the packs that is none of them
	FoundEntries    FindingKind = "index"      // index entries were lost or wrong
	FoundUnreadable FindingKind = "unreadable" // an I/O error: nothing is proved
	FoundVersion    FindingKind = "version"    // a version whose manifest can't be read
)

// maxListed bounds the findings and chunks that a report lists one by one. The
// damage itself is in the index, without a bound.
const maxListed = 5000

// Finding is one thing that a scrub found. Numbers and names that do not
// matter to its kind are zero.
type Finding struct {
	Kind     FindingKind `json:"kind"`
	Pack     string      `json:"pack,omitempty"`
	VM       string      `json:"vm,omitempty"`
	Version  string      `json:"version,omitempty"`
	Text     string      `json:"text"`
	Healable bool        `json:"healable"`
}

// ChunkView is a damaged chunk.
type ChunkView struct {
	ID       string     `json:"id"`
	Kind     string     `json:"kind"` // corrupt, missing or unreadable
	Pack     string     `json:"pack,omitempty"`
	Offset   int64      `json:"offset"`
	Length   int        `json:"length"`
	First    *time.Time `json:"first_seen,omitempty"`
	Last     *time.Time `json:"last_seen,omitempty"`
	Tried    string     `json:"tried,omitempty"`
	Healable bool       `json:"healable"`
}

// RepairView is what a repair of one pack did, or would do.
type RepairView struct {
	Pack       string `json:"pack"`
	New        string `json:"new_pack,omitempty"`
	Kept       int    `json:"kept"`
	Healed     int    `json:"healed"`
	Versions   int    `json:"versions"`
	Lost       int    `json:"lost"`
	Quarantine string `json:"quarantine,omitempty"`
}

// Report is what a scrub found and did.
type Report struct {
	Deep     bool          `json:"deep"`
	VM       string        `json:"vm,omitempty"`
	Began    time.Time     `json:"began"`
	Duration time.Duration `json:"duration_ns"`
	Packs    int           `json:"packs"`   // proved
	Skipped  int           `json:"skipped"` // proved before, within --older-than
	Bytes    int64         `json:"bytes"`
	Records  int64         `json:"records"`

	Findings []Finding   `json:"findings"`
	Chunks   []ChunkView `json:"chunks"`   // that were damaged when the scrub met them
	Unlisted int         `json:"unlisted"` // findings and chunks beyond the list's bound
	Healable int         `json:"healable"` // chunks that their packs' parity brings back
	Lost     int         `json:"lost"`     // chunks that it does not bring back

	Repairs      []RepairView `json:"repairs"`
	RepairErrors []string     `json:"repair_errors,omitempty"`
	Entries      int          `json:"entries_fixed"` // index entries set right
	Copies       int          `json:"copies"`        // chunks that another pack still had
	Roots        int          `json:"roots"`         // records of versions stored anew
	Donors       []DonorView  `json:"donors"`        // replicas and live sources that were asked
	Donated      int          `json:"donated"`       // chunks that they brought back

	Dropped      int   `json:"quarantine_deleted"` // packs that an earlier repair had replaced
	DroppedBytes int64 `json:"quarantine_deleted_bytes"`

	Left HurtReport `json:"left"` // damage after the scrub
}

// Clean reports whether nothing is wrong that was not mended.
func (r *Report) Clean() bool {
	if len(r.Left.Chunks) > 0 || len(r.RepairErrors) > 0 || len(r.Left.Packs) > 0 {
		return false
	}
	for _, f := range r.Findings {
		switch f.Kind {
		case FoundUnreadable, FoundVersion:
			return false
		case FoundEntries, FoundUnknown:
			if r.Entries == 0 && len(r.Repairs) == 0 {
				return false
			}
		}
	}
	return true
}

func (r *Report) find(f Finding) {
	if len(r.Findings) >= maxListed {
		r.Unlisted++
		return
	}
	r.Findings = append(r.Findings, f)
}

func (r *Report) chunk(c ChunkView) {
	if c.Healable {
		r.Healable++
	} else if c.Kind != "unreadable" {
		r.Lost++
	}
	if len(r.Chunks) >= maxListed {
		r.Unlisted++
		return
	}
	r.Chunks = append(r.Chunks, c)
}

func packText(n uint64) string { return fmt.Sprintf("%016x", n) }

// take adds what the proof of one pack found.
func (r *Report) take(p chunkstore.PackReport) {
	name := packText(p.Pack)
	r.Packs++
	r.Bytes += p.Size
	r.Records += int64(p.Records)
	r.Entries += p.Fixed
	switch {
	case p.Foreign != "":
		r.find(Finding{Kind: FoundForeign, Pack: name, Text: p.Foreign})
		if !p.Known {
			return
		}
	case p.Missing:
		r.find(Finding{Kind: FoundMissing, Pack: name, Text: "the index knows this pack, and there is no such file"})
		return
	case !p.Known:
		r.find(Finding{Kind: FoundUnknown, Pack: name, Text: "the index does not know this pack", Healable: p.Repairable()})
	}
	for _, f := range p.Faults {
		kind := FoundPack
		if f.Unreadable {
			kind = FoundUnreadable
		}
		r.find(Finding{Kind: kind, Pack: name, Text: f.Error(), Healable: p.Result == chunkstore.PackHealable})
	}
	if p.Stale > 0 {
		r.find(Finding{Kind: FoundPack, Pack: name, Text: fmt.Sprintf("%d damaged records of chunks that other packs have", p.Stale), Healable: true})
	}
	if p.Entries > 0 && p.Known {
		r.find(Finding{Kind: FoundEntries, Pack: name, Text: fmt.Sprintf("%d index entries were lost or wrong", p.Entries), Healable: true})
	}
	for _, d := range p.Bad {
		r.chunk(ChunkView{ID: d.ID.String(), Kind: d.Kind.String(), Pack: name, Offset: d.Offset, Length: d.Length, Tried: d.Err.Error(), Healable: d.Healable})
	}
}

func viewRepair(p chunkstore.PackRepair) RepairView {
	v := RepairView{Pack: packText(p.Pack), Kept: p.Kept, Healed: p.Healed, Versions: p.Versions, Lost: p.Lost}
	if p.New != 0 {
		v.New = packText(p.New)
	}
	return v
}

func viewDamage(d chunkstore.DamagedChunk) ChunkView {
	v := ChunkView{ID: d.ID.String(), Kind: d.Kind.String(), Offset: d.Offset, Length: d.Length, Tried: d.Tried}
	if d.Pack != 0 {
		v.Pack = packText(d.Pack)
	}
	if !d.First.IsZero() {
		v.First, v.Last = &d.First, &d.Last
	}
	return v
}
