package chunkstore

import (
	"context"
	"errors"
	"time"

	"holdfast/chunkstore/pack"
)

// ID names a chunk; see [pack.ID].
type ID = pack.ID

// Getter brings chunks back.
type Getter interface {
	// Get returns the plain bytes of chunk id, checked against id. It uses
	// buf's capacity when that suffices (cap >= plain length + 64 also lets
	// the decoder take its fast path) and allocates otherwise; the result is
	// the caller's. The error is ErrNotFound when the store has no such
	// chunk, a *pack.Damage when it did not come back as it was stored, or
	// the context's error. Safe for concurrent use.
	Get(ctx context.Context, id ID, buf []byte) ([]byte, error)
}

// PartGetter brings parts of chunks, for random reads.
type PartGetter interface {
	// GetPart returns part p of chunk id where the store's frames allow to
	// decode and prove it alone, else the whole chunk and whole, proved
	// against id. buf is as for Get. It need not heal or note damage: who
	// gets an error asks Get, which does. Safe for concurrent use.
	GetPart(ctx context.Context, id ID, buf []byte, p pack.Part) (plain []byte, whole bool, err error)
}

// Chunks is what a capture writes to. Batches are one region's worth, so that
// a store behind a socket costs one exchange and not one per chunk.
type Chunks interface {
	Getter
	// ID names plain bytes under the store's key.
	ID(plain []byte) ID
	// Has sets have[i] where chunk ids[i] can be read back now. The slices
	// have the same length. A chunk known to be damaged is not had.
	Has(ctx context.Context, ids []ID, have []bool) error
	// Put stores the records that the store does not have and reports how
	// many records and record bytes were new. The records' buffers are the
	// caller's again when Put returns. Duplicates, also inside one batch,
	// are stored once.
	Put(ctx context.Context, recs []pack.Record) (PutResult, error)
}

// PutResult counts what a Put stored.
type PutResult struct {
	Records     int   // records that were new
	PlainBytes  int64 // their plain bytes
	StoredBytes int64 // their bytes in the pack, headers included
}

// Add sums two results.
func (r PutResult) Add(o PutResult) PutResult {
	return PutResult{r.Records + o.Records, r.PlainBytes + o.PlainBytes, r.StoredBytes + o.StoredBytes}
}

// Session is one writer's stay in the store, from its first look-up to its
// commit. Chunks that a session has put or was told of stay until it ends.
type Session interface {
	Chunks
	// Commit makes everything that the session put durable, then makes root
	// name with body visible, atomically. It fails with ErrRootExists when
	// the name is taken. A session may commit several roots.
	Commit(ctx context.Context, name string, body []byte) error
	// Close ends the session. What was put and not committed stays for the
	// next try until garbage collection finds it unused.
	Close() error
}

// Roots are the named, immutable records at the top of everything: one per
// version. Names are at most MaxRootName bytes and sort bytewise.
type Roots interface {
	// Root returns the body of root name, or ErrNotFound.
	Root(ctx context.Context, name string) ([]byte, error)
	// Roots calls fn for each root whose name has the prefix and is >= from,
	// in bytewise order, until fn returns false. The body is valid during
	// the call only. fn must not call the store.
	Roots(ctx context.Context, prefix, from string, fn func(name string, body []byte) bool) error
}

// Stats describes a store as it stands.
type Stats struct {
	Chunks       int64 // distinct chunks of every kind
	PlainBytes   int64 // their plain bytes
	StoredBytes  int64 // their records in packs
	Packs        int64
	PackBytes    int64 // the pack files' sizes, footers included
	IndexBytes   int64
	Roots        int64
	OpenSessions int
	// Damaged counts the chunks that are known to be corrupt or missing, and
	// the packs that are missing; where it is not 0, a capture asks for every
	// chunk, also where it sees no change. Unreadable ones are no proof.
	Damaged    int64
	Unreadable int64
}

// API is a whole store as the commands use it: *Store in the process that owns
// the store, owner.Handle everywhere.
type API interface {
	Getter
	Roots
	ID(plain []byte) ID
	Begin(ctx context.Context, what string) (Session, error)
	Stats(ctx context.Context) (Stats, error)
	// Info returns what config.json fixes for the store's life.
	Info() Info
}

// Info is a store's identity and format.
type Info struct {
	StoreID       string // 32 hexadecimal digits
	FormatVersion int
	Compression   pack.CodecID // of new records
	Created       time.Time
	FrameSize     int  // plain bytes that decode alone; MaxChunk means one frame a chunk
	NoParity      bool // packs have no parity
}

const (
	// MaxRootName is the longest root name in bytes.
	MaxRootName = 1024
	// MaxRootBody is the largest root body in bytes.
	MaxRootBody = 60 << 10
)

var (
	// ErrNotFound says that the store has no chunk or root of that name.
	ErrNotFound = errors.New("not found")
	// ErrRootExists says that a root of that name is already visible.
	ErrRootExists = errors.New("root exists")
)
