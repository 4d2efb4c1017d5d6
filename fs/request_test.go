package fs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"golang.org/x/sys/unix"

	"holdfast/chunkstore"
)

// A reader that was killed does not wait for a store that hangs.
func TestKilledReaderGoes(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 1<<20, 1)
	v := commit(t, s, "web", day, c)
	log := &logged{}
	m := mountTest(t, s, Options{Log: log.logger()})
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	s.mu.Lock()
	s.hold = hold
	s.mu.Unlock()
	cat := exec.Command("cat", rawPath(m, v, "vda"))
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the read", func() bool { return m.Stats().Reads > 0 })
	cat.Process.Kill()
	ended := make(chan error, 1)
	go func() { ended <- cat.Wait() }()
	select {
	case <-ended:
	case <-time.After(interruptPatience + time.Minute):
		t.Fatal("cat is still there")
	}
	if strings.Contains(log.String(), "failed") {
		t.Errorf("the interrupt was logged as a failure: %s", log)
	}
	s.mu.Lock()
	s.hold = nil
	s.mu.Unlock()
	release()
	if err := check(openRaw(t, rawPath(m, v, "vda"), 0), c, 0, make([]byte, 1<<20)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A signal that kills nobody is not seen by who reads.
func TestInterruptIsPatient(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	began, runs := time.Now(), 0
	err := patiently(ctx, func(ctx context.Context) error {
		if runs++; runs == 1 {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}
		return ctx.Err()
	})
	if err != nil || runs != 2 {
		t.Errorf("%v after %d runs", err, runs)
	}
	err = patiently(ctx, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > interruptPatience+time.Minute {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	tr := &tree{log: (&logged{}).logger()}
	if errno := tr.errno(ctx, place{op: "read"}, err); errno != syscall.EINTR {
		t.Errorf("it is told as %v", errno)
	}
}

type panicking struct{ *testStore }

func (panicking) Root(context.Context, string) ([]byte, error) { panic("made so by the test") }

// A panic is an EIO to who asked, a line in the log, and nothing to others.
func TestPanicIsEIO(t *testing.T) {
	s := newStore(t)
	v := commit(t, s, "web", day, newContent("vda", 1<<20, 1))
	log := &logged{}
	m, err := Mount(panicking{s}, t.TempDir(), Options{Log: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Unmount(t.Context(), 0)
	if _, err := os.Lstat(VersionPath(m.Dir(), v)); !errors.Is(err, syscall.EIO) {
		t.Errorf("%v, want EIO", err)
	}
	if got := names(t, m.Dir()); len(got) != 2 {
		t.Errorf("afterwards the root holds %q", got)
	}
	if m.Stats().Panics == 0 || !strings.Contains(log.String(), "made so by the test") {
		t.Errorf("%d panics; the log: %s", m.Stats().Panics, log)
	}
}

// Nodes whose inode numbers collide keep their own content.
func TestCollidingInodes(t *testing.T) {
	s := newStore(t)
	a, b := newContent("vda", 1<<20+1, 1), newContent("vdb", 1<<20+1, 2)
	v := commit(t, s, "web", day, a, b)
	w := commit(t, s, "db", day, b)
	m := startTest(t, func(dir string) (*Mounted, error) {
		opts := Options{Log: (&logged{}).logger(), Name: "test"}
		tr, err := newTree(s, opts)
		if err != nil {
			return nil, err
		}
		tr.identify = func(parts ...string) fusefs.StableAttr {
			return fusefs.StableAttr{Ino: 42, Gen: identify(parts...).Gen}
		}
		return start(tr, dir, opts)
	})
	for range 2 {
		for _, x := range []struct {
			path string
			want *content
		}{{rawPath(m, v, "vda"), a}, {rawPath(m, v, "vdb"), b}, {rawPath(m, w, "vdb"), b}} {
			if got, err := os.ReadFile(x.path); err != nil || !bytes.Equal(got, x.want.bytes) {
				t.Errorf("%s: %d bytes, %v", x.path, len(got), err)
			}
		}
	}
}

// shrinking is a store whose first version can be deleted.
type shrinking struct {
	*testStore
	mu   sync.Mutex
	gone string // part of a root's name
}

func (s *shrinking) isGone(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone != "" && strings.Contains(name, s.gone)
}

func (s *shrinking) Root(ctx context.Context, name string) ([]byte, error) {
	if s.isGone(name) {
		return nil, chunkstore.ErrNotFound
	}
	return s.testStore.Root(ctx, name)
}

func (s *shrinking) Roots(ctx context.Context, prefix, from string, fn func(string, []byte) bool) error {
	return s.testStore.Roots(ctx, prefix, from, func(name string, body []byte) bool {
		return s.isGone(name) || fn(name, body)
	})
}

// A version that was deleted disappears with the next listing, and latest
// falls back; the kernel would else keep it for a day.
func TestDeletedVersionsDisappear(t *testing.T) {
	s := &shrinking{testStore: newStore(t)}
	c := newContent("vda", 1<<20, 1)
	v := commit(t, s.testStore, "web", day, c)
	w := commit(t, s.testStore, "web", day.Add(time.Hour), c)
	m := mountTest(t, s, Options{})
	names(t, m.Dir()+"/web")
	if _, err := os.Stat(rawPath(m, w, "vda")); err != nil {
		t.Fatal(err)
	}
	if link, err := os.Readlink(m.Dir() + "/web/latest"); err != nil || link != w.ID {
		t.Fatal(link, err)
	}
	s.mu.Lock()
	s.gone = w.ID
	s.mu.Unlock()
	if got := names(t, m.Dir()+"/web"); !slices.Equal(got, []string{v.ID, "latest"}) {
		t.Errorf("the VM holds %q", got)
	}
	waitFor(t, "the version to disappear", func() bool {
		_, err := os.Lstat(VersionPath(m.Dir(), w))
		return errors.Is(err, os.ErrNotExist)
	})
	waitFor(t, "latest to fall back", func() bool {
		link, err := os.Readlink(m.Dir() + "/web/latest")
		return err == nil && link == v.ID
	})
}

// A directory that is rewound is listed anew.
func TestRewoundDirectory(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 1<<16, 1)
	commit(t, s, "web", day, c)
	m := mountTest(t, s, Options{})
	fd := openRaw(t, m.Dir()+"/web", unix.O_DIRECTORY)
	count := func() (n int) {
		buf := make([]byte, 4096)
		for {
			got, err := unix.Getdents(fd, buf)
			if err != nil {
				t.Fatal(err)
			}
			if got == 0 {
				return n
			}
			_, k, _ := unix.ParseDirent(buf[:got], -1, nil)
			n += k
		}
	}
	if n := count(); n != 2 {
		t.Fatalf("%d names", n)
	}
	commit(t, s, "web", day.Add(time.Hour), c)
	if n := count(); n != 0 {
		t.Fatalf("%d names behind the end", n)
	}
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 3 {
		t.Errorf("%d names after a rewind, want 3", n)
	}
}

// Memo is none: the store's is of more roots.
func (s *shrinking) Memo() *chunkstore.Memo { return nil }

// A version that was forgotten and brought back is whole, also for who was in it all the time.
func TestVersionIsBack(t *testing.T) {
	s := &shrinking{testStore: newStore(t)}
	c := newContent("vda", 1<<16, 1)
	commit(t, s.testStore, "web", day, c)
	v := commit(t, s.testStore, "web", day.Add(-time.Hour), c)
	m := mountTest(t, s, Options{})
	dir := VersionPath(m.Dir(), v)
	openRaw(t, dir, unix.O_DIRECTORY)
	want := readNames(t, dir, true)
	setGone := func(id string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.gone = id
	}
	setGone(v.ID)
	waitFor(t, "the version to go", func() bool {
		readNames(t, m.Dir()+"/web", false)
		return errors.Is(unix.Lstat(dir, new(unix.Stat_t)), unix.ENOENT)
	})
	setGone("")
	if got := readNames(t, dir, true); !slices.Equal(got, want) {
		t.Errorf("it holds %q, want %q", got, want)
	}
}
