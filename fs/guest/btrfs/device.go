package btrfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast/fs/guest"
)

// device is a volume that holds a part of the filesystem.
type device struct {
	guest.Volume
	super *superblock
}

// gatherDevices reads the superblocks of all volumes, keeps those that belong
// to the filesystem of the first one, by their numbers, and takes the newest
// superblock for that of the filesystem.
func (f *FS) gatherDevices(ctx context.Context, first guest.Volume, others []guest.Volume) error {
	sb, err := readSuper(ctx, first, f.lax)
	if err != nil {
		return err
	}
	f.self, f.sb = &device{first, sb}, sb
	f.devices = map[uint64]*device{sb.device.number: f.self}
	for _, v := range others {
		sb, err := readSuper(ctx, v, f.lax)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || sb.fsid != f.self.super.fsid {
			continue // it counts as missing
		}
		// Of two that claim to be the same device, one is a copy left behind.
		if d := f.devices[sb.device.number]; d != nil && (d == f.self || d.super.generation >= sb.generation) {
			continue
		}
		f.devices[sb.device.number] = &device{v, sb}
		if sb.generation > f.sb.generation {
			f.sb = sb
		}
	}
	return nil
}

// missing names the devices that are not here.
func (f *FS) missing() string {
	var names []string
	for _, d := range f.items {
		if f.devices[d.number] == nil && len(names) < 16 {
			names = append(names, fmt.Sprintf("%d (uuid %s)", d.number, formatID(d.uuid)))
		}
	}
	return strings.Join(names, ", ")
}

// errNoCopy says that there are no more copies to try.
var errNoCopy = errors.New("no further copy")

// maxCopies bounds the ways in which a block can be had: RAID6 of 255 devices
// with each of them damaged.
const maxCopies = 260

// readBlocks reads p, blocks of size bytes each, from a place in the logical
// space. Each block comes from the first copy for which check, which is told
// the block's number within p, has no error; else with the first error.
func (f *FS) readBlocks(ctx context.Context, p []byte, logical uint64, size int, check func(i int, block []byte) error) error {
	all := f.readCopy(ctx, p, logical, 0)
	for i := range len(p) / size {
		block := p[i*size:][:size]
		err := all
		if err == nil {
			err = check(i, block)
		}
		for n := 0; err != nil && n < maxCopies; n++ {
			if n == 0 && all == nil {
				continue // it was tried
			}
			again := f.readCopy(ctx, block, logical+uint64(i*size), n)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(again, errNoCopy) {
				return err
			}
			if again == nil && check(i, block) == nil {
				err = nil
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readCopy reads the nth copy of a run of the logical space.
func (f *FS) readCopy(ctx context.Context, p []byte, logical uint64, n int) error {
	for len(p) > 0 {
		c, err := f.chunkAt(logical)
		if err != nil {
			return err
		}
		r := c.at(logical-c.start, uint64(len(p)))
		if err := f.readPiece(ctx, c, r, p[:r.length], n); err != nil {
			return err
		}
		p, logical = p[r.length:], logical+r.length
	}
	return nil
}

// readPiece reads the nth copy of a piece among those whose device is here.
func (f *FS) readPiece(ctx context.Context, c *chunk, r piece, p []byte, n int) error {
	here := 0
	for _, s := range c.stripes[r.first : r.first+r.copies] {
		d := f.devices[s.device]
		if d == nil {
			continue
		}
		if here == n {
			return f.readDevice(ctx, d, p, s.off+r.off)
		}
		here++
	}
	if c.parity() > 0 {
		return f.rebuild(ctx, c, r, p, n-here)
	}
	if here > 0 {
		return errNoCopy
	}
	s := c.stripes[r.first]
	if n > 0 {
		return errNoCopy
	}
	return fmt.Errorf("btrfs: device %d (uuid %s) is missing: its disk is not among those of the VM", s.device, formatID(s.uuid))
}

func (f *FS) readDevice(ctx context.Context, d *device, p []byte, off uint64) error {
	if size := uint64(d.Size()); off > size || uint64(len(p)) > size-off {
		return guest.Corrupt("btrfs: byte %d lies behind the end of device %d, which has %d; is it cut off?", off, d.super.device.number, size)
	}
	if err := guest.ReadFull(ctx, d, p, int64(off)); err != nil {
		return fmt.Errorf("btrfs device %d: %w", d.super.device.number, err)
	}
	return nil
}

// place gives where a run of the logical space begins on the volume that was
// opened, and how much of it lies there, or does not, in one run; off is -1
// when it lies elsewhere.
func (f *FS) place(logical, length uint64) (off int64, n uint64, err error) {
	c, err := f.chunkAt(logical)
	if err != nil {
		return 0, 0, err
	}
	r := c.at(logical-c.start, length)
	stripes := c.stripes[r.first : r.first+r.copies]
	i := slices.IndexFunc(stripes, func(s stripe) bool { return f.devices[s.device] == f.self })
	if i < 0 {
		return -1, r.length, nil
	}
	return int64(stripes[i].off + r.off), r.length, nil
}
