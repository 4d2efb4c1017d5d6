package ntfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"

	"holdfast/fs/guest"
	"holdfast/fs/guest/blockcache"
)

// maxTableRuns bounds how fragmented $MFT may be: its runs are held in memory.
const maxTableRuns = 1 << 18

// FS is an open filesystem. All methods are safe for concurrent use.
type FS struct {
	volume  guest.Volume
	g       geometry
	cache   *blockcache.Cache // of the volume as it is
	blocks  *blockcache.Cache // of index blocks, by their place
	table   []run             // of $MFT; immutable after Open
	records uint64            // in it
	upcase  upcase            // nil when the volume's is damaged
	state   guest.State
	recent  [recentRecords]atomic.Pointer[record] // by number
	noFree  string                                // why free space is not told; "" when it may be
	proved  atomic.Bool                           // $Bitmap has every cluster that is in use
}

var _ guest.Filesystem = (*FS)(nil)

// Open opens the NTFS volume. It reads the boot sector (or its backup, at the
// volume's end), $MFT's own record, and of the volume's other files what tells
// of its state; damage in these does not keep it from being opened. Errors:
// guest.ErrNotMine, guest.ErrCorrupt, ctx's, or the volume's own.
func Open(ctx context.Context, v guest.Volume) (*FS, error) {
	f := &FS{volume: v, cache: blockcache.New(cacheBytes), blocks: blockcache.New(indexBytes)}
	backup, err := f.readBoot(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.openTable(ctx); err != nil {
		return nil, err
	}
	root, err := f.file(ctx, recordRoot)
	if err == nil && !root.directory() {
		err = guest.Corrupt("it is no directory")
	}
	if err != nil {
		return nil, fmt.Errorf("ntfs root: %w", asDamage(err))
	}
	return f, f.describe(ctx, backup)
}

// readBoot reads the boot sector. Where it is blank or contradicts itself, the
// backup behind the last sector counts.
func (f *FS) readBoot(ctx context.Context) (backup bool, err error) {
	size := f.volume.Size()
	if size < bootLen {
		return false, guest.ErrNotMine
	}
	b := make([]byte, bootLen)
	if err := f.readFull(ctx, b, 0); err != nil {
		return false, err
	}
	f.g, err = parseBoot(b, size)
	if err == nil || !errors.Is(err, guest.ErrCorrupt) && len(bytes.Trim(b, "\x00")) > 0 {
		return false, err
	}
	for sector := int64(minSector); sector <= maxSector && sector <= size; sector *= 2 {
		if f.readFull(ctx, b, size-sector) != nil {
			continue
		}
		if g, bad := parseBoot(b, size); bad == nil && g.sectorSize == sector {
			f.g = g
			return true, nil
		}
	}
	return false, err
}

// openTable maps $MFT. Its first record maps at least those that hold the rest
// of its runs, so each part is read with what is mapped before.
func (f *FS) openTable(ctx context.Context) error {
	f.table = []run{{count: f.g.clustersOf(mirrorRecords * f.g.recordSize), cluster: f.g.mft}}
	f.records = 1
	x := &file{}
	var err error
	if x.record, err = f.record(ctx, recordMFT); err != nil {
		return fmt.Errorf("ntfs $MFT: %w", asDamage(err))
	}
	i := slices.IndexFunc(x.attrs, func(a attribute) bool { return a.kind == attrData && a.name == "" })
	if i < 0 || x.attrs[i].resident || x.attrs[i].lowest != 0 {
		return guest.Corrupt("ntfs $MFT: its record has no first runs")
	}
	first := x.attrs[i]
	f.table = f.table[:0]
	f.records = uint64(min(first.size, max(first.initialised, 0)) / f.g.recordSize)
	s := &stream{attribute: first, parts: []part{{attr: &first}}, file: x, meta: true}
	if err := f.mapTable(&first); err != nil {
		return err
	}
	if err := f.readList(ctx, x); err != nil {
		return err
	}
	if x.list != nil {
		if s, err = f.stream(ctx, x, attrData, ""); err != nil {
			return err
		}
	}
	for i := 1; s != nil && i < len(s.parts); i++ {
		a, err := f.part(ctx, s, i)
		if err == nil {
			err = f.mapTable(a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mapTable adds a part of $MFT's runs.
func (f *FS) mapTable(a *attribute) error {
	end := int64(0)
	if n := len(f.table); n > 0 {
		end = f.table[n-1].end()
	}
	if a.resident || a.lowest != end {
		return guest.Corrupt("ntfs $MFT: its runs go on at cluster %d, not at %d", a.lowest, end)
	}
	bad := ""
	err := f.eachRunOf(a, func(r run) bool {
		switch {
		case r.hole():
			bad = "a hole"
		case len(f.table) == maxTableRuns:
			bad = "too many runs"
		}
		f.table = append(f.table, r)
		return bad == ""
	})
	if err == nil && bad != "" {
		err = guest.Corrupt("%s", bad)
	}
	if err != nil {
		return fmt.Errorf("ntfs $MFT: %w", err)
	}
	return nil
}

// describe fills in the state. Only ctx's error ends it.
func (f *FS) describe(ctx context.Context, backup bool) error {
	f.state = guest.State{Type: "ntfs", UUID: fmt.Sprintf("%016X", f.g.serial), Size: f.g.place(f.g.clusters), Used: -1, Block: f.g.clusterSize}
	var notes []string
	if backup {
		notes = append(notes, "its boot sector is damaged, the backup was used")
	}
	var err error
	if f.upcase, err = f.readUpcase(ctx); err != nil { // the next ones look names up
		notes = append(notes, fmt.Sprintf("names are searched one by one: %v", err))
	}
	stale, err := f.logState(ctx)
	if err != nil {
		stale = fmt.Sprintf("its log can't be read: %v", err)
	}
	asleep, err := f.hibernated(ctx)
	if err != nil {
		notes = append(notes, fmt.Sprintf("whether Windows is hibernated can't be seen: %v", err))
	}
	if asleep {
		stale = strings.Join(append([]string{"Windows is hibernated or shut down for a fast start (hiberfil.sys): what it holds in memory is newer"}, notEmpty(stale)...), "; ")
	}
	if stale != "" {
		f.state.Health, f.noFree = guest.NotReplayed, "free space of a volume whose state is not known to be current"
		notes = append(notes, stale)
	}
	notes = append(notes, f.readVolume(ctx)...)
	f.state.Used = f.countUsed(ctx)
	f.state.Reason = strings.Join(notes, "; ")
	return ctx.Err()
}

func notEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// readVolume reads label and flags from $Volume, and gives what to know of it.
// $VOLUME_INFORMATION: 8 version 1 + 1, 10 flags 2.
func (f *FS) readVolume(ctx context.Context) (notes []string) {
	const infoLen, maxLabel, dirty = 12, 256, 0x1
	x, err := f.file(ctx, recordVolume)
	var info []byte
	if err == nil {
		var label []byte
		label, err = f.readAll(ctx, x, attrVolumeName, "", maxLabel)
		f.state.Label, _, _ = cutNUL(narrow(label))
	}
	if err == nil {
		info, err = f.readAll(ctx, x, attrVolumeInfo, "", maxRecord)
	}
	if err != nil || len(info) < infoLen {
		f.noFree = "free space of a volume whose $Volume can't be read"
		return []string{fmt.Sprintf("$Volume: %v", asDamage(errors.Join(err, guest.ErrNotExist)))}
	}
	if info[8] != 3 { // as those of Windows since 2000 are
		notes = append(notes, fmt.Sprintf("NTFS version %d.%d", info[8], info[9]))
	}
	if le.Uint16(info[10:])&dirty != 0 {
		f.noFree = "free space of a volume that is marked dirty"
		notes = append(notes, "it is marked dirty: chkdsk is due")
	}
	return notes
}

// readUpcase reads the table of capitals.
func (f *FS) readUpcase(ctx context.Context) (upcase, error) {
	const all = 2 << 16
	x, err := f.file(ctx, recordUpcase)
	if err != nil {
		return nil, fmt.Errorf("$UpCase: %w", asDamage(err))
	}
	b, err := f.readAll(ctx, x, attrData, "", all)
	if err == nil && len(b) < 2*128 {
		err = guest.Corrupt("$UpCase has %d bytes", len(b))
	}
	return upcase(b), err
}

// countUsed counts the clusters in use; -1 when that would take long or can't
// be done.
func (f *FS) countUsed(ctx context.Context) int64 {
	const maxCount = 4 << 20 // bytes of $Bitmap: 128 GiB of clusters of 4 KiB
	s, err := f.bitmap(ctx)
	if err != nil || f.g.clusters > 8*maxCount {
		return -1
	}
	used := int64(0)
	b := make([]byte, pageBytes)
	for off := int64(0); off < (f.g.clusters+7)/8; off += pageBytes {
		piece := b[:min(pageBytes, (f.g.clusters+7)/8-off)]
		if f.readStream(ctx, s, piece, off) != nil {
			return -1
		}
		if off+int64(len(piece)) == (f.g.clusters+7)/8 && f.g.clusters%8 != 0 {
			piece[len(piece)-1] &= 1<<(f.g.clusters%8) - 1
		}
		for _, x := range piece {
			used += int64(bits.OnesCount8(x))
		}
	}
	return f.g.place(used)
}

// State implements guest.Filesystem.
func (f *FS) State() guest.State { return f.state }

// Root implements guest.Filesystem.
func (f *FS) Root() guest.Node { return recordRoot }
