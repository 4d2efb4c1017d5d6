package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/tests/vm"
)

// disk is a raw disk that roads capture and read.
type disk struct {
	name string // also of the VM that it is captured as
	what string
	path string
	size int64
	data int64 // bytes that its file holds; a rate counts these
}

// all is the whole disk as one extent.
func (d disk) all() [][2]int64 { return [][2]int64{{0, d.size}} }

// Disk says in the report what was captured and read.
type Disk struct {
	Name string `json:"name"`
	What string `json:"what"`
	Size int64  `json:"size"`
	Data int64  `json:"data_bytes"`
}

func newDisk(name, what, path string) (disk, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return disk{}, fmt.Errorf("stat %s: %w", path, err)
	}
	return disk{name, what, path, st.Size, min(st.Size, st.Blocks*512)}, nil
}

// use remembers a disk for the report.
func (b *bench) use(d disk) disk {
	if !slices.Contains(b.disks, d) {
		b.disks = append(b.disks, d)
	}
	return d
}

func (b *bench) used() (list []Disk) {
	for _, d := range b.disks {
		list = append(list, Disk{d.name, d.what, d.size, d.data})
	}
	return list
}

// webDisk is a real VM as a hypervisor keeps it: sparse, with free space.
func (b *bench) webDisk() (disk, error) {
	if b.quick {
		small, err := vm.Build(vm.KindSmall)
		if err != nil {
			return disk{}, err
		}
		d, err := newDisk("web", "a small ext4 disk", small.Path)
		return b.use(d), err
	}
	fleet, err := vm.Fleet()
	if err != nil {
		return disk{}, err
	}
	d, err := newDisk("web", "a Debian web server on ext4, built by mmdebstrap", fleet[0].Path)
	return b.use(d), err
}

// bootDisk is a Debian that boots.
func (b *bench) bootDisk() (disk, error) {
	return once(b, "boot disk", func() (disk, error) {
		debian, err := vm.Build(vm.KindDebian)
		if err != nil {
			return disk{}, err
		}
		d, err := newDisk("boot", "a small Debian on ext4 that boots", debian.Path)
		return b.use(d), err
	})
}

// halfDisk is data that compresses to about a half, without a filesystem.
func (b *bench) halfDisk() (disk, error) {
	return once(b, "half disk", func() (disk, error) {
		path := b.path("half.raw")
		if err := makeHalf(path, b.half, 0); err != nil {
			return disk{}, fmt.Errorf("make the half-compressible disk: %w", err)
		}
		d, err := newDisk("half", "made from a seed, compresses to a half, no filesystem", path)
		return b.use(d), err
	})
}

// parseSize reads a number of bytes, or of KiB, MiB or GiB.
func parseSize(s string) (int64, error) {
	units := map[string]int{"KiB": 10, "MiB": 20, "GiB": 30}
	digits, shift := s, 0
	for unit, n := range units {
		if d, ok := strings.CutSuffix(s, unit); ok {
			digits, shift = d, n
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("size %q: want bytes, KiB, MiB or GiB", s)
	}
	return n << shift, nil
}

// removeFile removes a file that may not be there.
func removeFile(path string) error {
	err := os.Remove(path)
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
