package source

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// aheadStep is how much the kernel is asked for at once.
const aheadStep = 2 << 20

// ReadAhead has the kernel begin to read the first n bytes of data of a file or
// block device, so that the disk works while whoever will read them has other
// things to do. It is advice: it returns when all of it is asked for, or can't
// be, and reports nothing.
func ReadAhead(path string, n int64) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	fd := int(f.Fd())
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
			off, n = off+step, n-step
		}
	}
}
