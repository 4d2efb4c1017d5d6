package fs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childEnv makes the test program do what a test wants done in a process of
// its own.
const childEnv = "HOLDFAST_FS_TEST"

func TestMain(m *testing.M) {
	if status, asked := RunWatchdogIfAsked(); asked {
		os.Exit(status)
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // of children: watchdogs end at once
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "hash mapped":
		hashMapped(os.Args[1])
	case "mount and hang":
		mountAndHang(os.Args[1], func(*testing.T, *Mounted) {
			fmt.Println("ready")
			time.Sleep(time.Minute)
		})
	case "mount and read":
		mountAndHang(os.Args[1], readAsUser)
	}
	os.Exit(2)
}

// hashMapped prints the hash of a file, read through a shared mapping. A page
// fault of this process in a mount of this process could stop it for ever.
func hashMapped(path string) {
	f, err := os.Open(path)
	if err != nil {
		fail(err)
	}
	st, err := f.Stat()
	if err != nil {
		fail(err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		fail(err)
	}
	fmt.Printf("%x", sha256.Sum256(b))
	os.Exit(0)
}

// mountAndHang mounts a store with one version, then does something.
func mountAndHang(dir string, then func(*testing.T, *Mounted)) {
	testing.Init()
	testing.Main(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "child", F: func(t *testing.T) {
		s := newStore(t)
		commit(t, s, "web", day, newContent("vda", 1<<20, 1))
		m, err := Mount(s, dir, Options{})
		if err != nil {
			fail(err)
		}
		then(t, m)
	}}}, nil, nil)
}

// readAsUser proves that a mount works for its user, and takes it down.
func readAsUser(t *testing.T, m *Mounted) {
	path := m.Dir() + "/web/latest/vda.raw"
	b, err := os.ReadFile(path)
	if want := newContent("vda", 1<<20, 1); err != nil || !bytes.Equal(b, want.bytes) {
		t.Errorf("%s: %d bytes, %v", path, len(b), err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || int(st.Uid) != os.Getuid() {
		t.Errorf("owner %d, %v, want %d", st.Uid, err, os.Getuid())
	}
	if err := unix.Unlink(path); err != unix.EROFS {
		t.Errorf("unlink: %v, want EROFS", err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var busy *BusyError
	if err := m.Unmount(t.Context(), -1); !errors.As(err, &busy) || len(busy.Holders) == 0 {
		t.Errorf("a busy unmount: %v", err)
	}
	unix.Close(fd)
	if err := m.Unmount(t.Context(), time.Second); err != nil {
		t.Errorf("unmount: %v", err)
	}
	if !t.Failed() {
		fmt.Println("read")
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
