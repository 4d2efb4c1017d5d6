package main

import (
	"context"
	"errors"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/owner"
	"holdfast/fs"
)

const (
	// unmountGrace is how long a busy mount is waited for before it is
	// detached.
	unmountGrace = 10 * time.Second
	// drainTime is how long what is open in a detached mount can be read on.
	drainTime = time.Minute
)

// mountTree mounts the store on dir.
func mountTree(h *owner.Handle, opts common, dir string, how fs.Options) (*fs.Mounted, error) {
	how.Log = opts.Log
	if err := mapProgram(); err != nil {
		opts.Log.Warn("the program is not all in memory; first reads may wait for it", "err", err)
	}
	m, err := fs.Mount(h, dir, how)
	// Not before: the server keeps about as many readers waiting for requests as
	// there are threads then, and each keeps one from who has a request already
	// (measured: up to 15 ms, until the runtime looks).
	spreadThreads()
	collectEarly(mountGarbage)
	if err == nil {
		go giveBackAtRest(m.Done(), func() int64 {
			st := m.Stats()
			return st.Reads + st.Seeks + st.Listings
		})
	}
	return m, err
}

// ownerGuest says that guests' files keep the owners that the guest knows.
const ownerGuest = "guest"

// parseOwner reads --owner; nil stands for the guest's own.
func parseOwner(s string) (*fs.Owner, error) {
	switch s {
	case "", ownerGuest:
		return nil, nil
	case "user":
		return &fs.Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}, nil
	}
	bad := usagef("--owner %q: want guest, user, NAME[:GROUP] or UID[:GID]", s)
	name, group, grouped := strings.Cut(s, ":")
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		u = &user.User{Uid: name, Gid: name} // a number that nobody bears here
	}
	if g, err := user.LookupGroup(group); grouped && err == nil {
		u.Gid = g.Gid
	} else if grouped {
		u.Gid = group
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, bad
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, bad
	}
	return &fs.Owner{UID: uint32(uid), GID: uint32(gid)}, nil
}

// mountOf returns where the store is mounted, or nothing.
func mountOf(info chunkstore.Info) string {
	mnt, _ := fs.FindMount(info.StoreID)
	return mnt
}

// diskFile is the name of a disk's image file.
func diskFile(name, ext string) string { return fs.FileName(name, ext) }

// stay keeps the tree until somebody unmounts it or the command is stopped.
func stay(ctx context.Context, m *fs.Mounted, opts common) error {
	select {
	case <-m.Done():
		return nil
	case <-ctx.Done():
		return takeDown(m, opts)
	}
}

// takeDown unmounts. Where the mount is busy that takes a while; a signal more
// detaches it at once, and another one, or the end of drainTime, cuts off what
// is still open.
func takeDown(m *fs.Mounted, opts common) error {
	ctx, cancel := context.WithTimeout(context.Background(), unmountGrace+drainTime)
	defer cancel()
	again := opts.Signals.Again()
	go func() {
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-again:
			}
			if n == 0 {
				opts.Console.note("detaching; what is open can be read for up to %s more, or until the next Ctrl-C", durationText(drainTime))
				go m.Unmount(ctx, 0) //nolint:errcheck // it only hurries the one below
			} else {
				cancel()
			}
		}
	}()
	err := m.Unmount(ctx, unmountGrace)
	var busy *fs.BusyError
	if errors.As(err, &busy) && busy.Detached {
		opts.Console.note("%v", err)
		return nil // it is gone, as was asked for
	}
	return err
}
