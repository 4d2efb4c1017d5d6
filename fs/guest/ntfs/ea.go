package ntfs

import (
	"context"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest"
)

// Extended attributes of OS/2 ($EA), in which WSL keeps what Linux wants to know:
// 0 bytes to the next 4, 4 flags 1, 5 length of the name 1, 6 of the value 2,
// 8 name, NUL, value. The values of WSL are numbers of 4 bytes.
const (
	eaHead     = 8
	maxEABytes = 64 << 10 // all of a file's
)

// linuxEA is what WSL has noted of a file.
type linuxEA struct {
	uid, gid, mode uint32
	hasMode        bool
	device         uint64
	hasDevice      bool
}

// readLinuxEA reads WSL's notes. Damaged ones count as absent, but for errors
// of the volume.
func (f *FS) readLinuxEA(ctx context.Context, in *inode) error {
	b, err := f.readAll(ctx, in.file, attrEA, "", maxEABytes)
	if err != nil {
		return err
	}
	for len(b) >= eaHead {
		next, name, value := int64(le.Uint32(b)), int(b[5]), int(le.Uint16(b[6:]))
		if eaHead+name+1+value > len(b) {
			return guest.Corrupt("ntfs record %d: an extended attribute of %d bytes in %d", in.number, eaHead+name+1+value, len(b))
		}
		in.ea.note(string(b[eaHead:eaHead+name]), b[eaHead+name+1:][:value])
		if next < eaHead || next > int64(len(b)) {
			break // the last one
		}
		b = b[next:]
	}
	return nil
}

func (ea *linuxEA) note(name string, value []byte) {
	if len(value) < 4 {
		return
	}
	n := le.Uint32(value)
	switch name {
	case "$LXUID":
		ea.uid = n
	case "$LXGID":
		ea.gid = n
	case "$LXMOD":
		ea.mode, ea.hasMode = n, true
	case "$LXDEV":
		if len(value) >= 8 {
			ea.device, ea.hasDevice = unix.Mkdev(n, le.Uint32(value[4:])), true
		}
	}
}
