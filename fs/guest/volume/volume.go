package volume

import (
	"holdfast/fs/guest"
	"holdfast/fs/guest/volume/mapped"
)

// Disk is one of a VM's disks. Names are unique within the VM.
type Disk struct {
	Name string
	guest.Volume
}

// State says what can be done with a volume.
type State string

const (
	OK          State = "ok"
	Degraded    State = "degraded"    // all of it is readable, copies are missing
	Incomplete  State = "incomplete"  // parts lie on disks that are not here
	Unsupported State = "unsupported" // recognised, not read; the disk's image has it
	Damaged     State = "damaged"     // its metadata contradict themselves
	Member      State = "member"      // a part of other volumes, see Of
	Swap        State = "swap"        // holds no files
	Empty       State = "empty"       // nothing that is known lies in it
)

// Description is what volumes.json tells of a volume.
type Description struct {
	Name   string   `json:"name"`
	Layer  string   `json:"layer"`          // "disk", "partition", "md raid1", "lvm thin", …
	Type   string   `json:"type,omitempty"` // see Probe; absent when it is not known
	Label  string   `json:"label,omitempty"`
	UUID   string   `json:"uuid,omitempty"`
	Size   int64    `json:"size"`   // bytes of the volume
	Used   int64    `json:"used"`   // bytes in use as its header says; -1 where it does not
	Disks  []string `json:"disks"`  // that it lies on
	Offset int64    `json:"offset"` // in bytes, where all of it is one run of a disk; else -1
	State  State    `json:"state"`
	Reason string   `json:"reason,omitempty"` // of any state but ok, or what a person should know
	Of     []string `json:"of,omitempty"`     // names of what a member belongs to

	Partition *Partition `json:"partition,omitempty"`
	// MapperID is what device-mapper calls a logical volume, and udev's links
	// in /dev/disk/by-id: "LVM-" and the ids of group and volume.
	MapperID string `json:"mapper_id,omitempty"`
}

// Partition is what the table tells of one.
type Partition struct {
	Number int    `json:"number"`
	Type   string `json:"type"` // GUID, or the byte of an MBR as 0x83
	Name   string `json:"name,omitempty"`
	UUID   string `json:"uuid,omitempty"`
	Boot   bool   `json:"boot,omitempty"`
}

// Table is what volumes.json tells of a disk's or array's partition table.
type Table struct {
	On     string   `json:"on"`   // name of the disk, or of the array
	Kind   string   `json:"kind"` // "gpt", "mbr", "hybrid", "none"
	Sector int64    `json:"sector"`
	UUID   string   `json:"uuid,omitempty"`
	Notes  []string `json:"notes,omitempty"`
}

// Layout is all that Find finds.
type Layout struct {
	Tables  []Table   `json:"tables"`
	Volumes []*Volume `json:"volumes"`
	Notes   []string  `json:"notes,omitempty"` // of what belongs to no volume
}

// Volume is one of the volumes found. Its ReadAt, Runs and EachRun are safe for
// concurrent use.
type Volume struct {
	Description
	*mapped.Device `json:"-"`
	// Peers are the volumes over which the filesystem of this one reaches,
	// itself among them (btrfs of several devices); nil for a single one.
	Peers []*Volume `json:"-"`
}

// Run is a run of a volume that lies byte for byte on a disk.
type Run = mapped.Run

var _ guest.Volume = (*Volume)(nil)

// Size is the volume's size in bytes.
func (v *Volume) Size() int64 { return v.Device.Size() }

// Disks names the disks that the volume lies on.
func (v *Volume) Disks() []string { return v.Description.Disks }
