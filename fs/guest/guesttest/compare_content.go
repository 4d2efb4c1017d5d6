package guesttest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest"
)

// wholeBelow is the size up to which a file is compared byte by byte; of
// larger ones the data, and what lies around it.
const wholeBelow = 16 << 20

// piece is the odd length in which content is read.
const piece = 300_007

func statx(path string) (*unix.Statx_t, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_ALL, &st)
	return &st, err
}

// compareContent compares a regular file's bytes and extents.
func (c *comparison) compareContent(path string, n guest.Node, attr guest.Attr) {
	f, err := os.Open(filepath.Join(c.dir, path))
	if err != nil {
		c.differ(path, "the kernel's open: %v", err)
		return
	}
	defer f.Close()
	c.compareGeneration(path, attr, f)
	data := c.compareExtents(path, n, attr.Size, f)
	if attr.Size <= wholeBelow {
		c.compareRange(path, n, f, 0, attr.Size, attr.Size)
	} else {
		for _, e := range data {
			from, to := max(e.Offset-9000, 0), min(e.Offset+e.Length+9000, attr.Size)
			c.compareRange(path, n, f, from, to-from, attr.Size)
		}
	}
	c.comparePieces(path, n, f, attr.Size)
	c.compareEnds(path, n, attr.Size)
}

func (c *comparison) compareGeneration(path string, attr guest.Attr, f *os.File) {
	if c.NoGeneration {
		return
	}
	const getVersion = 0x80087601 // FS_IOC_GETVERSION
	var generation [2]uint32      // the kernel writes an int, whatever the number says
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), getVersion, uintptr(unsafe.Pointer(&generation)))
	if errno == 0 && attr.Generation != uint64(generation[0]) {
		c.differ(path, "generation %d, the kernel says %d", attr.Generation, generation[0])
	}
}

// compareExtents compares with FIEMAP and gives the kernel's data extents, or
// ours where there is no FIEMAP.
func (c *comparison) compareExtents(path string, n guest.Node, size int64, f *os.File) []guest.Extent {
	var ours []guest.Extent
	end := int64(0)
	err := c.fs.Extents(c.ctx, n, 0, func(e guest.Extent) bool {
		if e.Offset != end || e.Length < 1 {
			c.differ(path, "extent %+v, after an end at %d", e, end)
		}
		end = e.Offset + e.Length
		ours = append(ours, e)
		return true
	})
	if err != nil || end != size {
		c.differ(path, "extents end at %d of %d, %v", end, size, err)
	}
	c.places[n] = joined(ours, size)
	c.compareExtentsFrom(path, n, ours)
	if c.NoFiemap {
		return joined(ours, size)
	}
	kernel, err := kernelExtents(f)
	if err != nil {
		c.differ(path, "the kernel's extents: %v", err)
		return nil
	}
	want, got := joined(kernel, size), joined(ours, size)
	if c.OtherPlaces {
		forget(want)
		forget(got)
		want, got = joined(want, size), joined(got, size)
	}
	if !slices.Equal(got, want) {
		c.differ(path, "%d extents %.5v, the kernel has %d: %.5v", len(got), got, len(want), want)
	}
	return joined(kernel, size)
}

// forget drops the places.
func forget(extents []guest.Extent) {
	for i := range extents {
		extents[i].Place = -1
	}
}

// compareExtentsFrom asks from the middle of some extents: the run that holds
// the place comes first, and the last one ends where it did.
func (c *comparison) compareExtentsFrom(path string, n guest.Node, all []guest.Extent) {
	for i := 0; i < len(all); i += 1 + len(all)/3 {
		from := all[i].Offset + all[i].Length/2
		var got []guest.Extent
		err := c.fs.Extents(c.ctx, n, from, func(e guest.Extent) bool { got = append(got, e); return len(got) < 2 })
		if err != nil || len(got) == 0 || got[0].Offset > from || got[0].Offset+got[0].Length <= from || got[0].Hole != all[i].Hole {
			c.differ(path, "extents from %d: %v, %v; want %+v", from, got, err, all[i])
		}
	}
}

// compareRange compares size bytes at off, in pieces of odd lengths.
func (c *comparison) compareRange(path string, n guest.Node, f *os.File, off, length, size int64) {
	for end := off + length; off < end; off += piece {
		k := min(piece, end-off)
		want, got := c.want[:k], c.got[:k]
		if _, err := f.ReadAt(want, off); err != nil {
			c.differ(path, "the kernel's read at %d: %v", off, err)
			return
		}
		for i := range got {
			got[i] = 0xcc // zeros must be written, not found
		}
		m, err := c.fs.ReadAt(c.ctx, n, got, off)
		if int64(m) != k || err != nil && (!errors.Is(err, io.EOF) || off+k < size) {
			c.differ(path, "read of %d bytes at %d of %d: %d, %v", k, off, size, m, err)
			return
		}
		if !bytes.Equal(got, want) {
			c.differ(path, "bytes %d to %d of %d differ", off, off+k, size)
			return
		}
		c.bytes += k
	}
}

// comparePieces reads at a few random places.
func (c *comparison) comparePieces(path string, n guest.Node, f *os.File, size int64) {
	rnd := rand.New(rand.NewPCG(uint64(n), uint64(size)))
	for range 3 {
		if size == 0 {
			return
		}
		off := rnd.Int64N(size)
		c.compareRange(path, n, f, off, min(1+rnd.Int64N(9000), size-off), size)
	}
}

// compareEnds reads around the end of a file.
func (c *comparison) compareEnds(path string, n guest.Node, size int64) {
	p := make([]byte, 3)
	for off := max(size-1, 0); off <= size+1; off++ {
		want := max(size-off, 0)
		if m, err := c.fs.ReadAt(c.ctx, n, p, off); int64(m) != want || !errors.Is(err, io.EOF) {
			c.differ(path, "read at %d of %d: %d, %v; want %d, EOF", off, size, m, err, want)
		}
	}
	if _, err := c.fs.ReadAt(c.ctx, n, p, -1); err == nil || errors.Is(err, io.EOF) {
		c.differ(path, "read at -1: %v", err)
	}
}

// compareFiles holds Files against Extents: every regular file with bytes in
// the volume, whole.
func (c *comparison) compareFiles() {
	got := map[guest.Node][]guest.Extent{}
	err := c.fs.Files(c.ctx, func(n guest.Node, size int64, e guest.Extent) bool {
		if e.Hole || e.Place < 0 {
			c.differ("files", "node %d: %+v", n, e)
		}
		got[n] = append(got[n], guest.Extent{Offset: e.Offset, Length: min(e.Length, max(size-e.Offset, 0)), Place: e.Place})
		return true
	})
	if err != nil {
		c.differ("files", "%v", err)
	}
	for n, want := range c.places {
		want = slices.DeleteFunc(slices.Clone(want), func(e guest.Extent) bool { return e.Place < 0 })
		if have := joined(got[n], 1<<62); !slices.Equal(have, want) && !c.full() {
			c.differ("files", "node %d: %.5v, want %.5v", n, have, want)
		}
	}
}
