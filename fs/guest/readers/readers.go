// Package readers lists the readers of guest filesystems that there are: the
// mount shows a guest's files with them, the capture cuts along those files.
// A new reader is entered here and nowhere else.
package readers

import (
	"context"

	"holdfast/fs/guest"
	"holdfast/fs/guest/btrfs"
	"holdfast/fs/guest/exfat"
	"holdfast/fs/guest/ext4"
	"holdfast/fs/guest/fat"
	"holdfast/fs/guest/ntfs"
	"holdfast/fs/guest/volume"
	"holdfast/fs/guest/xfs"
)

// openers by the type that volume.Probe gives a filesystem.
var openers = map[string]volume.Opener{
	"btrfs": openBtrfs,
	"exfat": volume.Plain(exfat.Open),
	"ext2":  volume.Plain(ext4.Open),
	"ext3":  volume.Plain(ext4.Open),
	"ext4":  volume.Plain(ext4.Open),
	"fat12": volume.Plain(fat.Open),
	"fat16": volume.Plain(fat.Open),
	"fat32": volume.Plain(fat.Open),
	"ntfs":  volume.Plain(ntfs.Open),
	"xfs":   volume.Plain(xfs.Open),
}

// openBtrfs opens a btrfs with all of its devices.
func openBtrfs(ctx context.Context, v *volume.Volume) (guest.Filesystem, error) {
	var others []guest.Volume
	for _, p := range v.Peers {
		if p != v {
			others = append(others, p)
		}
	}
	fs, err := btrfs.Open(ctx, v, others...)
	if err != nil {
		return nil, err // not an interface that holds a nil pointer
	}
	return fs, nil
}

// Knows says whether there is a reader for filesystems of that type, as
// volume.Probe names it.
func Knows(kind string) bool { return openers[kind] != nil }

// Open opens the volume's filesystem with the reader of its type. The error is
// that of volume.Open; guest.ErrUnsupported when there is no such reader.
func Open(ctx context.Context, v *volume.Volume) (guest.Filesystem, error) {
	var with []volume.Opener
	if open := openers[v.Type]; open != nil {
		with = append(with, open)
	}
	return volume.Open(ctx, v, with)
}
