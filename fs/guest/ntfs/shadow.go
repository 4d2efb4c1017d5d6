package ntfs

import (
	"context"
)

// Shadow copies (VSS) copy a cluster when it is written to, not when it is
// freed: what was deleted since is read from where it lay. Their header lies in
// the boot area (libvshadow, "Volume Shadow Snapshot (VSS) format", volume
// header): 0 GUID 16, 16 version 4, 20 type of record 4, 48 place of the
// catalog 8, 0 for none.
const (
	shadowAt     = 0x1e00
	shadowLen    = 56
	shadowMagic  = "\x6b\x87\x08\x38\x76\xc1\x48\x4e\xb7\xae\x04\x04\x6e\x6c\xc7\x52"
	shadowHeader = 1 // type of record
)

// shadowed tells whether the volume has, or may have, shadow copies.
func (f *FS) shadowed(ctx context.Context) (bool, error) {
	var b [shadowLen]byte
	if err := f.readFull(ctx, b[:], shadowAt); err != nil {
		return false, err
	}
	if string(b[:16]) != shadowMagic {
		return false, nil
	}
	return le.Uint32(b[20:]) != shadowHeader || le.Uint64(b[48:]) != 0, nil
}
