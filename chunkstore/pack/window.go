package pack

import (
	"io"
	"sync"

	"holdfast/chunkstore/media/odirect"
)

const (
	// proveWindow is how much Prove reads at once, with what belongs to the pages
	// around it.
	proveWindow = odirect.HugePage - 2*proveAlign
	// proveAlign is what windows are read in, and lie at: what O_DIRECT asks for,
	// if the reader takes it.
	proveAlign = odirect.Unit
)

// window is a run of a pack in memory, and the pages around it.
type window struct {
	mem  []byte // a huge page
	base int64  // where it begins in the pack
}

// windows lends them: made anew for each pack, and faulted in, they were a
// twentieth of a deep scrub of a few packs.
var windows = sync.Pool{New: func() any { return &window{mem: odirect.Memory(odirect.HugePage)} }}

// load reads [off, end) of a pack of size bytes, which a window holds.
func (w *window) load(r io.ReaderAt, off, end, size int64) error {
	w.base = off &^ (proveAlign - 1)
	return w.reload(r, off, end, size)
}

// reload reads a part of what was loaded again. It reads whole pages, the file's
// end excepted.
func (w *window) reload(r io.ReaderAt, off, end, size int64) error {
	from := off &^ (proveAlign - 1)
	to := (end + proveAlign - 1) &^ (proveAlign - 1)
	return readAtLeast(r, w.mem[from-w.base:to-w.base], from, int(end-from), size)
}

// bytes are n bytes of the pack from off, which were read. The next load changes
// them.
func (w *window) bytes(off int64, n int) []byte { return w.mem[off-w.base:][:n:n] }
