// Package ntfs reads NTFS volumes, those of Windows 2000 (3.0) and later, and
// what it can of older ones. The format is that of the Linux-NTFS project's
// documentation ("NTFS Documentation", Russon and Fledel; chapters by the name
// of the file or attribute), with [MS-FSCC] for reparse points and [MS-XCA] for
// what is compressed.
//
//	boot sector  geometry (boot.go); a copy behind the last sector
//	$MFT         the table of file records (record.go), the first four of
//	             them twice; a record holds attributes (attribute.go), and
//	             where they do not fit, a list of those in other records
//	attribute    its value, or runs of clusters (stream.go); content may be
//	             packed in units of clusters (units.go) or as a whole (wof.go)
//	directory    a B-tree of names (index.go, dir.go, lookup.go)
//	link         a reparse point (reparse.go, target.go)
//	$Secure      security descriptors (security.go)
//	$LogFile     whether there are changes that are not done (log.go)
//	$Bitmap      a bit for each cluster (free.go)
//
// All numbers are little-endian. Records, index blocks and restart pages are
// protected against torn writes: a torn one is guest.ErrCorrupt.
//
// What is not replayed: NTFS logs changes to metadata as operations whose
// meaning is Windows' own. A volume copied while Windows had it mounted is
// shown as it lies there; its state is NotReplayed and says so, and none of it
// is free. The same holds for a volume of a Windows that is hibernated, which
// it also is after a shutdown for a fast start. A volume marked dirty has no
// free space either, nor has one with shadow copies (shadow.go).
//
// How Windows looks from Linux follows ntfs-3g without a map of users, so that
// both show the same:
//
//   - Files belong to root and all may do all, but for owners and modes that WSL
//     has noted ($LXUID, $LXGID, $LXMOD). The security descriptor is the xattr
//     system.ntfs_acl.
//   - Names are UTF-8; a lone surrogate is three bytes (WTF-8). Case counts.
//     Names of 8.3 beside long ones are neither listed nor found, and the
//     volume's own files ($MFT and the like) are not shown.
//   - Named streams are xattrs user.NAME up to 64 KiB; longer ones are named in
//     system.ntfs_streams_omitted.
//   - Symlinks and mount points (junctions): \ becomes /, and names are spelled
//     as their directories do. An absolute path, with a drive's letter or not,
//     that exists on this volume becomes a relative one that leads there; which
//     letter the volume has is not known, so a path of another drive that exists
//     here as well leads here. Other paths keep their letter: D:/Games; volumes
//     their GUID: Volume{…}/. Links of WSL are as they were written.
//   - Sockets, FIFOs and devices are those of WSL, of Interix and of ntfs-3g.
//   - Other reparse points leave a file what it is. Content that is not in the
//     volume, deduplicated or encrypted (EFS) is guest.ErrUnsupported when read.
//
// Metadata goes through one cache of 8 MiB per volume, in pages of 64 KiB. Index
// blocks (4 MiB) and records (256) are kept as they are parsed, beside it; the
// runs of $MFT (at most 2^18) and the table of capitals (128 KiB) are held.
// Content is not cached: who reads it in small pieces puts a cache under the
// volume.
package ntfs
