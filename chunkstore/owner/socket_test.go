package owner

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/chunkstore"
)

// dialAnyone dials without a look at who listens.
func dialAnyone(d *storeDir) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
		err = d.with(func(dir int) error {
			conn, err = new(net.Dialer).DialContext(ctx, "unix", short(dir, socketName))
			return err
		})
		return conn, err
	}
}

// TestLongPath has a store whose path is far longer than a socket's may be.
func TestLongPath(t *testing.T) {
	dir := t.TempDir()
	for len(dir) < 3000 {
		dir = filepath.Join(dir, strings.Repeat("long", 50))
	}
	if _, err := chunkstore.Create(dir, chunkstore.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	own, cli := open(t, dir, fast()), open(t, dir, fast())
	if _, self := cli.Owner(); self {
		t.Fatal("two owners")
	}
	id := store(t, cli, "r/0", []byte("deep"))[0]
	wantChunk(t, own, id, []byte("deep"))
}

// TestLeftovers has a dead owner's files, and worse, in the way.
func TestLeftovers(t *testing.T) {
	dir := newStore(t)
	for _, name := range []string{socketName, socketNewName} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, name), Net: "unix"})
		mustUnix(t, err)
		l.SetUnlinkOnClose(false)
		mustUnix(t, l.Close())
	}
	mustUnix(t, os.WriteFile(filepath.Join(dir, lockName), []byte(`{"pid": 1, "command": "dead"}`), 0o600))
	own, cli := open(t, dir, fast()), open(t, dir, fast())
	store(t, cli, "r/0", []byte("x"))
	fi, err := os.Stat(filepath.Join(dir, socketName))
	if err != nil || fi.Mode() != os.ModeSocket|0o600 {
		t.Fatalf("socket: %v, %v", fi, err)
	}
	mustUnix(t, cli.Close())
	mustUnix(t, own.Close())
	for _, name := range []string{socketName, socketNewName} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

// TestNoSocket goes on alone where no socket can be made.
func TestNoSocket(t *testing.T) {
	dir := newStore(t)
	mustUnix(t, os.Mkdir(filepath.Join(dir, socketNewName), 0o700))
	var log syncBuffer
	o := fast()
	o.Log = logTo(&log)
	h, err := Open(t.Context(), dir, o)
	mustUnix(t, err)
	store(t, h, "r/0", []byte("x"))
	if !strings.Contains(log.String(), "can't use the store") {
		t.Fatalf("log: %s", log.String())
	}
	mustUnix(t, os.Remove(filepath.Join(dir, socketNewName)))
	mustUnix(t, h.Close())
}

// TestStranger asks as another user, past the socket's mode.
func TestStranger(t *testing.T) {
	dir := newStore(t)
	open(t, dir, fast())
	for p := dir; len(p) > len(os.TempDir()); p = filepath.Dir(p) {
		mustUnix(t, os.Chmod(p, 0o755))
	}
	p := start(t, "stranger", dir)
	if got := p.line(t); !strings.Contains(got, "permission denied") {
		t.Fatalf("another user passed the socket's mode: %s", got)
	}
	p.kill()
	mustUnix(t, os.Chmod(filepath.Join(dir, socketName), 0o666))
	p = start(t, "stranger", dir)
	if got := p.line(t); got != "dial: <nil>" {
		t.Fatal(got)
	}
	if got := p.line(t); !strings.Contains(got, "user 65534 may not use") {
		t.Fatalf("another user is served: %s", got)
	}
}

// TestLock takes the lock, loses its name and gives it back.
func TestLock(t *testing.T) {
	path := t.TempDir()
	d, err := openDir(path)
	mustUnix(t, err)
	defer d.close()
	for range 2 {
		lk, err := tryLock(d, holder{PID: 12, Command: "x"})
		mustUnix(t, err)
		if _, err := tryLock(d, holder{}); !errors.Is(err, errHeld) {
			t.Fatalf("second lock: %v", err)
		}
		if h := readHolder(d); h.PID != 12 || h.Command != "x" {
			t.Fatalf("holder %+v", h)
		}
		mustUnix(t, lk.release())
	}
	f, err := d.open(lockName, os.O_RDWR, 0)
	mustUnix(t, err)
	defer f.Close()
	mustUnix(t, d.remove(lockName))
	if same, err := stillNamed(d, f); same || err != nil {
		t.Fatalf("a removed file is still named: %v, %v", same, err)
	}
	mustUnix(t, os.WriteFile(filepath.Join(path, lockName), nil, 0o600))
	if same, err := stillNamed(d, f); same || err != nil {
		t.Fatalf("a replaced file is still named: %v, %v", same, err)
	}
	mustUnix(t, d.remove(lockName))
	mustUnix(t, os.Symlink("/etc/passwd", filepath.Join(path, lockName)))
	if _, err := tryLock(d, holder{}); err == nil || errors.Is(err, errHeld) {
		t.Fatalf("followed a symbolic link: %v", err)
	}
}
