package vm

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Where things lie on every disk of this package, in bytes.
const (
	sectorSize = 512
	mib        = 1 << 20

	bootStart = 1 * mib // BIOS boot partition: GRUB's core image
	bootSize  = 1 * mib
	rootStart = bootStart + bootSize
	tailSize  = 1 * mib // backup GPT, rounded up

	diskGUID = "9D0F6C1E-5A52-4C1B-9C61-5B3B7D2C0001"
	bootGUID = "9D0F6C1E-5A52-4C1B-9C61-5B3B7D2C0002"
	rootGUID = "9D0F6C1E-5A52-4C1B-9C61-5B3B7D2C0003"
	// fsUUID is the root filesystem's; the boot loader and fstab name it.
	fsUUID = "9d0f6c1e-5a52-4c1b-9c61-5b3b7d2c0004"
)

// Partition types: UEFI specification 5.3.3, and GRUB's own for its core image.
const (
	typeBIOSBoot = "21686148-6449-6E6F-744E-656564454649"
	typeLinux    = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
)

func rootSize(diskSize int64) int64 { return diskSize - rootStart - tailSize }

// assemble writes a disk of diskSize bytes to path: the partition table and
// the root filesystem from file part.
func assemble(path, part string, diskSize int64) error {
	disk, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer disk.Close()
	if err := disk.Truncate(diskSize); err != nil {
		return err
	}
	in, err := os.Open(part)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := copyData(disk, rootStart, in, rootSize(diskSize)); err != nil {
		return err
	}
	return partition(path, diskSize)
}

// partition writes the GPT with fixed ids, so that a disk's table is the same
// at every build.
func partition(path string, diskSize int64) error {
	var s strings.Builder
	fmt.Fprintf(&s, "label: gpt\nlabel-id: %s\nunit: sectors\n", diskGUID)
	fmt.Fprintf(&s, "start=%d, size=%d, type=%s, uuid=%s, name=bios\n",
		bootStart/sectorSize, bootSize/sectorSize, typeBIOSBoot, bootGUID)
	fmt.Fprintf(&s, "start=%d, size=%d, type=%s, uuid=%s, name=root\n",
		rootStart/sectorSize, rootSize(diskSize)/sectorSize, typeLinux, rootGUID)
	cmd := command("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", path)
	cmd.Stdin = strings.NewReader(s.String())
	_, err := runCmd(cmd)
	return err
}

var errNoRoot = errors.New("no GPT partition of type Linux filesystem")

// findRoot returns offset and size in bytes of the first Linux partition of
// the raw disk at path, as its GPT says (UEFI specification 5.3).
func findRoot(path string) (off, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	// The primary table: header in sector 1, 128 entries of 128 bytes from
	// sector 2. Our disks and every common tool lay it out like this.
	table := make([]byte, 34*sectorSize)
	if _, err := f.ReadAt(table, 0); err != nil {
		return 0, 0, fmt.Errorf("read partition table of %s: %w", path, err)
	}
	if string(table[sectorSize:sectorSize+8]) != "EFI PART" {
		return 0, 0, fmt.Errorf("%s: no GPT", path)
	}
	want := guidBytes(typeLinux)
	for e := table[2*sectorSize:]; len(e) >= 128; e = e[128:] {
		if [16]byte(e[:16]) == want {
			first := int64(binary.LittleEndian.Uint64(e[32:]))
			last := int64(binary.LittleEndian.Uint64(e[40:]))
			return first * sectorSize, (last - first + 1) * sectorSize, nil
		}
	}
	return 0, 0, fmt.Errorf("%s: %w", path, errNoRoot)
}

// guidBytes is a GUID as it lies on disk: the first three fields little-endian.
func guidBytes(s string) (g [16]byte) {
	hex.Decode(g[:], []byte(strings.ReplaceAll(s, "-", "")))
	g[0], g[1], g[2], g[3] = g[3], g[2], g[1], g[0]
	g[4], g[5] = g[5], g[4]
	g[6], g[7] = g[7], g[6]
	return g
}
