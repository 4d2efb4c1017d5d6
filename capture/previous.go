package capture

import (
	"context"
	"os"
	"time"

	"holdfast/chunkstore/disk"
)

// previousMapBytes bounds the cached maps of the previous version, which are
// used once and in order.
const previousMapBytes = 4 << 20

// previous is a disk as the VM's newest version has it.
type previous struct {
	reader *disk.Reader
}

// region returns the previous map of region n, nil when there was none.
func (p *previous) region(ctx context.Context, n int64) (disk.RegionMap, error) {
	if p == nil || n*disk.RegionSize >= p.reader.Size() {
		return nil, nil
	}
	return p.reader.RegionMap(ctx, n)
}

// stamps are the times at which a source's files were last changed.
type stamps map[string]time.Time

func stampFiles(files []string) stamps {
	s := stamps{}
	for _, f := range files {
		if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() {
			s[f] = st.ModTime()
		}
	}
	return s
}

// changed names a file that was changed since its stamp, or nothing.
func (s stamps) changed() string {
	for f, t := range s {
		if st, err := os.Stat(f); err != nil || !st.ModTime().Equal(t) {
			return f
		}
	}
	return ""
}
