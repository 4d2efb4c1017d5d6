package fs

// readme is MNT/README.txt.
const readme = `This is a holdfast mount: every version of every virtual disk as plain files.

  <vm>/latest                the newest version (a link)
  <vm>/<time>/version.json   when and from what the version was captured
  <vm>/<time>/<disk>.raw     the disk as it was, and the same bytes again as
                   .qcow2    qcow2, VHD, VHDX and VMDK, for whatever wants to
                   .vhd      read them. A format that can't hold the disk
                   .vhdx     (VHD above 2040 GiB) is absent.
                   .vmdk
  <vm>/<time>/files/root/...              the guest's own files, as it sees them
  <vm>/<time>/files/<disk>/<volume>/...   those of one volume (ext2, ext3,
                             ext4, XFS, btrfs, NTFS, FAT and exFAT, on
                             partitions, LVM and md RAID)
  <vm>/<time>/files/volumes.json          every volume that was found

Everything here is read-only and nothing here takes up space: the files are
made up from the store as they are read, and each chunk is checked against its
hash on the way. New versions appear by themselves.

Copy a disk out:        cp --sparse=always web/latest/vda.raw /var/tmp/
Convert it:             qemu-img convert web/latest/vda.qcow2 -O raw out.raw
Copy a file out:        cp -a web/latest/files/root/etc/fstab /tmp/
Run it, store untouched: qemu-img create -f qcow2 -F qcow2 \
                           -b $PWD/web/latest/vda.qcow2 overlay.qcow2

Version names are times in UTC. In names, bytes that a file name can't hold are
written %XX. Unmount with umount, or stop the holdfast mount command.
`
