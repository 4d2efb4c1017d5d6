package source

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// aheadStep is how much the kernel is asked for at once.
	aheadStep = 2 << 20
	// aheadBatch is how much it is asked for before it has brought all of that. In
	// between others come to their turn: a disk's queue prefers what lies next to what
	// it has just read, and reads before writes, so that without a pause a sync waits
	// for as long as there is something to read ahead.
	aheadBatch = 8 << 20
)

// ReadAhead has the kernel read the first n bytes of data of a file or block
// device, so that the disk works while whoever will read them has other things to
// do. It is advice: it returns when all of it is read or asked for, can't be, or ctx
// ends, and reports nothing.
func ReadAhead(ctx context.Context, path string, n int64) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	fd := int(f.Fd())
	batch := int64(0) // asked for since the last wait
	for off := int64(0); n > 0; {
		data, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return // no data follows
		}
		if err != nil {
			data = off // a device, or a file system that can't tell
		}
		hole, err := unix.Seek(fd, data, unix.SEEK_HOLE)
		if err != nil || hole <= data {
			hole = data + n
		}
		for off = data; off < hole && n > 0; {
			step := min(aheadStep, hole-off, n)
			if unix.Fadvise(fd, off, step, unix.FADV_WILLNEED) != nil {
				return
			}
			off, n, batch = off+step, n-step, batch+step
			if batch < aheadBatch {
				continue
			}
			if batch = 0; !arrived(f, off) || ctx.Err() != nil {
				return
			}
		}
	}
}

// arrived waits until what ends there has been read.
func arrived(f *os.File, end int64) bool {
	var b [1]byte
	_, err := f.ReadAt(b[:], end-1)
	return err == nil
}
