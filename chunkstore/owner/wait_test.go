package owner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/chunkstore"
)

// TestStartingOwner has clients wait for an owner that takes long to open the
// store, longer than their patience with a silent one.
func TestStartingOwner(t *testing.T) {
	dir := newStore(t)
	slow, go1 := fast(), make(chan struct{})
	slow.open = func(dir string) (local, error) {
		<-go1
		return chunkstore.Open(dir, chunkstore.Options{})
	}
	first := make(chan *Handle)
	go func() {
		h, err := Open(context.Background(), dir, slow)
		if err != nil {
			t.Error(err)
		}
		first <- h
	}()
	eventually(t, "the owner listens", func() bool { _, err := os.Stat(filepath.Join(dir, socketName)); return err == nil })
	var log syncBuffer
	o := Options{Wait: 50 * time.Millisecond, Log: logTo(&log), Grace: time.Second}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := Open(ctx, dir, o)
	wantError(t, err, context.DeadlineExceeded)
	second := make(chan *Handle)
	go func() {
		h, err := Open(context.Background(), dir, o)
		if err != nil {
			t.Error(err)
		}
		second <- h
	}()
	eventually(t, "the wait is told", func() bool { return strings.Contains(log.String(), "is starting") })
	close(go1)
	h1, h2 := <-first, <-second
	store(t, h2, "r/0", []byte("x"))
	mustUnix(t, h2.Close())
	mustUnix(t, h1.Close())
}

// TestStartingFails sees that an owner that can't open the store leaves, and
// that the one who waited gets the store's own error.
func TestStartingFails(t *testing.T) {
	dir := newStore(t)
	sorry := errors.New("index is on fire")
	o := fast()
	o.open = func(string) (local, error) { return nil, sorry }
	for range 2 {
		_, err := Open(t.Context(), dir, o)
		wantError(t, err, sorry)
	}
	if _, err := os.Lstat(filepath.Join(dir, socketName)); !os.IsNotExist(err) {
		t.Fatalf("the socket is still there: %v", err)
	}
	open(t, dir, fast())
}

// TestSilentOwner has an owner that is stopped: the error names it.
func TestSilentOwner(t *testing.T) {
	dir := newStore(t)
	p := start(t, "serve", dir)
	p.want(t, "owner true")
	h := open(t, dir, fast())
	s := begin(t, h)
	p.stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := h.Root(ctx, "r/0")
	wantError(t, err, context.DeadlineExceeded)
	wantError(t, s.Commit(ctx, "r/0", nil), context.DeadlineExceeded)
	ctx, cancel = context.WithTimeout(t.Context(), time.Second) // in which it learns whom it waits for
	defer cancel()
	_, err = Open(ctx, dir, fast())
	wantError(t, err, context.DeadlineExceeded)
	if !strings.Contains(err.Error(), fmt.Sprintf("process %d", p.cmd.Process.Pid)) {
		t.Fatalf("the error does not name the owner: %v", err)
	}
	p.signal(t, syscall.SIGCONT)
	mustUnix(t, s.Commit(t.Context(), "r/1", []byte("body of r/1")))
	mustUnix(t, s.Close())
}

// TestForeignLock has the lock held by something that is no owner.
func TestForeignLock(t *testing.T) {
	dir := newStore(t)
	d, err := openDir(dir)
	mustUnix(t, err)
	defer d.close()
	lk, err := tryLock(d, holder{PID: 4711, Command: "evil\x1b[2J"})
	mustUnix(t, err)
	o := Options{Wait: 60 * time.Millisecond}
	_, err = Open(t.Context(), dir, o)
	if err == nil || !strings.Contains(err.Error(), `process 4711 ("evil\x1b[2J"`) {
		t.Fatalf("got %v", err)
	}
	if err := os.Truncate(filepath.Join(dir, lockName), 0); err != nil {
		t.Fatal(err)
	}
	if _, err = Open(t.Context(), dir, o); err == nil || !strings.Contains(err.Error(), "an unknown process") {
		t.Fatalf("got %v", err)
	}
	mustUnix(t, lk.release())
	open(t, dir, o)
}

// TestCloseGrace lets a client's session end before the owner leaves, and cuts
// off the one that does not.
func TestCloseGrace(t *testing.T) {
	o, patient := fast(), fast()
	patient.Grace = 2 * time.Minute
	dir := newStore(t)
	own, cli := open(t, dir, patient), open(t, dir, o)
	s := begin(t, cli)
	closed := make(chan error, 1)
	go func() { closed <- own.Close() }()
	eventually(t, "the owner is closing", func() bool {
		own.cur.Load()
		_, err := own.Root(t.Context(), "r/0")
		return errors.Is(err, ErrClosed)
	})
	mustUnix(t, s.Commit(t.Context(), "r/0", []byte("body of r/0")))
	mustUnix(t, s.Close())
	began := time.Now()
	mustUnix(t, <-closed)
	if d := time.Since(began); d > patient.Grace/2 {
		t.Errorf("close took %v after the last session", d)
	}
	s2 := begin(t, cli) // cli owns the store now
	third := open(t, own.path, fast())
	s3 := begin(t, third)
	began = time.Now()
	mustUnix(t, cli.Close())
	if d := time.Since(began); d < o.Grace/2 {
		t.Errorf("close took %v with a session open", d)
	}
	wantError(t, s2.Commit(t.Context(), "r/1", nil), ErrClosed)
	wantError(t, s3.Commit(t.Context(), "r/1", nil), ErrOwnerLost)
	if got := names(t, third, "", ""); len(got) != 1 {
		t.Fatalf("roots %q", got)
	}
}

// TestManyClients works through one owner at once.
func TestManyClients(t *testing.T) {
	dir := newStore(t)
	open(t, dir, fast())
	var wg sync.WaitGroup
	for g := range 12 {
		wg.Go(func() {
			h, err := Open(t.Context(), dir, fast())
			if err != nil {
				t.Error(err)
				return
			}
			defer h.Close()
			for i := range 5 {
				shared, own := plainOf(uint64(i), 3000), plainOf(uint64(1000+100*g+i), 3000)
				ids := store(t, h, fmt.Sprintf("g/%d/%d", g, i), shared, own)
				wantChunk(t, h, ids[0], shared)
				wantChunk(t, h, ids[1], own)
			}
		})
	}
	wg.Wait()
	h := open(t, dir, fast())
	st, err := h.Stats(t.Context())
	if err != nil || st.Roots != 60 || st.OpenSessions != 0 {
		t.Fatalf("%+v, %v", st, err)
	}
}

// TestNoStore passes on what is wrong with a directory and leaves it as it is.
func TestNoStore(t *testing.T) {
	empty := t.TempDir()
	_, err := Open(t.Context(), empty, fast())
	wantError(t, err, chunkstore.ErrNoStore)
	if es, _ := os.ReadDir(empty); len(es) != 0 {
		t.Fatalf("made %v in a directory that is no store", es)
	}
	if _, err := Open(t.Context(), filepath.Join(empty, "none"), fast()); err == nil {
		t.Fatal("opened what does not exist")
	}
	newer := newStore(t)
	for _, name := range []string{"config.json", "config.copy.json"} {
		mustUnix(t, os.WriteFile(filepath.Join(newer, name), []byte(`{"holdfast_format": 99}`), 0o600))
	}
	if _, err := Open(t.Context(), newer, fast()); err == nil || !strings.Contains(err.Error(), "newer holdfast") {
		t.Fatalf("got %v", err)
	}
	ro := newStore(t)
	mustUnix(t, unix.Mount(ro, ro, "", unix.MS_BIND, ""))
	defer unix.Unmount(ro, unix.MNT_DETACH)
	mustUnix(t, unix.Mount("", ro, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	_, err = Open(t.Context(), ro, fast())
	wantError(t, err, unix.EROFS)
}

// TestCloseWhileSearching ends a handle that waits for an owner.
func TestCloseWhileSearching(t *testing.T) {
	own, cli := pair(t, fast())
	d, err := openDir(own.path)
	mustUnix(t, err)
	defer d.close()
	mustUnix(t, own.Close())
	lk, err := tryLock(d, holder{})
	mustUnix(t, err)
	defer lk.release()
	done := make(chan error)
	go func() { _, err := cli.Root(context.Background(), "r/0"); done <- err }()
	time.Sleep(30 * time.Millisecond)
	mustUnix(t, cli.Close())
	wantError(t, <-done, ErrClosed)
	wantError(t, cli.Call(t.Context(), "/v1/x/y", nil, nil), ErrClosed)
}

// TestCloseWaits sees that the store is closed after the last operation and
// session of the owner's own process, as it demands.
func TestCloseWaits(t *testing.T) {
	f := &orderStore{reading: make(chan struct{}), read: make(chan struct{})}
	o := fast()
	o.open = func(string) (local, error) { return f, nil }
	h := open(t, newStore(t), o)
	s, err := h.Begin(t.Context(), "")
	mustUnix(t, err)
	go h.Get(context.Background(), chunkstore.ID{1}, nil)
	<-f.reading
	closed := make(chan error)
	go func() { closed <- h.Close() }()
	select {
	case <-closed:
		t.Fatal("closed during an operation")
	case <-time.After(50 * time.Millisecond):
	}
	close(f.read)
	mustUnix(t, <-closed)
	if got := strings.Join(f.order, " "); got != "read session store" {
		t.Fatalf("order of ends: %s", got)
	}
	mustUnix(t, s.Close())
	if len(f.order) != 3 {
		t.Fatalf("ended twice: %v", f.order)
	}
}

// orderStore notes in which order things end.
type orderStore struct {
	local
	reading, read chan struct{}
	order         []string
}

func (f *orderStore) Get(context.Context, chunkstore.ID, []byte) ([]byte, error) {
	close(f.reading)
	<-f.read
	f.order = append(f.order, "read")
	return nil, nil
}

func (f *orderStore) Begin(context.Context, string) (chunkstore.Session, error) {
	return &orderSession{store: f}, nil
}

func (f *orderStore) Close() error {
	f.order = append(f.order, "store")
	return nil
}

type orderSession struct {
	chunkstore.Session
	store *orderStore
}

func (s *orderSession) Close() error {
	s.store.order = append(s.store.order, "session")
	return nil
}
