package layout

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/fs/guest"
	"holdfast/fs/guest/lvm"
	"holdfast/fs/guest/md"
	"holdfast/fs/guest/readers"
	"holdfast/fs/guest/volume"
)

// findBytes is what finding the volumes may read.
const findBytes = 256 << 20

// scan is a scan under way.
type scan struct {
	*Layout
	options Options
	disks   []volume.Disk
	meter   *meter
	until   time.Time // for all volumes together: they may be many, over each other
}

// run finds the volumes and scans each.
func (s *scan) run(ctx context.Context) error {
	if len(s.disks) == 0 {
		return ctx.Err()
	}
	first := s.disks[0].Name
	s.meter.allow(findBytes)
	found, err := guard(ctx, s, s.options.Patience, func(ctx context.Context) (*volume.Layout, error) { return volume.Find(ctx, s.disks) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		s.notice(first, "the disks are cut on the grid and captured whole: looking for volumes: %v", err)
		return nil
	}
	for _, v := range found.Volumes {
		if v.Type == "hibernation" {
			s.asleep(first, "volume "+v.Name)
		}
	}
	s.until = time.Now().Add(s.total(s.options.Patience))
	s.refineFor(ctx, found.Volumes)
	for _, v := range found.Volumes {
		if s.meter.closed.Load() || s.Err() != nil {
			break
		}
		if err := s.look(ctx, v); err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil {
		s.notice(first, "the disks are cut on the grid and captured whole: %v", err)
	}
	return ctx.Err()
}

// asleep takes back what is out of all disks, and lets nothing be from now on.
func (s *scan) asleep(disk, into string) {
	s.notice(disk, "nothing is left out: the VM was put to sleep into %s", into)
	s.options.Free, s.options.Swap = false, false
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, d := range s.disks {
		s.pages.set(plane{i, outPlane}, 0, (d.Size()+coarse-1)/coarse*coarse, false)
	}
}

// refineFor makes the bits of those areas fine in which a volume has smaller
// blocks than others, or lies across them.
func (s *scan) refineFor(ctx context.Context, volumes []*volume.Volume) {
	for _, v := range volumes {
		if v.Device == nil || !readers.Knows(v.Type) && v.State != volume.Swap {
			continue
		}
		small := smallBlocks(v)
		runs := 0
		v.EachRun(0, v.Device.Size(), func(r volume.Run) bool {
			if small || r.DiskOffset%coarse != 0 {
				s.refine(r)
			}
			runs++
			return runs < 1<<16 && ctx.Err() == nil
		})
	}
}

// smallBlocks tells by its superblock whether a filesystem has, or may have,
// blocks smaller than 4096 bytes. It decides no more than how fine cuts are.
func smallBlocks(v *volume.Volume) bool {
	b := make([]byte, 4)
	switch {
	case strings.HasPrefix(v.Type, "fat"), v.Type == "exfat":
		return true
	case strings.HasPrefix(v.Type, "ext"): // s_log_block_size
		_, err := v.ReadAt(b, 1024+24)
		return err == nil && le.Uint32(b) < 2
	case v.Type == "xfs": // sb_blocksize
		_, err := v.ReadAt(b, 4)
		return err == nil && binary.BigEndian.Uint32(b) < coarse
	case v.Type == "ntfs": // bytes of a sector, sectors of a cluster
		_, err := v.ReadAt(b, 11)
		return err == nil && int(le.Uint16(b))*int(b[2]) < coarse
	}
	return false
}

func (s *scan) refine(r volume.Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.plane(r.Disk, cutPlane); ok {
		s.pages.refine(p.disk, r.DiskOffset, r.DiskOffset+r.Length)
	}
}

// patience is how long a volume may take.
func (s *scan) patience(v *volume.Volume) time.Duration {
	return min(s.options.Patience+time.Duration(v.Device.Size()>>30)*time.Second, time.Until(s.until))
}

// total is how long all volumes may take together.
func (s *scan) total(patience time.Duration) time.Duration {
	total := 10 * patience
	for _, d := range s.disks {
		total += time.Duration(d.Size()>>30) * time.Second
	}
	return total
}

// look scans one volume. The error is that of ctx.
func (s *scan) look(ctx context.Context, v *volume.Volume) error {
	if v.Device == nil || len(v.Disks()) == 0 || v.State == volume.Member || v.State == volume.Empty {
		return nil
	}
	disk := v.Disks()[0]
	r := &recorder{scan: s, v: v}
	s.meter.allow(min(v.Device.Size()/4+64<<20, s.mayRead()))
	doubt, err := guard(ctx, s, s.patience(v), r.record)
	r.end(err)
	if r.sleeps() {
		s.asleep(s.disks[0].Name, "a file of volume "+v.Name)
	}
	what := v.Type
	if what == "" {
		what = "unknown content"
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		s.notice(disk, "volume %s (%s) is captured whole, and cut on the grid where its files were not found: %v", v.Name, what, firstLine(err))
	case doubt != nil:
		s.notice(disk, "volume %s (%s) is captured with its free space: %v", v.Name, what, firstLine(doubt))
	}
	return nil
}

// mayRead is what may still be read: together as much as the disks have, and
// 1 GiB.
func (s *scan) mayRead() int64 {
	left := int64(1)<<30 - s.meter.read.Load()
	for _, d := range s.disks {
		left += d.Size()
	}
	return left
}

// firstLine leaves out the stack of a panic.
func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

// record opens the volume's filesystem and records what it says. doubt is why
// its free space is not out.
func (r *recorder) record(ctx context.Context) (doubt, err error) {
	if r.v.State == volume.Swap {
		return nil, r.swap(ctx)
	}
	if len(r.v.Peers) > 1 {
		return nil, fmt.Errorf("a filesystem of several devices is %w", guest.ErrUnsupported)
	}
	fs, err := readers.Open(ctx, r.v)
	if err != nil {
		return nil, err
	}
	st := fs.State()
	// What is behind 4096 bytes of a larger last block is not the file's.
	if r.block = st.Block; r.block < 1 || r.block > coarse {
		r.block = coarse
	}
	pageFiles := r.options.Swap && r.v.Type == "ntfs"
	if r.options.Free && proves[r.v.Type] || pageFiles {
		if doubt, err = r.mayLeaveOut(ctx, st); err != nil {
			return nil, err
		}
		if doubt == nil {
			// Without free space the walk is for what it proves.
			doubt = fs.Free(ctx, r.free)
		}
	}
	if pageFiles && doubt == nil {
		if err := r.pageFiles(ctx, fs); err != nil {
			return nil, err
		}
	}
	if err := fs.Files(ctx, r.file); err != nil {
		return doubt, err
	}
	if err := r.broken(); err != nil {
		return doubt, err
	}
	if r.denied && doubt == nil {
		doubt = errContradiction
	}
	if doubt != nil {
		r.forget()
	}
	return doubt, nil
}

// proves are the filesystems whose free space is out. Those of the FAT family
// have nothing that proves what they say is free.
var proves = map[string]bool{"ext2": true, "ext3": true, "ext4": true, "xfs": true, "btrfs": true, "ntfs": true}

// mayLeaveOut says why the volume's free space can't be left out, nil if it can.
func (r *recorder) mayLeaveOut(ctx context.Context, st guest.State) (doubt, err error) {
	got, err := volume.Probe(ctx, r.v)
	switch {
	case err != nil:
		return nil, err
	case r.v.State != volume.OK:
		return fmt.Errorf("it is %s", r.v.State), nil
	case got.Also != "":
		return fmt.Errorf("it also looks like %s", got.Also), nil
	case got.Size > r.v.Device.Size():
		return errors.New("it is larger than its volume"), nil
	case st.Health == guest.NotReplayed:
		return fmt.Errorf("its journal could not be replayed: %s", st.Reason), nil
	case r.nested(ctx):
		return errors.New("it is a part of an array or a volume group as well"), nil
	}
	return nil, nil
}

// nested says whether the volume bears the mark of a member of an array, or of a
// physical volume, that lies on a logical volume: those are not assembled.
func (r *recorder) nested(ctx context.Context) bool {
	_, onArray := md.Probe(ctx, r.v.Device)
	_, onGroup := lvm.Probe(ctx, r.v.Device)
	return !errors.Is(onArray, guest.ErrNotMine) || !errors.Is(onGroup, guest.ErrNotMine)
}

// swap records what a swap volume holds behind its header.
func (r *recorder) swap(ctx context.Context) error {
	if !r.options.Swap {
		return nil
	}
	got, err := volume.Probe(ctx, r.v)
	if err == nil && got.Type == "swap" && got.Also == "" && got.Size > 0 {
		r.leaveOut(guest.Range{Offset: 0, Length: got.Size})
	}
	return err
}

// pageFiles are what Windows keeps of its memory in the root directory.
var pageFiles = []string{"pagefile.sys", "hiberfil.sys", "swapfile.sys"}

// pageFiles records the content of Windows' page files. It comes before that of
// the other files, so that nothing that is theirs as well stays out.
func (r *recorder) pageFiles(ctx context.Context, fs guest.Filesystem) error {
	for _, name := range pageFiles {
		n, err := fs.Lookup(ctx, fs.Root(), name)
		if errors.Is(err, guest.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if attr, err := fs.Stat(ctx, n); err != nil || attr.Type != guest.Regular || attr.Links > 1 {
			continue
		}
		r.paged = append(r.paged, n)
		err = fs.Extents(ctx, n, 0, func(e guest.Extent) bool {
			if !e.Hole && e.Place >= 0 {
				r.leaveOut(guest.Range{Offset: e.Place, Length: e.Length})
			}
			return r.broken() == nil
		})
		if err != nil {
			return err
		}
	}
	return r.broken()
}
