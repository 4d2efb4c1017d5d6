package image

import (
	"bytes"
	"encoding/binary"

	"holdfast/capture/source/vmdk"
)

const (
	headLen = 512
	tailLen = 512 // a fixed VHD is known by its last 512 bytes, or 511 from old writers

	vhdCookie     = "conectix"
	vhdSumAt      = 64 // byte of the footer's checksum
	footerLen     = 512
	oldFooterLen  = 511
	qcow2Magic    = "QFI\xfb"
	vhdxMagic     = "vhdxfile"
	vmdkMagic     = "KDMV"
	vmdkOldMagic  = "COWD" // detected to be refused by name
	formatRaw     = "raw"
	formatQcow2   = "qcow2"
	formatVHD     = "vhd"
	formatVHDX    = "vhdx"
	formatVMDK    = "vmdk"
	detectionHint = "say the format with --format if that is wrong"
)

// detect names the format of a file by its first and last bytes (512 of each,
// or all of a shorter file). What it does not know is raw. The notice, if any,
// is for a person who may know better.
//
// The magic numbers stand at byte 0, where a raw disk has its boot code, or,
// for a fixed VHD, in the footer behind the data: there a raw disk could hold
// the same bytes by chance, so that the footer's checksum must be right too.
// A VMDK descriptor is text of at most 1 MiB: a disk of more bytes that begins
// like one is a raw disk, whatever its guest wrote there.
func detect(head, tail []byte, size int64) (format, notice string) {
	starts := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case starts(qcow2Magic):
		return formatQcow2, ""
	case starts(vhdxMagic):
		return formatVHDX, ""
	case starts(vmdkMagic), starts(vmdkOldMagic), starts(vmdk.Signature) && size <= vmdk.MaxDescriptor:
		return formatVMDK, ""
	case starts(vhdCookie):
		return formatVHD, ""
	}
	for _, n := range []int{footerLen, oldFooterLen} {
		if len(tail) < n || !bytes.HasPrefix(tail[len(tail)-n:], []byte(vhdCookie)) {
			continue
		}
		if vhdSumRight(tail[len(tail)-n:]) {
			return formatVHD, ""
		}
		notice = "ends like a fixed VHD whose footer is damaged, and is read as a raw disk; " + detectionHint
	}
	return formatRaw, notice
}

// vhdSumRight checks a footer's checksum: the complement of the sum of all
// bytes but those of the checksum.
func vhdSumRight(footer []byte) bool {
	sum := uint32(0)
	for i, b := range footer {
		if i < vhdSumAt || i >= vhdSumAt+4 {
			sum += uint32(b)
		}
	}
	return binary.BigEndian.Uint32(footer[vhdSumAt:]) == ^sum
}
