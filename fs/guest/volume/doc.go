// Package volume finds what lies on the disks of a VM: the volumes that its
// guest sees, whatever is between them and the disks.
//
//	disk ─ partition table ─ md array ─ partition table ─ LVM ─ filesystem
//
// Each step may be absent. Disks are read for partitions (package part), all
// that is found for members of md arrays (package md), arrays again for
// partitions, and what is left for physical volumes (package lvm). In the end
// each volume is looked at for what it holds (Probe).
//
// Names are those that a person knows from inside the guest:
//
//	disk          a disk without a partition table
//	p1, p5        partitions, as the kernel numbers them
//	md0, md0p1    an array, a partition of it
//	vg0-root      a logical volume; as in /dev/mapper a hyphen within the
//	              group's or the volume's name is doubled
//
// Two volumes of one name and one first disk get "-2", "-3" appended.
//
// Nothing is opened here: Open hands a volume to the readers that its caller
// brings, so that this package need not know them.
package volume
