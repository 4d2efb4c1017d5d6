package owner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

const (
	defaultWait  = 15 * time.Second
	defaultGrace = 5 * time.Second
	maxCall      = 16 << 20
)

// Options say how a store is opened. The zero value is the default.
type Options struct {
	Store   chunkstore.Options // for the case that this process becomes the owner
	Log     *slog.Logger       // nil: nothing is logged
	Command string             // what others are told this process does; "": its command line
	// Wait is how long an owner may hold the lock without answering, before
	// that is an error; 0: 15 s. While an owner says that it is starting,
	// only the context ends the wait.
	Wait time.Duration
	// Grace is how long Close of the owner lets other processes finish what
	// they began; 0: 5 s.
	Grace time.Duration

	open   func(dir string) (local, error)             // nil: chunkstore.Open
	config func(dir string) (chunkstore.Config, error) // nil: chunkstore.ReadConfig
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Command == "" {
		o.Command = strings.Join(os.Args, " ")
	}
	if len(o.Command) > 1024 {
		o.Command = o.Command[:1024]
	}
	if o.Wait == 0 {
		o.Wait = defaultWait
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	if o.open == nil {
		store := o.Store
		o.open = func(dir string) (local, error) { return chunkstore.Open(dir, store) }
	}
	if o.config == nil {
		o.config = chunkstore.ReadConfig
	}
	return o
}

// Handle is a store as a process sees it: open in this process, or through the
// process that owns it. When the owner leaves or dies, the next operation
// finds the new one or becomes it. A Handle is safe for concurrent use.
//
// A session stays with the owner that it began with; see ErrOwnerLost.
type Handle struct {
	path  string // absolute
	dir   *storeDir
	opts  Options
	cfg   chunkstore.Config
	codec *pack.Codec
	extra *http.ServeMux

	base   context.Context // ends with Close
	cancel context.CancelFunc
	turn   chan struct{} // holds one token: the right to change what follows
	cur    atomic.Pointer[incarnation]
	closed atomic.Bool
}

var _ chunkstore.API = (*Handle)(nil)

// incarnation is one way to the store: the store itself, or one owner.
type incarnation struct {
	chunkstore.API
	ops gate // operations in this process
	own *ownership
	cli *client // where own is nil
}

// Open opens the store in dir: as its owner where it has none, else through
// the owner. ctx bounds the wait for an owner that is starting.
func Open(ctx context.Context, dir string, opts Options) (*Handle, error) {
	opts = opts.withDefaults()
	path, err := filepath.Abs(dir) // the process may change its directory before it becomes the owner
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	// Before anything is made in a directory, it must be a store's.
	cfg, err := opts.config(path)
	if err != nil {
		return nil, err
	}
	codec, err := pack.NewCodec(cfg.Key, cfg.FrameSize, cfg.Compression, cfg.FormatVersion)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	d, err := openDir(path)
	if err != nil {
		return nil, err
	}
	h := &Handle{path: path, dir: d, opts: opts, cfg: cfg, codec: codec, extra: http.NewServeMux(), turn: make(chan struct{}, 1)}
	h.base, h.cancel = context.WithCancel(context.Background())
	if _, err := h.attach(ctx); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// Owner returns the process that owns the store and whether it is this one;
// 0 when none is known at the moment.
func (h *Handle) Owner() (pid int, self bool) {
	inc := h.cur.Load()
	switch {
	case inc == nil:
		return 0, false
	case inc.own != nil:
		return os.Getpid(), true
	}
	return int(inc.cli.pid.Load()), false
}

// Local returns the open store where this process owns it at the moment, else
// nil. It must not be used after Close of the handle.
func (h *Handle) Local() *chunkstore.Store {
	if inc := h.cur.Load(); inc != nil && inc.own != nil {
		s, _ := inc.own.store.(*chunkstore.Store)
		return s
	}
	return nil
}

// Memo returns the memo of the store's roots where this process owns it, else none.
func (h *Handle) Memo() *chunkstore.Memo {
	if s := h.Local(); s != nil {
		return s.Memo()
	}
	return nil
}

// Config returns the store's configuration, its key included.
func (h *Handle) Config() chunkstore.Config { return h.cfg }

// Codec returns the store's codec: whoever puts records encodes them.
func (h *Handle) Codec() *pack.Codec { return h.codec }

// Close leaves the store. An owner lets other processes finish for up to the
// grace, ends what is left of their sessions and its own, closes the store and
// gives the lock back. Operations of this process that are under way are
// waited for; later ones fail with ErrClosed.
func (h *Handle) Close() error {
	if h.closed.Swap(true) {
		return nil
	}
	h.cancel()           // ends the search for an owner, and a client's requests
	h.turn <- struct{}{} // for ever: nobody changes anything from now on
	var err error
	if inc := h.cur.Swap(nil); inc != nil {
		left := inc.ops.shut()
		if inc.own != nil {
			err = inc.own.close(h.opts.Grace, left)
		} else {
			<-left
			inc.cli.retire()
		}
	}
	return errors.Join(err, h.dir.close())
}
