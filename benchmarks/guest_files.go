package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"holdfast/tests/vm"
)

// guestRoads go through a guest's files: a tree of at least 20,000 of them and a
// large one, on a disk made for it.
var guestRoads = []entry{
	{"guest's files, tar of the tree, cold", "files", false, (*bench).guestTree},
	{"guest's files, one large, cold", "files", false, (*bench).guestLarge},
}

const (
	guestStart = 1 << 20 // of the only partition
	guestBytes = 3 << 30
	guestLeast = 20_000 // files in the tree
)

// guestDisk makes a disk with the tree of a real VM, copied until it has enough
// files, and all of the VM's data as one file.
func (b *bench) guestDisk(ctx context.Context) (string, error) {
	disk := b.path("guest.raw")
	if _, err := os.Stat(disk); err == nil {
		return disk, nil
	}
	src, err := vm.Build(vm.KindDebian)
	if err != nil {
		return "", err
	}
	part, large := b.path("guest.part"), b.path("guest.large")
	if err := dense(large, src.Path); err != nil {
		return "", fmt.Errorf("make the large file: %w", err)
	}
	defer os.Remove(large)
	defer os.Remove(part)
	script := `set -e
truncate -s ` + fmt.Sprint(guestBytes-guestStart) + ` "$2"; mkfs.ext4 -q -F "$2"
mkdir -p "$3/src" "$3/dst"
trap 'umount "$3/src" "$3/dst" 2>/dev/null || true' EXIT
mount -o loop,ro,offset="$(sfdisk -d "$1" | awk '/type=0FC63DAF/ {gsub(",",""); for (i=1;i<=NF;i++) if ($i=="start=") print $(i+1)*512}')" "$1" "$3/src"
mount -o loop "$2" "$3/dst"
for i in 1 2; do mkdir -p "$3/dst/tree/$i"; cp -a "$3/src/." "$3/dst/tree/$i/"; done
test "$(find "$3/dst/tree" -type f | wc -l)" -ge ` + fmt.Sprint(guestLeast) + `
cp "$5" "$3/dst/large"
umount "$3/src" "$3/dst"; trap - EXIT
truncate -s ` + fmt.Sprint(guestBytes) + ` "$4.new"
echo "start=2048, type=83" | sfdisk -q --no-reread --no-tell-kernel "$4.new"
dd if="$2" of="$4.new" bs=1M seek=1 conv=sparse,notrunc status=none
mv "$4.new" "$4"`
	_, err = command(ctx, 0, nil, "bash", "-c", script, "bash", src.Path, part, b.path("guest.mnt"), disk, large)
	return disk, err
}

// guestStore is a store with the disk.
func (b *bench) guestStore(ctx context.Context) (string, error) {
	disk, err := b.guestDisk(ctx)
	if err != nil {
		return "", err
	}
	d, err := newDisk("guest", "trees and a large file, on ext4", disk)
	if err != nil {
		return "", err
	}
	return b.captured(ctx, b.use(d))
}

// mountedGuest mounts the disk by the kernel, and the store that captured it.
func (b *bench) mountedGuest(ctx context.Context) (kernel, files, raw string, err error) {
	store, err := b.guestStore(ctx)
	if err != nil {
		return "", "", "", err
	}
	kernel = b.path("guest.kernel")
	if err := os.MkdirAll(kernel, 0o755); err != nil {
		return "", "", "", err
	}
	if _, err := command(ctx, 0, nil, "mount", "-o", fmt.Sprintf("loop,ro,offset=%d", guestStart), b.path("guest.raw"), kernel); err != nil {
		return "", "", "", err
	}
	b.closers = append(b.closers, func() error { return exec.Command("umount", kernel).Run() })
	raw, m, err := b.mountOf(store, disk{name: "guest"}, "vda.raw")(ctx)
	if err != nil {
		return "", "", "", err
	}
	b.closers = append(b.closers, m.stop)
	return kernel, filepath.Join(filepath.Dir(raw), "files/vda/p1"), raw, nil
}

// remounted gives every round a mount whose own cache is cold, too.
func (b *bench) remounted(ctx context.Context, _ int) error {
	b.unmountAll()
	_, _, _, err := b.mountedGuest(ctx)
	return err
}

// guestTree is tar of the tree, by the kernel's own driver on the raw disk and
// through the mount.
func (b *bench) guestTree(ctx context.Context) (*Road, error) {
	kernel, files, _, err := b.mountedGuest(ctx)
	if err != nil {
		return nil, err
	}
	total, err := guestTreeBytes(filepath.Join(kernel, "tree"))
	if err != nil {
		return nil, err
	}
	tar := func(dir string) func(context.Context, int) (Sample, error) {
		return func(ctx context.Context, _ int) (Sample, error) {
			// Through a pipe: tar knows /dev/null and would read nothing.
			return command(ctx, total, nil, "sh", "-c", `tar -C "$1" -cf - tree | cat >/dev/null`, "sh", dir)
		}
	}
	return &Road{unit: rateUnit, about: "tar of 20,000 files, their data bytes", contestants: []contestant{
		{name: "kernel's loop mount", prepare: b.remounted, run: tar(kernel)},
		{name: "holdfast mount", prepare: b.remounted, run: tar(files)},
	}}, nil
}

// guestLarge is a large file, as such and as the same bytes of the mounted image.
func (b *bench) guestLarge(ctx context.Context) (*Road, error) {
	kernel, files, raw, err := b.mountedGuest(ctx)
	if err != nil {
		return nil, err
	}
	extents, err := placesOf(ctx, filepath.Join(kernel, "large"))
	if err != nil {
		return nil, err
	}
	return &Road{unit: rateUnit, about: "a large file in the guest", contestants: []contestant{
		{name: "the same of the mounted raw", prepare: b.remounted, run: func(ctx context.Context, _ int) (Sample, error) { return readExtents(ctx, raw, extents) }},
		{name: "holdfast mount", prepare: b.remounted, run: func(ctx context.Context, _ int) (Sample, error) {
			return readSequential(ctx, filepath.Join(files, "large"), 0, 1<<62)
		}},
	}}, nil
}

// dense copies the data extents of a sparse file, one behind the other.
func dense(dst, src string) error {
	extents, err := dataExtents(src)
	if err != nil {
		return err
	}
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	defer out.Close()
	for _, e := range extents {
		if _, err := io.Copy(out, io.NewSectionReader(in, e[0], e[1])); err != nil {
			return err
		}
	}
	return out.Sync()
}

func guestTreeBytes(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += min(info.Size(), info.Sys().(*syscall.Stat_t).Blocks*512)
		}
		return err
	})
	return total, err
}

// placesOf tells where a file lies on the disk, in bytes: start and length.
func placesOf(ctx context.Context, path string) (list [][2]int64, err error) {
	out, err := exec.CommandContext(ctx, "filefrag", "-b512", "-v", path).Output()
	if err != nil {
		return nil, fmt.Errorf("filefrag %s: %w", path, err)
	}
	for line := range strings.Lines(string(out)) {
		var n int
		var logical, logicalEnd, first, last, length int64
		line = strings.NewReplacer("..", " ", ":", " ").Replace(line)
		if _, err := fmt.Sscan(line, &n, &logical, &logicalEnd, &first, &last, &length); err == nil {
			list = append(list, [2]int64{guestStart + first*512, length * 512})
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("filefrag %s: no extents in\n%s", path, out)
	}
	return list, nil
}
