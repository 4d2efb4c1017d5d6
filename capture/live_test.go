package capture

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// touched is a source whose file is written to when it is first read: that is
// by the look for the guest's files.
type touched struct {
	*memDisk
	once sync.Once
	path string
	t    *testing.T
}

func (d *touched) ReadAt(p []byte, off int64) (int, error) {
	d.once.Do(func() {
		if err := os.Chtimes(d.path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
			d.t.Error(err)
		}
	})
	return d.memDisk.ReadAt(p, off)
}

// TestWrittenBetweenLookAndRead: what a guest writes after its free space was
// looked for is not in the version, and the version says that it may not be.
func TestWrittenBetweenLookAndRead(t *testing.T) {
	d := &touched{memDisk: plainDisk(bytes.Repeat([]byte("live"), 1<<20)), path: filepath.Join(t.TempDir(), "live.raw"), t: t}
	if err := os.WriteFile(d.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := options("vm", 1, d.memDisk)
	o.Disks[0].Source.Disk, o.Disks[0].Source.Files = d, []string{d.path}
	v, err := Run(context.Background(), newFixture(t).store, o)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Join(v.Disks[0].Notices, " "); !strings.Contains(n, "changed while it was read") {
		t.Errorf("notices %q", n)
	}
}
