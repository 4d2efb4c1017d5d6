package ext4

import (
	"context"

	"holdfast/fs/guest"
)

// inlineContent gives the content that lies in the inode (Inline Data): its 60
// bytes of map, and the rest in the xattr system.data.
func (f *FS) inlineContent(ctx context.Context, in *inode) ([]byte, error) {
	content := append([]byte(nil), in.mapping[:]...)
	rest, err := f.inlineRest(ctx, in)
	if err != nil {
		return nil, err
	}
	content = append(content, rest...)
	if in.size > int64(f.sb.blockSize) {
		return nil, guest.Corrupt("ext4 inode %d: %d bytes of inline content", in.number, in.size)
	}
	if missing := int(in.size) - len(content); missing > 0 {
		content = append(content, make([]byte, missing)...) // as the kernel pads it
	}
	return content, nil
}

// inlineRest is the value of system.data, which lies in the inode too.
func (f *FS) inlineRest(ctx context.Context, in *inode) ([]byte, error) {
	var rest []byte
	err := f.eachXattr(ctx, in, func(x xattr) (bool, error) {
		if x.index != xattrSystem || x.name != "data" {
			return true, nil
		}
		if x.inode != 0 {
			return false, guest.Corrupt("ext4 inode %d: inline content in another inode", in.number)
		}
		rest = x.value
		return false, nil
	})
	return rest, err
}
