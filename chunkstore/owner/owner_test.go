package owner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		os.Exit(child(mode))
	}
	os.Exit(m.Run())
}

// newStore makes a store.
func newStore(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := chunkstore.Create(dir, chunkstore.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checkLeft(t, dir) }) // after the handles are closed
	return dir
}

// checkLeft proves the invariants of what a test leaves.
func checkLeft(t testing.TB, dir string) {
	t.Helper()
	if _, err := chunkstore.ReadConfig(dir); err != nil {
		return // the test made it so
	}
	s, err := chunkstore.Open(dir, chunkstore.Options{})
	if err != nil {
		t.Errorf("open what is left: %v", err)
		return
	}
	defer s.Close()
	r, err := chunkstore.Check(context.Background(), s, chunkstore.CheckOptions{})
	if err != nil {
		t.Errorf("check: %v", err)
		return
	}
	for _, p := range r.Problems {
		t.Errorf("check: %v", p)
	}
}

func fast() Options { return Options{Wait: time.Minute, Grace: time.Second} }

// open opens a handle that the test's end closes.
func open(t testing.TB, dir string, opts Options) *Handle {
	t.Helper()
	h, err := Open(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// pair returns a handle that owns a new store and one that is its client.
func pair(t testing.TB, opts Options) (own, cli *Handle) {
	t.Helper()
	dir := newStore(t)
	own, cli = open(t, dir, opts), open(t, dir, opts)
	if _, self := own.Owner(); !self {
		t.Fatal("the first handle does not own the store")
	}
	if pid, self := cli.Owner(); self || pid != os.Getpid() {
		t.Fatalf("client sees owner %d, self %v", pid, self)
	}
	return own, cli
}

func plainOf(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	r.Read(b)
	return b
}

func encode(h *Handle, plain []byte) pack.Record {
	return h.Codec().Encode(nil, pack.KindData, h.ID(plain), plain)
}

func begin(t testing.TB, h *Handle) chunkstore.Session {
	t.Helper()
	s, err := h.Begin(t.Context(), t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// store puts chunks and commits them under a name.
func store(t testing.TB, h *Handle, name string, plains ...[]byte) []chunkstore.ID {
	t.Helper()
	s := begin(t, h)
	defer s.Close()
	ids, recs := make([]chunkstore.ID, len(plains)), make([]pack.Record, len(plains))
	for i, p := range plains {
		recs[i] = encode(h, p)
		ids[i] = recs[i].ID
	}
	if _, err := s.Put(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), name, []byte("body of "+name)); err != nil {
		t.Fatal(err)
	}
	return ids
}

func wantChunk(t testing.TB, h chunkstore.Getter, id chunkstore.ID, want []byte) {
	t.Helper()
	got, err := h.Get(t.Context(), id, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("chunk %v came back as other bytes", id)
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// fakeStore is a store in memory whose faults the test chooses.
type fakeStore struct {
	local
	get  func(id chunkstore.ID) ([]byte, error)
	read func(id chunkstore.ID) ([]byte, error)
}

func (f *fakeStore) Get(ctx context.Context, id chunkstore.ID, buf []byte) ([]byte, error) {
	if f.get != nil {
		return f.get(id)
	}
	return f.local.Get(ctx, id, buf)
}

func (f *fakeStore) ReadRecord(ctx context.Context, id chunkstore.ID, buf []byte) ([]byte, error) {
	if f.read != nil {
		return f.read(id)
	}
	return f.local.ReadRecord(ctx, id, buf)
}

// faulty returns options whose owner has the faults of f.
func faulty(f *fakeStore) Options {
	o := fast()
	o.open = func(dir string) (local, error) {
		s, err := chunkstore.Open(dir, chunkstore.Options{})
		f.local = s
		return f, err
	}
	return o
}

// syncBuffer is a log that tests read.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func logTo(b *syncBuffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// eventually waits until what holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after a minute still not: %s", what)
		}
	}
}

func openSessions(t testing.TB, h *Handle) int {
	t.Helper()
	st, err := h.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st.OpenSessions
}

func names(t testing.TB, h chunkstore.Roots, prefix, from string) (all []string) {
	t.Helper()
	err := h.Roots(t.Context(), prefix, from, func(name string, body []byte) bool {
		if !bytes.HasPrefix(body, []byte("body of "+name)) {
			t.Errorf("root %q has body %.40q", name, body)
		}
		all = append(all, name)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func rootName(i int) string { return fmt.Sprintf("r/%06d", i) }
