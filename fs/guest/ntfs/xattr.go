package ntfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"holdfast/fs/guest"
)

const (
	maxStream      = 64 << 10 // the longest value that Linux has for an xattr
	maxXattrs      = 4 << 20  // all values of a file together
	userPrefix     = "user."
	linuxPrefix    = "ntfs-3g." // of streams in which ntfs-3g keeps other name spaces
	xattrACL       = "system.ntfs_acl"
	xattrAttrib    = "system.ntfs_attrib_be"
	xattrReparse   = "system.ntfs_reparse_data"
	xattrEA        = "system.ntfs_ea"
	xattrObjectID  = "system.ntfs_object_id"
	xattrEFS       = "system.ntfs_efsinfo"
	xattrOmitted   = "system.ntfs_streams_omitted"
	maxDescriptor  = 64 << 10
	objectIDLength = 64
)

var efsStream = wide("$EFS")

// Xattrs implements guest.Filesystem: named streams as user.NAME, or by the
// name space under which ntfs-3g has put them there, and what else there is
// under the names of ntfs-3g: the security descriptor, the DOS attributes (4
// bytes, big-endian), reparse point, extended attributes of OS/2, object id and
// EFS key, all as they lie on disk. Streams that no xattr can hold are named, a
// line with the size for each, in system.ntfs_streams_omitted.
func (f *FS) Xattrs(ctx context.Context, n guest.Node) (map[string][]byte, error) {
	in, err := f.inode(ctx, n)
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	if err := f.streamXattrs(ctx, in, all); err != nil {
		return nil, err
	}
	all[xattrAttrib] = binary.BigEndian.AppendUint32(nil, in.attributes())
	for _, a := range []struct {
		name  string
		kind  uint32
		inner string
		limit int64
	}{
		{xattrReparse, attrReparse, "", maxReparse},
		{xattrEA, attrEA, "", maxEABytes},
		{xattrObjectID, attrObjectID, "", objectIDLength},
		{xattrEFS, attrUtility, efsStream, maxStream},
	} {
		value, err := f.readAll(ctx, in.file, a.kind, a.inner, a.limit)
		if err != nil {
			return nil, err
		}
		if value != nil {
			all[a.name] = value
		}
	}
	descriptor, err := f.descriptor(ctx, in)
	if descriptor != nil {
		all[xattrACL] = descriptor
	}
	return all, err
}

// streamXattrs reads the named streams.
func (f *FS) streamXattrs(ctx context.Context, in *inode, all map[string][]byte) error {
	var names []string
	err := f.each(ctx, in.file, attrData, func(a *attribute) bool {
		if a.name != "" && !(in.tag == tagWOF && a.name == wofStream) {
			names = append(names, a.name)
		}
		return true
	})
	if err != nil {
		return err
	}
	var omitted strings.Builder
	room := int64(maxXattrs)
	for _, name := range names {
		s, err := f.stream(ctx, in.file, attrData, name)
		if err != nil || s == nil {
			return err
		}
		linux := xattrName(narrow([]byte(name)))
		if s.size > min(maxStream, room) || s.flags&flagEncrypted != 0 && !s.resident || len(linux) > maxName || strings.Contains(linux, "\x00") {
			fmt.Fprintf(&omitted, "%d %s\n", s.size, narrow([]byte(name)))
			continue
		}
		value := make([]byte, s.size)
		if err := f.readStream(ctx, s, value, 0); err != nil {
			return fmt.Errorf("stream %q: %w", narrow([]byte(name)), err)
		}
		all[linux] = value
		room -= s.size
	}
	if omitted.Len() > 0 {
		all[xattrOmitted] = []byte(omitted.String())
	}
	return nil
}

// xattrName gives a stream's name among xattrs.
func xattrName(stream string) string {
	if name, ok := strings.CutPrefix(stream, linuxPrefix); ok {
		for _, space := range []string{"security.", "trusted.", "system."} {
			if strings.HasPrefix(name, space) {
				return name
			}
		}
	}
	return userPrefix + stream
}

// attributes gives the DOS attributes as Windows shows them: directories have a
// bit that is not on disk, and who has none has one that says so.
func (in *inode) attributes() uint32 {
	const directory, normal = 0x10, 0x80
	dos := in.dos &^ directory
	if in.directory() {
		dos |= directory
	}
	if dos == 0 {
		dos = normal
	}
	return dos
}
