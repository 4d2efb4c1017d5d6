package fs

import (
	"path/filepath"

	"holdfast/chunkstore/catalog"
	"holdfast/fs/image"
)

// VersionPath is where version v lies in a tree mounted at mnt.
func VersionPath(mnt string, v *catalog.Version) string {
	return filepath.Join(mnt, Escape(v.VM), v.ID)
}

// ImagePath is where the image of v's disk in format f lies in a tree mounted
// at mnt. It looks at nothing: the file is absent where the format can't hold
// the disk.
func ImagePath(mnt string, v *catalog.Version, disk string, f image.Format) string {
	return filepath.Join(VersionPath(mnt, v), FileName(disk, f.Ext()))
}
