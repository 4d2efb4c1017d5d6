package catalog

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/disk"
)

const (
	// MaxDisks is the most disks a version may have.
	MaxDisks = 128
	// MaxName is the longest name of a VM or disk in bytes.
	MaxName = 255
)

// UUID is a random or derived 128-bit identity.
type UUID [16]byte

// MarshalText writes 32 hexadecimal digits.
func (u UUID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, u[:]), nil }

// UnmarshalText reads them.
func (u *UUID) UnmarshalText(b []byte) error {
	if len(b) != 2*len(u) {
		return fmt.Errorf("uuid %q: want %d hexadecimal digits", b, 2*len(u))
	}
	_, err := hex.Decode(u[:], b)
	return err
}

// Version is one point in time of all disks of a VM: complete and immutable.
type Version struct {
	VM       string    `json:"-"` // in the root's name: it may be any bytes
	ID       string    `json:"id"`
	UUID     UUID      `json:"uuid"`
	Time     time.Time `json:"time"`     // what the version stands for
	Captured time.Time `json:"captured"` // when it was captured
	Host     string    `json:"host,omitempty"`
	Program  string    `json:"program,omitempty"`  // holdfast's version
	Cut      string    `json:"cut"`                // how regions were cut: "grid" or "files"
	LeftOut  []string  `json:"left_out,omitempty"` // what was not captured where the guest had it: "free", "swap"
	Disks    []Disk    `json:"disks"`
	Counts   Counts    `json:"counts"`
}

// Disk is one disk of a version.
type Disk struct {
	Name    string   `json:"name"`
	UUID    UUID     `json:"uuid"`
	Source  string   `json:"source"` // the path or address it was read from
	Format  string   `json:"format"` // of the source
	Map     disk.Map `json:"map"`
	Counts  Counts   `json:"counts"`
	Notices []string `json:"notices,omitempty"`
}

// Counts are what a capture did.
type Counts struct {
	LogicalBytes int64         `json:"logical_bytes"`            // the disks' sizes
	ReadBytes    int64         `json:"read_bytes"`               // read from the sources
	HoleBytes    int64         `json:"hole_bytes"`               // known to be holes, not read
	ZeroBytes    int64         `json:"zero_bytes"`               // read and found to be zeros
	LeftOutBytes int64         `json:"left_out_bytes,omitempty"` // the source has data there, see Version.LeftOut
	NewBytes     int64         `json:"new_bytes"`                // plain bytes of chunks that were new
	StoredBytes  int64         `json:"stored_bytes"`             // what they took in packs
	NewChunks    int64         `json:"new_chunks"`
	Chunks       int64         `json:"chunks"` // all data chunks, new or not
	Duration     time.Duration `json:"duration_ns"`
}

// Add sums counts; durations, which overlap, are the caller's to set.
func (c Counts) Add(o Counts) Counts {
	c.LogicalBytes += o.LogicalBytes
	c.ReadBytes += o.ReadBytes
	c.HoleBytes += o.HoleBytes
	c.ZeroBytes += o.ZeroBytes
	c.LeftOutBytes += o.LeftOutBytes
	c.NewBytes += o.NewBytes
	c.StoredBytes += o.StoredBytes
	c.NewChunks += o.NewChunks
	c.Chunks += o.Chunks
	return c
}

// Disk returns the disk of that name.
func (v *Version) Disk(name string) (*Disk, bool) {
	for i := range v.Disks {
		if v.Disks[i].Name == name {
			return &v.Disks[i], true
		}
	}
	return nil, false
}

// Validate reports the first thing that is wrong with a version.
func (v *Version) Validate() error {
	if err := CheckName("VM", v.VM); err != nil {
		return err
	}
	if t, err := idTime(v.ID); err != nil {
		return err
	} else if !t.Equal(v.Time.Truncate(time.Second)) {
		return fmt.Errorf("version %s has time %v", v.ID, v.Time)
	}
	if len(v.Disks) == 0 || len(v.Disks) > MaxDisks {
		return fmt.Errorf("version %s has %d disks, want 1 to %d", v.ID, len(v.Disks), MaxDisks)
	}
	seen := map[string]bool{}
	for i := range v.Disks {
		d := &v.Disks[i]
		if err := CheckName("disk", d.Name); err != nil {
			return err
		}
		if seen[d.Name] {
			return fmt.Errorf("version %s has two disks named %q", v.ID, d.Name)
		}
		seen[d.Name] = true
		if err := d.Map.Validate(); err != nil {
			return fmt.Errorf("version %s, disk %q: %w", v.ID, d.Name, err)
		}
	}
	return nil
}

// CheckName reports whether a VM or a disk may have this name: any bytes, not
// none and not too many.
func CheckName(what, name string) error {
	if name == "" {
		return fmt.Errorf("%s name is empty", what)
	}
	if len(name) > MaxName {
		return fmt.Errorf("%s name has %d bytes, at most %d are allowed", what, len(name), MaxName)
	}
	return nil
}

// nameBytes carries names, which may be any bytes, through JSON unharmed.
type nameBytes struct {
	VM    []byte   `json:"vm_bytes,omitempty"`
	Disks [][]byte `json:"disk_name_bytes,omitempty"`
}

func (v *Version) encode() ([]byte, error) {
	n := nameBytes{VM: []byte(v.VM)}
	for _, d := range v.Disks {
		n.Disks = append(n.Disks, []byte(d.Name))
	}
	b, err := json.Marshal(struct {
		*Version
		nameBytes
	}{v, n})
	if err != nil {
		return nil, fmt.Errorf("encode version: %w", err)
	}
	if len(b) > chunkstore.MaxRootBody {
		return nil, fmt.Errorf("encode version: its manifest takes %d bytes, at most %d fit; give it shorter names or fewer disks", len(b), chunkstore.MaxRootBody)
	}
	return b, nil
}

// decode reads a manifest, which is not trusted, and validates it.
func decode(body []byte) (*Version, error) {
	var m struct {
		Version
		nameBytes
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("decode version: %w", err)
	}
	v := &m.Version
	v.VM = string(m.nameBytes.VM)
	if len(m.nameBytes.Disks) != len(v.Disks) {
		return nil, errors.New("decode version: disks and their names differ in number")
	}
	for i, n := range m.nameBytes.Disks {
		v.Disks[i].Name = string(n)
	}
	if err := v.Validate(); err != nil {
		return nil, fmt.Errorf("decode version: %w", err)
	}
	return v, nil
}
