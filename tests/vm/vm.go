// Package vm builds the real VM disks that the tests, the demo and the
// benchmarks use: Debian as a person would install it, on a GPT disk that
// boots from its own boot loader, and a small disk for everything quick.
//
// A bootable disk is 2 GiB, sparse, with about 460 MiB of data:
//
//	sector       what
//	0            GRUB's boot sector over the protective MBR
//	1            GPT
//	2048         BIOS boot partition, 1 MiB: GRUB's core image
//	4096         root, ext4 or XFS, to 1 MiB before the end
//	end-33       backup GPT
//
// The guest runs systemd. When it is up it writes to its first serial port
// what proves that it read and wrote its disk, and powers off:
//
//	HOLDFAST-MARKER-<first line of /etc/holdfast-marker>
//	HOLDFAST-SUM-<sha256>-<path>     for each path in /etc/holdfast-files
//	HOLDFAST-RW-OK                   after a file was written and synced
//
// Disks are built once and cached in ${XDG_CACHE_HOME:-~/.cache}/holdfast-tests
// under a name that carries a hash of the recipe. Building takes a file lock, a
// private directory and a rename, so test processes may ask at the same time
// and a killed builder leaves nothing that anybody takes for a disk.
//
// Building the Debian disks and mounting any disk needs root and loop devices.
package vm

import (
	"fmt"
	"testing"
)

// Kind names a disk that this package can build.
type Kind string

const (
	KindSmall  Kind = "small"  // 96 MiB, ext4, about 30 MiB of files, not bootable
	KindDebian Kind = "debian" // 2 GiB, Debian on ext4, boots
	KindXFS    Kind = "xfs"    // 2 GiB, the same Debian on XFS, boots
)

// FirstMarker is what /etc/holdfast-marker holds on every disk as it is built.
const FirstMarker = "first"

// Disk is a cached disk. It is shared by all tests: nobody may write to it.
type Disk struct {
	Path string // the raw image
	Kind Kind
}

// Debian returns the cached Debian disk with an ext4 root, building it when it
// is not there (about a minute).
func Debian(t testing.TB) *Disk {
	t.Helper()
	return cached(t, KindDebian)
}

// DebianXFS returns the cached Debian disk with an XFS root. Its files are
// those of Debian's disk.
func DebianXFS(t testing.TB) *Disk {
	t.Helper()
	return cached(t, KindXFS)
}

// Small returns a copy, the caller's to change, of a small disk with a
// partition table and an ext4 root. The copy goes when the test ends.
func Small(t testing.TB) string {
	t.Helper()
	return cached(t, KindSmall).Clone(t, t.TempDir())
}

// Clone copies the disk into directory dir, keeping holes, and returns the
// copy's path. The copy shares blocks where the filesystem can.
func (d *Disk) Clone(t testing.TB, dir string) string {
	t.Helper()
	path, err := d.CloneInto(dir)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func cached(t testing.TB, kind Kind) *Disk {
	t.Helper()
	d, err := Build(kind)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Build returns the cached disk of a kind and builds it when it is absent.
func Build(kind Kind) (*Disk, error) {
	r, err := recipeOf(kind)
	if err != nil {
		return nil, err
	}
	path, err := ensure(r)
	if err != nil {
		return nil, fmt.Errorf("build %s disk: %w", kind, err)
	}
	return &Disk{Path: path, Kind: kind}, nil
}
