package main

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
)

// changeRun is how much is overwritten in one place.
const changeRun = 64 << 10

// changeFiles mounts the root of a raw disk and overwrites about so many bytes
// in the files that are there, as databases do. It returns how many.
func (b *bench) changeFiles(ctx context.Context, raw string, about int64, seed uint64) (written int64, err error) {
	start, err := exec.CommandContext(ctx, "sh", "-c", `sfdisk -d "$1" | awk '/0FC63DAF/ {gsub(",",""); for (i=1;i<=NF;i++) if ($i=="start=") print $(i+1)}'`, "sh", raw).Output()
	if err != nil {
		return 0, fmt.Errorf("read the partitions of %s: %w", raw, err)
	}
	var sector int64
	if _, err := fmt.Sscan(string(start), &sector); err != nil {
		return 0, fmt.Errorf("%s: no Linux partition", raw)
	}
	mnt := b.path("changed.mnt")
	if err := os.MkdirAll(mnt, 0o755); err != nil {
		return 0, err
	}
	if _, err := command(ctx, 0, nil, "mount", "-o", fmt.Sprintf("loop,noatime,offset=%d", sector*512), raw, mnt); err != nil {
		return 0, err
	}
	defer func() {
		if _, e := command(context.Background(), 0, nil, "umount", mnt); err == nil {
			err = e
		}
	}()
	files, total, err := largeFiles(mnt)
	if err != nil {
		return 0, err
	}
	src := rand.NewPCG(seed, 2)
	r := rand.New(src)
	buf := make([]byte, changeRun)
	for written < about && ctx.Err() == nil {
		k := r.Int64N(total)
		i := 0
		for ; k >= files[i].size; i++ {
			k -= files[i].size
		}
		fillNoise(buf, src)
		n, err := overwrite(files[i].path, buf[:min(changeRun, files[i].size)], k, files[i].size)
		if err != nil {
			return written, err
		}
		written += int64(n)
	}
	return written, ctx.Err()
}

type sizedFile struct {
	path string
	size int64
}

// largeFiles are the files of at least a run, in a fixed order.
func largeFiles(root string) (list []sizedFile, total int64, err error) {
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() >= changeRun {
			list, total = append(list, sizedFile{path, info.Size()}), total+info.Size()
		}
		return err
	})
	if err == nil && total == 0 {
		err = fmt.Errorf("%s: no file of %d bytes", root, changeRun)
	}
	return list, total, err
}

// overwrite writes p at the multiple of its length at or before off.
func overwrite(path string, p []byte, off, size int64) (int, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n := int64(len(p))
	return f.WriteAt(p, min(off/n*n, size-n))
}

// overwriteShare overwrites about a share of a file's extents, in runs of 64 KiB at
// places that seed chooses, and returns where, as offset and length.
func overwriteShare(path string, extents [][2]int64, share float64, seed uint64) (changed [][2]int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src := rand.NewPCG(seed, 1)
	r := rand.New(src)
	buf := make([]byte, changeRun)
	for _, e := range extents {
		for at := e[0]; at+changeRun <= e[0]+e[1]; at += changeRun {
			if r.Float64() >= share {
				continue
			}
			fillNoise(buf, src)
			if _, err := f.WriteAt(buf, at); err != nil {
				return changed, err
			}
			changed = append(changed, [2]int64{at, changeRun})
		}
	}
	return changed, f.Sync()
}

// writeRanges writes ranges as restore --changed reads them.
func writeRanges(path string, ranges [][2]int64) error {
	if len(ranges) == 0 {
		return os.WriteFile(path, []byte("[]\n"), 0o644)
	}
	var text []byte
	for _, r := range ranges {
		text = fmt.Appendf(text, "%d %d\n", r[0], r[1])
	}
	return os.WriteFile(path, text, 0o644)
}
