package owner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const lockName = "lock"

// errHeld says that another handle holds the store's lock.
var errHeld = errors.New("lock is held")

// lock is the right to open the store. It dies with the process.
type lock struct{ f *os.File }

// tryLock takes the store's lock and writes who into it, or fails with errHeld
// at once.
func tryLock(d *storeDir, who holder) (*lock, error) {
	for {
		f, err := d.open(lockName, unix.O_RDWR|unix.O_CREAT, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock store: %w", err)
		}
		if err := flock(f); err != nil {
			f.Close()
			return nil, err
		}
		same, err := stillNamed(d, f)
		if err == nil && same {
			l := &lock{f}
			l.write(who)
			return l, nil
		}
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("lock store: %w", err)
		}
		// Somebody removed the file between open and flock: this lock is on a
		// file that nobody else can see any more.
	}
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return errHeld
		default:
			return fmt.Errorf("lock store: %w", &os.PathError{Op: "flock", Path: f.Name(), Err: err})
		}
	}
}

// stillNamed reports whether f is the file that the name lock leads to.
func stillNamed(d *storeDir, f *os.File) (bool, error) {
	var have, named unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &have); err != nil {
		return false, err
	}
	err := d.with(func(dir int) error { return unix.Fstatat(dir, lockName, &named, unix.AT_SYMLINK_NOFOLLOW) })
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil && have.Dev == named.Dev && have.Ino == named.Ino, err
}

// noteUnit is what the note of a holder is filled up to a multiple of: a page. Less
// of one that is not in memory is read before it is written over, and that read waits
// behind whatever the disk is busy with (measured behind a read-ahead: 40 ms).
const noteUnit = 4096

// write notes who holds the lock. A failure (a full disk) costs a message its
// detail and nothing else. The last holder's note is written over, not cut off
// first: a file that gives its only block back and takes another waits for the
// file system's bitmaps, 0.1 s where they must come from a busy disk.
func (l *lock) write(who holder) {
	b, err := json.Marshal(who)
	if err != nil {
		return
	}
	fill := noteUnit - 1 - len(b)%noteUnit
	b = append(append(b, bytes.Repeat([]byte{' '}, fill)...), '\n')
	if _, err := l.f.WriteAt(b, 0); err != nil {
		return
	}
	if st, err := l.f.Stat(); err == nil && st.Size() > int64(len(b)) {
		l.f.Truncate(int64(len(b)))
	}
}

// release gives the lock back, also where a child process between fork and
// exec still has the descriptor.
func (l *lock) release() error {
	err := unix.Flock(int(l.f.Fd()), unix.LOCK_UN)
	return errors.Join(err, l.f.Close())
}

// holder is what the lock file says about who holds it. It is for messages
// only: anybody may have written it, and the process may be gone.
type holder struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

func (h holder) String() string {
	if h.PID == 0 {
		return "an unknown process"
	}
	return fmt.Sprintf("process %d (%q, since %s)", h.PID, h.Command, h.Since.Format(time.RFC3339))
}

// readHolder returns what the lock file says; the zero holder when it says
// nothing sensible.
func readHolder(d *storeDir) holder {
	f, err := d.open(lockName, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return holder{}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4*noteUnit))
	if err != nil {
		return holder{}
	}
	var h holder
	if json.Unmarshal(b, &h) != nil {
		return holder{}
	}
	return h
}
