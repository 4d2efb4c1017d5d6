package vm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// grubDir is where Debian's grub-pc-bin puts boot sector and modules.
const grubDir = "/usr/lib/grub/i386-pc"

// grubModules is all that the core image needs to read a kernel from the root
// filesystem and start it.
var grubModules = []string{"biosdisk", "part_gpt", "ext2", "xfs", "linux", "normal",
	"serial", "terminal", "minicmd", "echo", "test"}

// Where GRUB's boot sector and the first sector of its core image keep what
// an installer fills in (GRUB: include/grub/i386/pc/boot.h).
const (
	bootKernelSector = 0x5c // u64: the sector that the boot sector loads
	bootDrive        = 0x64 // u8: 0xff boots from the drive the BIOS names
	bootDriveCheck   = 0x66 // two bytes of code: a jump for floppies
	bootCodeEnd      = 440  // disk signature and partition table begin here
	coreBlockList    = 512 - 12
)

// installGRUB makes the disk at path boot from its root filesystem, as
// grub-install would, but without a loop device whose partitions the kernel
// must know: boot sector to sector 0, core image to the BIOS boot partition.
func installGRUB(work, path string) error {
	core := filepath.Join(work, "core.img")
	args := append([]string{"-O", "i386-pc", "-d", grubDir, "-o", core, "-p", "(hd0,gpt2)/boot/grub"}, grubModules...)
	if _, err := run("grub-mkimage", args...); err != nil {
		return err
	}
	coreImage, err := os.ReadFile(core)
	if err != nil {
		return err
	}
	boot, err := os.ReadFile(filepath.Join(grubDir, "boot.img"))
	if err != nil {
		return err
	}
	if err := linkGRUB(boot, coreImage); err != nil {
		return err
	}
	disk, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err1 := disk.WriteAt(boot[:bootCodeEnd], 0)
	_, err2 := disk.WriteAt(coreImage, bootStart)
	return errors.Join(err1, err2, disk.Close())
}

// linkGRUB fills in where the two parts lie: the boot sector loads the core
// image's first sector, that one loads the rest, which follows it.
func linkGRUB(boot, core []byte) error {
	if len(boot) != sectorSize || len(core) <= sectorSize || len(core) > bootSize {
		return fmt.Errorf("unexpected GRUB images: boot %d bytes, core %d bytes", len(boot), len(core))
	}
	const first = bootStart / sectorSize
	binary.LittleEndian.PutUint64(boot[bootKernelSector:], first)
	boot[bootDrive] = 0xff
	boot[bootDriveCheck], boot[bootDriveCheck+1] = 0x90, 0x90 // nop: never a floppy
	binary.LittleEndian.PutUint64(core[coreBlockList:], first+1)
	return nil
}
