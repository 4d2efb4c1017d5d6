package owner

import (
	"context"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

const (
	socketName    = "socket"
	socketNewName = "socket.new"
)

// listen makes the store's socket anew and listens on it. The caller holds
// the store's lock: whatever has the name is a dead owner's.
func listen(d *storeDir) (*net.UnixListener, error) {
	if err := d.remove(socketNewName); err != nil {
		return nil, fmt.Errorf("make store's socket: %w", err)
	}
	var l *net.UnixListener
	err := d.with(func(dir int) error {
		var err error
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: short(dir, socketNewName), Net: "unix"})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false) // the name may have another owner's socket by then
		if err := unix.Fchmodat(dir, socketNewName, 0o600, 0); err != nil {
			return err
		}
		return unix.Renameat(dir, socketNewName, dir, socketName)
	})
	if err != nil {
		if l != nil {
			l.Close()
		}
		d.remove(socketNewName)
		return nil, fmt.Errorf("make store's socket %s/%s: %w", d.path, socketName, err)
	}
	return l, nil
}

// dial connects to the store's socket and returns the listener's process id,
// as the kernel tells it.
func dial(ctx context.Context, d *storeDir) (net.Conn, int, error) {
	var conn net.Conn
	err := d.with(func(dir int) error {
		var err error
		conn, err = new(net.Dialer).DialContext(ctx, "unix", short(dir, socketName))
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	cred, err := peer(conn)
	if err == nil && !trusted(cred.Uid) && os.Geteuid() != 0 {
		err = fmt.Errorf("store's socket %s/%s is served by user %d", d.path, socketName, cred.Uid)
	}
	if err != nil {
		conn.Close()
		return nil, 0, err
	}
	return conn, int(cred.Pid), nil
}

// trusted reports whether user uid may be at the other end: this process's
// user, or root.
func trusted(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// peer returns who is at the other end of a Unix socket.
func peer(c net.Conn) (*unix.Ucred, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("peer of a connection that is no Unix socket: %T", c)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) {
		cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err == nil {
		err = inner
	}
	if err != nil {
		return nil, fmt.Errorf("ask who is at the other end: %w", err)
	}
	return cred, nil
}
