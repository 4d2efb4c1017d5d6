package btrfs

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// TestCrashImages compares images that were copied while a random workload ran
// with what the kernel makes of them.
func TestCrashImages(t *testing.T) {
	for i, c := range []guesttest.Crash{
		{Size: 160 << 20, Mkfs: mkfs("-m", "single")},
		{Size: 128 << 20, Mkfs: mkfs("-M", "-n", "4k", "-O", "^no-holes"), Options: []string{"compress-force=zstd"}},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			c.Seed = uint64(i)
			guesttest.CrashImages(t, c, guesttest.Rounds(t, 1), func(t testing.TB, snapshot, recovered string) {
				compareCrashed(t, snapshot, recovered, sees)
			})
		})
	}
}

// compareCrashed gives how many logs were replayed.
func compareCrashed(t testing.TB, snapshot, recovered string, o guesttest.Options) int {
	t.Helper()
	fs := guesttest.OpenImage(t, snapshot, open)
	st := fs.State()
	t.Logf("%v %d %s", st.Health, st.Replayed, st.Reason)
	if st.Health == guest.NotReplayed {
		t.Errorf("state %+v", st)
	}
	guesttest.CompareTreeBut(t, fs, recovered, o)
	return st.Replayed
}

// logger is a workload that syncs what it touches, into the log and seldom into
// a commit.
type logger struct {
	t    testing.TB
	rnd  *rand.Rand
	root string
	dirs []string
	all  []string // regular files
}

func (l *logger) file() string { return l.all[l.rnd.IntN(len(l.all))] }

func (l *logger) name() string {
	return filepath.Join(l.dirs[l.rnd.IntN(len(l.dirs))], fmt.Sprintf("%x%s", l.rnd.Uint32()%4000, strings.Repeat("y", l.rnd.IntN(30))))
}

func (l *logger) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(l.rnd.Uint32() >> l.rnd.IntN(8))
	}
	return b
}

// write puts bytes at some place of a file.
func (l *logger) write(path string, off int64, n int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(l.bytes(n), off)
	return errors.Join(err, f.Close())
}

// step does one thing and syncs what it did, most of the time.
func (l *logger) step() error {
	path := l.file()
	var err error
	switch op := l.rnd.IntN(20); op {
	case 0, 1, 2, 3:
		path = l.name()
		if err = l.write(path, 0, []int{0, 10, 2000, 9000, 200_000}[l.rnd.IntN(5)]); err == nil {
			l.all = append(l.all, path)
		}
	case 4, 5, 6:
		err = l.write(path, l.rnd.Int64N(300_000), 1+l.rnd.IntN(20_000))
	case 7, 8:
		err = os.Truncate(path, l.rnd.Int64N(100_000))
	case 9:
		err = unix.Setxattr(path, fmt.Sprintf("user.a%d", l.rnd.IntN(6)), l.bytes(40), 0)
	case 10:
		err = unix.Removexattr(path, fmt.Sprintf("user.a%d", l.rnd.IntN(6)))
		if errors.Is(err, unix.ENODATA) {
			err = nil
		}
	case 11, 12:
		to := l.name()
		if err = os.Link(path, to); err == nil {
			l.all = append(l.all, to)
		}
	case 13, 14:
		to := l.name()
		if err = os.Rename(path, to); err == nil {
			l.all = append(l.all, to)
			path = to
		}
	case 15:
		err = os.Remove(path)
		path = filepath.Dir(path)
	case 16:
		err = l.fallocate(path)
	case 17:
		dir := l.name()
		if err = os.Mkdir(dir, 0o750); err == nil {
			l.dirs = append(l.dirs, dir)
			path = dir
		}
	case 18:
		path = filepath.Dir(path)
	case 19:
		err = os.Symlink(strings.Repeat("s", 1+l.rnd.IntN(90)), l.name())
	}
	if err != nil || l.rnd.IntN(4) == 0 {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// fallocate makes an unwritten extent, or a hole.
func (l *logger) fallocate(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	mode := uint32(unix.FALLOC_FL_KEEP_SIZE)
	if l.rnd.IntN(2) == 0 {
		mode |= unix.FALLOC_FL_PUNCH_HOLE
	}
	err = unix.Fallocate(int(f.Fd()), mode, l.rnd.Int64N(200_000), 1+l.rnd.Int64N(100_000))
	return errors.Join(err, f.Close())
}

// run does n steps behind a commit.
func (l *logger) run(n int) {
	err := filepath.WalkDir(l.root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			l.dirs = append(l.dirs, path)
		case d.Type().IsRegular():
			l.all = append(l.all, path)
		}
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	for len(l.all) < 30 {
		path := l.name()
		if err := l.write(path, 0, 5000); err != nil {
			l.t.Fatal(err)
		}
		l.all = append(l.all, path)
	}
	guesttest.Run(l.t, "btrfs", "filesystem", "sync", l.root)
	for range n {
		err := l.step()
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EXDEV) {
			l.t.Fatalf("workload: %v", err)
		}
	}
}

// TestLogs compares images whose logs hold much with the kernel's replay.
func TestLogs(t *testing.T) {
	for i, kind := range []struct {
		mkfs, mount []string
	}{
		{mkfs("-m", "single"), nil},
		{mkfs("-m", "single", "-n", "4k", "-O", "^no-holes"), []string{"compress-force=lzo"}},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(uint64(i), 11))
			image := guesttest.Mkfs(t, 160<<20, kind.mkfs...)
			dir := t.TempDir()
			snapshot, recovered := filepath.Join(dir, "snapshot"), filepath.Join(dir, "recovered")
			replayed := 0
			for round := range guesttest.Rounds(t, 4) {
				guesttest.Mounted(t, image, func(mnt string) {
					root := mnt
					if round%3 == 2 {
						root = mnt + "/volume"
						if _, err := os.Stat(root); err != nil {
							guesttest.Run(t, "btrfs", "subvolume", "create", root)
						}
					}
					l := logger{t: t, rnd: rnd, root: root}
					l.run(3 + rnd.IntN(40))
					guesttest.Snapshot(t, image, snapshot)
					time.Sleep(20 * time.Millisecond) // what comes now is later by any clock
				}, append(kind.mount, "commit=300")...)
				guesttest.Run(t, "cp", "--sparse=always", snapshot, recovered)
				o := sees
				o.Recovery = time.Now().Truncate(10 * time.Millisecond) // files' clock is coarse
				guesttest.Mounted(t, recovered, func(mnt string) { replayed += compareCrashed(t, snapshot, mnt, o) })
				if t.Failed() {
					guesttest.Keep(t, snapshot)
					t.Fatalf("round %d", round)
				}
			}
			t.Logf("%d logs replayed", replayed)
			if replayed == 0 {
				t.Error("nothing was ever replayed")
			}
		})
	}
}
