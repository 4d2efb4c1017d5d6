package vm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
)

// DataFile is a file of random bytes in the guest that [Change] rewrites in
// parts and that the guest sums when it boots.
const DataFile = "/srv/data.bin"

const dataSize = 8 * mib

// markerScript is what the guest runs when it is up. It powers off itself, so
// that a test waits for the end of QEMU and for nothing else. stty waits until
// the serial port has sent all; a power-off would cut the last line short.
const markerScript = `#!/bin/sh
{
echo
echo "HOLDFAST-MARKER-$(head -n1 /etc/holdfast-marker)"
while read -r f; do
	s=$(sha256sum "$f") && echo "HOLDFAST-SUM-${s%% *}-$f"
done </etc/holdfast-files
date >>/var/log/holdfast-boots && sync && echo HOLDFAST-RW-OK
} >/dev/ttyS0 2>&1
stty -F /dev/ttyS0 -echo
exec systemctl poweroff --force
`

const markerUnit = `[Unit]
Description=Tell the serial console that the guest is up, then power off
After=local-fs.target systemd-remount-fs.service

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/holdfast-marker

[Install]
WantedBy=multi-user.target
`

const grubConfig = `serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=0
menuentry "Debian" {
	linux /boot/%s root=UUID=%s ro quiet console=ttyS0
	initrd /boot/%s
}
`

// guestFiles are the files that make a plain Debian tree our guest. fsType is
// "ext4" or "xfs", kernel and initrd are names in /boot.
func guestFiles(fsType, kernel, initrd string) map[string]string {
	return map[string]string{
		"etc/hostname":                               "holdfast-guest\n",
		"etc/fstab":                                  fmt.Sprintf("UUID=%s / %s defaults 0 1\n", fsUUID, fsType),
		"etc/holdfast-marker":                        FirstMarker + "\n",
		"etc/holdfast-files":                         "/usr/bin/perl\n" + DataFile + "\n",
		"usr/local/sbin/holdfast-marker":             markerScript,
		"etc/systemd/system/holdfast-marker.service": markerUnit,
		"boot/grub/grub.cfg":                         fmt.Sprintf(grubConfig, kernel, fsUUID, initrd),
	}
}

// dressGuest writes the guest's own files into the Debian tree at root.
func dressGuest(root, fsType string) error {
	kernel, err := oneIn(root, "boot/vmlinuz-*")
	if err != nil {
		return err
	}
	initrd, err := oneIn(root, "boot/initrd.img-*")
	if err != nil {
		return err
	}
	if err := writeFiles(root, guestFiles(fsType, kernel, initrd)); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(root, "usr/local/sbin/holdfast-marker"), 0o755); err != nil {
		return err
	}
	wants := filepath.Join(root, "etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	if err := os.Symlink("../holdfast-marker.service", filepath.Join(wants, "holdfast-marker.service")); err != nil {
		return err
	}
	return fillSrv(root, 1)
}

// fillSrv writes the guest's own data below /srv: random, text, many small
// files, a sparse file, links. The same seed gives the same bytes.
func fillSrv(root string, seed uint64) error {
	srv := filepath.Join(root, "srv")
	if err := os.MkdirAll(srv, 0o755); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	if err := os.WriteFile(filepath.Join(root, DataFile), randomBytes(rng, dataSize), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(srv, "words.txt"), words(rng, 12*mib), 0o644); err != nil {
		return err
	}
	if err := fillMany(filepath.Join(srv, "many"), rng, 400); err != nil {
		return err
	}
	if err := writeSparse(filepath.Join(srv, "sparse.bin"), rng); err != nil {
		return err
	}
	if err := os.Link(filepath.Join(srv, "words.txt"), filepath.Join(srv, "words-hard-link.txt")); err != nil {
		return err
	}
	return os.Symlink("words.txt", filepath.Join(srv, "words-link.txt"))
}

// fillMany writes count files of 1 byte to 40 KB, with names of every length.
func fillMany(dir string, rng *rand.Rand, count int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range count {
		name := fmt.Sprintf("%04d-%s", i, words(rng, 1+rng.IntN(60)))
		if err := os.WriteFile(filepath.Join(dir, name), words(rng, 1+rng.IntN(40_000)), 0o640); err != nil {
			return err
		}
	}
	return nil
}

// writeSparse writes a 16 MiB file with three short runs of data.
func writeSparse(path string, rng *rand.Rand) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(16 * mib); err != nil {
		return err
	}
	for _, off := range []int64{0, 5*mib + 123, 16*mib - 5000} {
		if _, err := f.WriteAt(randomBytes(rng, 5000), off); err != nil {
			return err
		}
	}
	return nil
}

// writeFiles writes files, given by path below root, and their directories.
func writeFiles(root string, files map[string]string) error {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(files[name]), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// oneIn returns the base name of the only file below root that matches.
func oneIn(root, pattern string) (string, error) {
	found, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%s: %d files match, want 1", pattern, len(found))
	}
	return filepath.Base(found[0]), nil
}
