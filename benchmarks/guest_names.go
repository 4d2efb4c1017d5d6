package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// nameRoads look into directories of many names: the first look into a volume of
// a cold version, the names, and the names with all that ls -l tells of them.
var nameRoads = []entry{
	{"guest's files, first ls", "names", false, (*bench).firstLook},
	{"guest's files, many names, warm", "names", false, (*bench).manyNames},
	{"guest's files, ls -l of many", "names", false, (*bench).longListing},
}

// What is promised, in milliseconds.
const (
	firstLookBound = 300
	manyNamesBound = 100
)

// nameKind is a filesystem with a directory of many names. exFAT is not among
// them: exfat-fuse mounts no image files.
type nameKind struct {
	name  string
	count int // of names; fewer than 20,000 where what fills it takes minutes for them
	size  int64
	mkfs  string
	mount string // what fills it, and is compared with; "": mcopy fills it
}

const loopMount = "mount -o loop"

var nameKinds = []nameKind{
	{"ext4", 20_000, 256 << 20, "mkfs.ext4 -q -F -N 40000", loopMount},
	{"xfs", 20_000, 400 << 20, "mkfs.xfs -q", loopMount},
	{"btrfs", 20_000, 400 << 20, "mkfs.btrfs -q", loopMount},
	{"ntfs", 20_000, 256 << 20, "mkntfs -q -F", "ntfs-3g"},
	{"fat32", 2_000, 128 << 20, "mkfs.vfat -F 32", ""},
}

// String names the kind and how many names it has.
func (k nameKind) String() string { return fmt.Sprintf("%s (%d)", k.name, k.count) }

// nameDisk makes the disk of a kind. Mounted through FUSE it may be busy for a
// moment after umount, so that is waited for.
func (b *bench) nameDisk(ctx context.Context, k nameKind) (disk, error) {
	name := "names-" + k.name
	return once(b, name, func() (disk, error) {
		const script = `set -e
rm -rf "$2"; mkdir -p "$2"; truncate -s "$3" "$1"; $4 "$1" >/dev/null
if [ -n "$5" ]; then $5 "$1" "$2"; trap 'umount "$2"' EXIT; fi
mkdir "$2/many"; cd "$2/many"
seq -f nam%05g "$6" | while read -r n; do echo "$n" >"$n"; done
cd /
if [ -n "$5" ]; then umount "$2"; trap - EXIT; while fuser -s "$1"; do sleep 0.1; done
else mcopy -i "$1" -s "$2/many" ::; fi`
		path := b.path(name + ".raw")
		_, err := command(ctx, 0, nil, "bash", "-c", script, "bash", path, b.path(name+".dir"), fmt.Sprint(k.size), k.mkfs, k.mount, fmt.Sprint(k.count))
		if err != nil {
			return disk{}, err
		}
		return newDisk(name, "a directory of names on "+k.String(), path)
	})
}

// looking is a contestant that runs a command on a directory of a kind's volume, on a
// mount made anew; with first, the command ran there once before.
func (b *bench) looking(ctx context.Context, k nameKind, name string, first bool, dir string, args ...string) (contestant, error) {
	d, err := b.nameDisk(ctx, k)
	if err != nil {
		return contestant{}, err
	}
	store, err := b.captured(ctx, b.use(d))
	if err != nil {
		return contestant{}, err
	}
	look := func(ctx context.Context, path string, _ int) (Sample, error) {
		path = filepath.Join(path, "files/vda/disk", dir)
		return command(ctx, 0, nil, args[0], append(args[1:len(args):len(args)], path)...)
	}
	c := through(name, b.mountOf(store, d, ""), nil, look)
	if first {
		c = through(name, b.mountOf(store, d, ""), look, look)
		c.warm = true
	}
	return c, nil
}

func (b *bench) eachKind(ctx context.Context, about string, bound float64, first bool, dir string) (*Road, error) {
	r := &Road{unit: timeUnit, about: about}
	for _, k := range nameKinds {
		c, err := b.looking(ctx, k, k.String(), first, dir, "ls")
		if err != nil {
			return nil, err
		}
		r.contestants = append(r.contestants, c)
		r.goals = append(r.goals, atMost(c.name, "", byMillis, bound))
	}
	return r, nil
}

// firstLook lists the top of a volume, which opens it.
func (b *bench) firstLook(ctx context.Context) (*Road, error) {
	return b.eachKind(ctx, "the first ls in a volume of a version, cold", firstLookBound, false, ".")
}

// manyNames lists a directory a second time.
func (b *bench) manyNames(ctx context.Context) (*Road, error) {
	return b.eachKind(ctx, "ls of a directory of many names, warm", manyNamesBound, true, "many")
}

// longListing lists a directory with all that ls -l tells, which asks for two
// extended attributes of each file, by the driver that filled it and by ours.
func (b *bench) longListing(ctx context.Context) (*Road, error) {
	r := &Road{unit: timeUnit, about: "ls -l of a directory of many names, cold"}
	for _, k := range nameKinds {
		c, err := b.looking(ctx, k, "holdfast, "+k.String(), false, "many", "ls", "-l")
		if err != nil {
			return nil, err
		}
		if k.mount != "" {
			r.contestants = append(r.contestants, b.driver(k))
		}
		r.contestants = append(r.contestants, c)
	}
	return r, nil
}

// driver lists by the kernel, or by the FUSE program that takes its place.
func (b *bench) driver(k nameKind) contestant {
	dir := b.path("names-" + k.name + ".dir")
	args := append(strings.Fields(k.mount), "-o", "ro", b.path("names-"+k.name+".raw"), dir)
	who := "kernel, "
	if k.mount != loopMount {
		who = args[0] + ", "
	}
	return contestant{name: who + k.String(), prepare: func(ctx context.Context, _ int) error {
		_, err := command(ctx, 0, nil, args[0], args[1:]...)
		return err
	}, run: func(ctx context.Context, _ int) (Sample, error) {
		return command(ctx, 0, nil, "ls", "-l", dir+"/many")
	}, finish: func() error {
		if !isMounted(dir) {
			return nil
		}
		out, err := exec.Command("umount", dir).CombinedOutput()
		if err != nil {
			fmt.Fprintf(os.Stderr, "umount %s: %s", dir, out)
		}
		return err
	}}
}
