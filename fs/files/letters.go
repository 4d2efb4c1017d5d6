package files

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"holdfast/fs/guest"
	"holdfast/fs/guest/part"
	"holdfast/fs/guest/regf"
	"holdfast/fs/guest/volume"
)

// assigned is a drive letter that the registry gives to a partition:
// HKLM\SYSTEM\MountedDevices has a value \DosDevices\C: for each, which holds
//
//	12 bytes   0 signature of an MBR  4 the partition's first byte, 8 of them
//	24 bytes   0 "DMIO:ID:"  8 GUID of a partition in a GPT
//
// (Microsoft's "Mount Manager"); others name a device that is no partition of
// a disk, such as a CD drive.
type assigned struct {
	letter rune
	id     string // GUID of a partition; "" by signature and offset
	disk   string // signature of an MBR
	offset int64
}

// Of the system's hive: where it lies, and the key and names of values in it.
const (
	hivePath   = "Windows/System32/config/SYSTEM"
	devicesKey = "MountedDevices"
	drivePath  = `\DosDevices\`
	guidMark   = "DMIO:ID:"
)

// registered reads the letters from the registry of the Windows on a volume, in
// alphabetical order. dirty tells that the registry was being written.
func registered(ctx context.Context, system *Volume) (known []assigned, dirty bool, err error) {
	s, err := Single(ctx, system)
	if err != nil {
		return nil, false, err
	}
	f, err := s.openHive(ctx)
	if err != nil {
		return nil, false, err
	}
	h, err := regf.Open(ctx, f)
	if err != nil {
		return nil, false, err
	}
	k, err := h.Find(ctx, devicesKey)
	if err != nil {
		return nil, false, err
	}
	err = k.Values(ctx, func(v regf.Value) bool {
		a, ok := parseAssigned(v)
		if ok && !slices.ContainsFunc(known, func(b assigned) bool { return a.letter == b.letter }) {
			known = append(known, a)
		}
		return true
	})
	slices.SortFunc(known, func(a, b assigned) int { return int(a.letter - b.letter) })
	return known, h.Dirty, err
}

// parseAssigned tells what a value of the key says; ok is false where it gives
// no letter to a partition.
func parseAssigned(v regf.Value) (a assigned, ok bool) {
	if len(v.Name) != len(drivePath)+2 || !strings.EqualFold(v.Name[:len(drivePath)], drivePath) || v.Name[len(drivePath)+1] != ':' {
		return a, false
	}
	a.letter = rune(strings.ToUpper(v.Name[len(drivePath):])[0])
	if a.letter < 'A' || a.letter > 'Z' {
		return a, false
	}
	switch {
	case len(v.Data) == 12:
		a.disk, a.offset = fmt.Sprintf("%08x", binary.LittleEndian.Uint32(v.Data)), int64(binary.LittleEndian.Uint64(v.Data[4:]))
		return a, a.offset >= 0
	case len(v.Data) == len(guidMark)+16 && string(v.Data[:len(guidMark)]) == guidMark:
		a.id = part.UUID(v.Data[len(guidMark):])
		return a, true
	}
	return a, false
}

// source names the partition as volumes.json shows it.
func (a assigned) source() string {
	if a.id != "" {
		return "PARTUUID=" + a.id
	}
	return fmt.Sprintf("byte %d of disk %s", a.offset, a.disk)
}

// assignedTo finds the volume that the registry means, or nil.
func (f *Found) assignedTo(a assigned) *Volume {
	return f.first(func(v *Volume) bool { return f.means(a, v.Volume) })
}

// means tells whether the registry means that volume.
func (f *Found) means(a assigned, v *volume.Volume) bool {
	if v.Partition == nil {
		return false
	}
	if a.id != "" {
		return strings.EqualFold(v.Partition.UUID, a.id)
	}
	return v.Offset == a.offset && slices.ContainsFunc(f.Layout.Tables, func(t volume.Table) bool {
		return len(v.Disks()) > 0 && t.On == v.Disks()[0] && t.Kind == string(part.MBR) && strings.EqualFold(t.UUID, a.disk)
	})
}

// lacking says why there is no volume that the registry means.
func (f *Found) lacking(a assigned) string {
	for _, v := range f.Layout.Volumes {
		if f.means(a, v) {
			return fmt.Sprintf("volume %s can't be shown: %s %s %s", v.Name, v.Type, v.State, v.Reason)
		}
	}
	return errNoVolume.Error()
}

// hiveFile is a file of the guest as the bytes of a hive. It belongs to one call.
type hiveFile struct {
	ctx  context.Context
	fs   guest.Filesystem
	n    guest.Node
	size int64
}

var _ guest.Volume = (*hiveFile)(nil)

func (s *Space) openHive(ctx context.Context) (*hiveFile, error) {
	p, err := s.anyCase(ctx, hivePath)
	if err != nil {
		return nil, err
	}
	fs, err := s.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	a, err := fs.Stat(ctx, p.Node)
	if err == nil && a.Type != guest.Regular {
		err = guest.Corrupt("%s is no file", hivePath)
	}
	return &hiveFile{ctx, fs, p.Node, a.Size}, err
}

// Size implements guest.Volume.
func (f *hiveFile) Size() int64 { return f.size }

// ReadAt implements io.ReaderAt.
func (f *hiveFile) ReadAt(b []byte, off int64) (int, error) {
	if off >= f.size {
		return 0, io.EOF
	}
	return f.fs.ReadAt(f.ctx, f.n, b, off)
}
