// Package files is the guests' own files of a store's versions: the volumes on
// a version's disks, opened with the readers of fs/guest, and the namespace
// that the guest made of them. The mount shows it, the commands read it; both
// without root and without the guest's kernel.
//
//	Opener ─ Find ─ Found ┬ Volumes   each filesystem by itself
//	                      └ Space     all of them as the guest saw them
//
// # The guest's namespace
//
// A Space is what the guest's /etc/fstab says. Its root is the volume that has
// an /etc/fstab; where several have one, the first whose own line for "/" names
// it, else the first. What else fstab mounts is put where it says, in the order of
// depth, as mount(8) would: a mount covers a directory of what is there so far,
// symbolic links on the way are the guest's and are followed within the guest.
//
//	UUID= LABEL= PARTUUID= PARTLABEL=    quoted or not
//	/dev/disk/by-{uuid,label,partuuid,partlabel}/…, by-id/dm-name-…, dm-uuid-LVM-…
//	/dev/mapper/vg-lv  /dev/vg/lv  /dev/md0  /dev/md/name
//	/dev/sda1 vda1 xvda1 hda1 nvme0n1p1 mmcblk0p1   the disk of that name, else by its place
//	options bind and rbind, and subvol= of btrfs
//
// What is not to be found (a network filesystem, a missing disk, noauto) leaves
// the directory below as it is and is named with the reason in volumes.json.
// Kernel filesystems (proc, tmpfs, …) and swap are passed over. A guest with
// Windows has drives instead, by the letters that its registry tells of
// partitions (letters.go); the volumes of which it tells none are noted. Without
// a registry that can be read C is the volume that holds Windows, and the others
// follow in the order of the disks.
//
// All of this is the guest's own data and hostile: fstab is read up to a length,
// lines, links and depth are bounded, and a mount lies only upon earlier ones,
// so that there are no cycles.
package files
