package fs

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"holdfast/chunkstore"
)

const (
	defaultReadAheadKiB = 2048
	// maxBackground is how many asynchronous reads the kernel sends at once.
	maxBackground = 64
	// maxRequestBytes bounds the request buffers of maxRead each.
	maxRequestBytes = 64 << 20
)

// Options say how a store is mounted. The zero value works.
type Options struct {
	Cache        int64        // bytes for decoded chunks; 0: 256 MiB
	AllowOther   bool         // other users may read the tree too
	Log          *slog.Logger // nil: nothing is logged
	ReadAheadKiB int          // of the kernel for buffered reads, if root; 0: 2048
	Owner        *Owner       // of all guests' files; nil: as the guest has it
	NoPush       bool         // put nothing into the page cache unasked
	Fill         int64        // bytes of an image that go there when it was read all over and nobody reads; 0: 4 GiB, below 0: none
	Name         string       // the mount's source as mount(8) shows it; "": holdfast:<store id>, by which FindMount finds it
}

// Owner is a user and a group.
type Owner struct{ UID, GID uint32 }

// Mounted is a mounted store. Its methods are safe for concurrent use.
type Mounted struct {
	dir     string
	tree    *tree
	server  *fuse.Server
	settled chan struct{} // closed when what follows is set
	dev     string        // major:minor
	dog     *watchdog     // nil: none
	done    chan struct{} // closed when the mount is gone and all is closed

	mu    sync.Mutex // guards going
	going *attempt   // an Unmount under way, or nil
}

// Mount mounts store on the directory dir and returns when the tree answers, or was
// unmounted already. Own
// memory: opts.Cache, 64 MiB for decoded maps, 64 MiB of request buffers and as much
// again of chunks and buffers on their way to the kernel under full load (go-fuse keeps one of
// each size that was asked for until garbage was collected twice), 16 MiB for each
// of the 12 guests' volumes used last, if in the last five minutes, 6 MiB to read
// guests' files ahead, 4 MiB to fill the page cache with an image, and about 2 KiB for
// each name that the kernel remembers. The store's own, its index and what scrubs it, are
// beside that. It must stay open until Wait returns.
//
// dir must be an empty directory. A mount there whose process died is removed;
// a live one is ErrMounted.
func Mount(store chunkstore.API, dir string, opts Options) (*Mounted, error) {
	path, err := prepareMountPoint(dir)
	if err != nil {
		return nil, err
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Name == "" {
		opts.Name = sourceOf(store.Info().StoreID)
	}
	t, err := newTree(store, opts)
	if err != nil {
		return nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	return start(t, path, opts)
}

// start mounts a tree on a directory that was found good.
func start(t *tree, path string, opts Options) (m *Mounted, err error) {
	m = &Mounted{dir: path, tree: t, settled: make(chan struct{}), done: make(chan struct{})}
	// The watchdog is first, or a process killed in between would leave its mount. No
	// thread of this one asks the mount, see watchdog.go; so server.WaitMount is not called.
	if m.dog, err = startWatchdog(path); err != nil {
		m.unwatched(err)
	}
	if m.server, err = connect(t, path, opts); err != nil {
		m.dog.dismiss()
		t.close()
		if errors.Is(err, errUnmounted) {
			close(m.settled)
			close(m.done)
			return m, nil
		}
		return nil, err
	}
	go m.serve()
	err = m.settle(opts)
	close(m.settled)
	switch {
	case err != nil && unmounted(path):
		return m, nil // Done and Wait tell that it ends, as after any umount(8)
	case err != nil:
		m.abandon(opts.Name)
		return nil, err
	}
	if s, ok := t.store.(warmer); ok {
		s.Warm()
	}
	return m, nil
}

// abandon ends a mount that did not settle.
func (m *Mounted) abandon(source string) {
	if err := removeMade(m.dir, source); err != nil {
		m.tree.log.Error("a mount that can't be used is left behind; it is dead when this process has ended", "mount", m.dir, "err", err)
		return
	}
	<-m.done
}

// removeMade removes the mount that was made on dir, and none that somebody has made over
// it since: below that one it stays, and its connection is ended.
func removeMade(dir, source string) error {
	list, err := mounts()
	if err != nil {
		return err
	}
	var made, top mountEntry
	for _, e := range list {
		if e.point != dir {
			continue
		}
		if top = e; e.fsType == fsType && e.source == source {
			made = e
		}
	}
	switch made {
	case mountEntry{}:
		return nil
	case top:
		return detach(dir)
	}
	return abort(made.dev)
}

// warmer is a store that can have where its chunks lie in memory before somebody reads.
type warmer interface{ Warm() }

// errUnmounted says that somebody unmounted before the first request was answered.
var errUnmounted = errors.New("unmounted before it began")

// connect mounts and shakes hands with the kernel.
func connect(t *tree, dir string, opts Options) (*fuse.Server, error) {
	mo := fuseOptions(t, opts)
	target := dir
	if os.Geteuid() == 0 {
		fd, err := mountAsRoot(dir, opts.Name, opts.AllowOther)
		if err != nil {
			return nil, err
		}
		target = fmt.Sprintf("/dev/fd/%d", fd) // for go-fuse: mounted already
	}
	nodes := fusefs.NewNodeFS(&rootNode{node: node{t: t}}, &fusefs.Options{
		MountOptions: mo, NullPermissions: true, RootStableAttr: &fusefs.StableAttr{Ino: rootIno},
	})
	server, err := fuse.NewServer(newUnopened(nodes), target, &mo)
	if err != nil {
		// By these words go-fuse says that it had mounted, or was given a mount.
		if strings.HasPrefix(err.Error(), "init: ") && unmounted(dir) {
			return nil, errUnmounted
		}
		if os.Geteuid() == 0 {
			removeMade(dir, opts.Name) //nolint:errcheck // the first error is told
		}
		return nil, fmt.Errorf("mount on %s: %w%s", dir, err, hint(opts))
	}
	return server, nil
}

// hint says what fusermount3 wants of a user who may not mount.
func hint(opts Options) string {
	switch {
	case os.Geteuid() == 0:
		return ""
	case opts.AllowOther:
		return "; without root this needs the package fuse3, and the line user_allow_other in /etc/fuse.conf"
	}
	return "; without root this needs the package fuse3, and the directory must be yours"
}

func fuseOptions(t *tree, opts Options) fuse.MountOptions {
	return fuse.MountOptions{
		FsName: opts.Name, Name: strings.TrimPrefix(fsType, "fuse."), AllowOther: opts.AllowOther,
		Options:  []string{"ro", "nosuid", "nodev", "noexec", "noatime"}, // for fusermount3
		MaxWrite: maxRead, MaxBackground: maxBackground, MaxInflightRequestBytes: maxRequestBytes,
		DisableSplice:            true, // it costs two system calls a read and never won anything
		ExplicitDataCacheControl: true,
		EnableSymlinkCaching:     true, // a node's target never changes, also not latest's
		// Without ASYNC_DIO, asynchronous O_DIRECT reads go one at a time.
		ExtraCapabilities: fuse.CAP_ASYNC_DIO | fuse.CAP_READDIRPLUS_AUTO,
		PanicHandler:      t.panicked,
		Logger:            log.New(lines{t.log}, "", 0),
	}
}

// lines logs what go-fuse says. It is of no interest: an answer that came too
// late for an interrupted read, an operation that we do not have.
type lines struct{ log *slog.Logger }

// Write implements io.Writer.
func (l lines) Write(p []byte) (int, error) {
	l.log.Debug("fuse", "message", strings.TrimSpace(string(p)))
	return len(p), nil
}

// settle does what needs a mount that answers.
func (m *Mounted) settle(opts Options) error {
	top, ok, err := topMount(m.dir)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("mount on %s: it is not in the mount table", m.dir)
	}
	if top.fsType != fsType || top.source != opts.Name {
		return fmt.Errorf("mount on %s: another filesystem was mounted over it meanwhile: %s, of type %s", m.dir, top.source, top.fsType)
	}
	m.dev = top.dev
	if kib := opts.ReadAheadKiB; os.Geteuid() == 0 {
		if kib == 0 {
			kib = defaultReadAheadKiB
		}
		if err := setReadAhead(m.dev, kib); err != nil {
			m.tree.log.Warn("readahead stays at the kernel's default", "mount", m.dir, "err", err)
		}
	}
	if m.dog == nil {
		return answers(m.dir)
	}
	said, err := m.dog.watch(m.dev)
	switch {
	case err != nil:
		m.unwatched(err)
		return answers(m.dir)
	case said != "":
		return errors.New(said)
	}
	return nil
}

// unmounted reports whether somebody has unmounted what start had mounted on dir, where
// there was no other mount of ours.
func unmounted(dir string) bool {
	list, err := mounts()
	return err == nil && !slices.ContainsFunc(list, func(e mountEntry) bool { return e.point == dir && e.fsType == fsType })
}

// unwatched says that there is no watchdog.
func (m *Mounted) unwatched(err error) {
	m.tree.log.Warn("no watchdog: if this process is killed, unmount by hand", "mount", m.dir, "err", err)
}

// serve answers the kernel until the mount is gone, however it went, then
// closes everything.
func (m *Mounted) serve() {
	m.server.Serve()
	m.tree.close()
	<-m.settled
	m.dog.dismiss()
	close(m.done)
}

// Dir is the mount point, absolute and without symbolic links.
func (m *Mounted) Dir() string { return m.dir }

// Done is closed when the mount is gone: by Unmount or by umount(8).
func (m *Mounted) Done() <-chan struct{} { return m.done }

// Wait waits until the mount is gone and nothing of it uses the store.
func (m *Mounted) Wait() { <-m.done }

// Stats says what the mount did so far.
func (m *Mounted) Stats() Stats { return m.tree.stats() }

// wait is Wait with a context.
func (m *Mounted) wait(ctx context.Context) error {
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
