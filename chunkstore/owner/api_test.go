package owner

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// TestBothSides runs the same story on the owner and on a client.
func TestBothSides(t *testing.T) {
	for _, side := range []string{"owner", "client"} {
		t.Run(side, func(t *testing.T) {
			own, cli := pair(t, fast())
			h := own
			if side == "client" {
				h = cli
			}
			story(t, h)
			wantChunk(t, own, own.ID([]byte("a")), []byte("a"))
			wantChunk(t, cli, own.ID([]byte("a")), []byte("a"))
		})
	}
}

func story(t *testing.T, h *Handle) {
	ctx := t.Context()
	s := begin(t, h)
	big := plainOf(1, pack.MaxChunk)
	recs := []pack.Record{encode(h, []byte("a")), encode(h, big), encode(h, []byte("a"))}
	res, err := s.Put(ctx, recs)
	if err != nil || res.Records != 2 || res.PlainBytes != pack.MaxChunk+1 {
		t.Fatalf("put: %+v, %v", res, err)
	}
	have := make([]bool, 3)
	ids := []chunkstore.ID{recs[0].ID, h.ID([]byte("never put")), recs[1].ID}
	if err := s.Has(ctx, ids, have); err != nil || !slices.Equal(have, []bool{true, false, true}) {
		t.Fatalf("has: %v, %v", have, err)
	}
	if err := s.Has(ctx, nil, nil); err != nil {
		t.Fatal(err)
	}
	wantChunk(t, s, recs[1].ID, big) // before the commit
	if n := openSessions(t, h); n != 1 {
		t.Fatalf("%d sessions, want 1", n)
	}
	odd := "vm/\xff\x00 &=#/😀"
	if err := s.Commit(ctx, odd, []byte("body of "+odd)); err != nil {
		t.Fatal(err)
	}
	wantError(t, s.Commit(ctx, odd, nil), chunkstore.ErrRootExists)
	if got := names(t, h, "vm/", ""); !slices.Equal(got, []string{odd}) {
		t.Fatalf("roots %q", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("second close: %v", err)
	}
	wantError(t, s.Commit(ctx, "x", nil), chunkstore.ErrSessionClosed)
	if n := openSessions(t, h); n != 0 {
		t.Fatalf("%d sessions, want 0", n)
	}
	readStory(t, h, odd, recs[1].ID, big)
}

func readStory(t *testing.T, h *Handle, name string, id chunkstore.ID, want []byte) {
	ctx := t.Context()
	body, err := h.Root(ctx, name)
	if err != nil || string(body) != "body of "+name {
		t.Fatalf("root: %q, %v", body, err)
	}
	_, err = h.Root(ctx, "no such root")
	wantError(t, err, chunkstore.ErrNotFound)
	_, err = h.Get(ctx, h.ID([]byte("no such chunk")), nil)
	wantError(t, err, chunkstore.ErrNotFound)
	buf := make([]byte, 0, pack.MaxChunk+pack.Slack)
	got, err := h.Get(ctx, id, buf)
	if err != nil || !bytes.Equal(got, want) || &got[0] != &buf[:1][0] {
		t.Fatalf("get did not use the buffer, or: %v", err)
	}
	size := h.Info().FrameSize
	part, whole, err := h.GetPart(ctx, id, buf, pack.Part{Chunk: len(want), From: size, To: 2 * size})
	if err != nil || whole || !bytes.Equal(part, want[size:2*size]) || &part[0] != &buf[:1][0] {
		t.Fatalf("part: whole %v: %v", whole, err)
	}
	_, _, err = h.GetPart(ctx, h.ID([]byte("no such chunk")), nil, pack.Part{Chunk: len(want), From: 0, To: size})
	wantError(t, err, chunkstore.ErrNotFound)
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err = h.Get(done, id, nil)
	wantError(t, err, context.Canceled)
	st, err := h.Stats(ctx)
	if err != nil || st.Roots != 1 {
		t.Fatalf("stats %+v, %v", st, err)
	}
	if len(h.Info().StoreID) != 32 {
		t.Fatalf("info %+v", h.Info())
	}
}

// TestLargeBatches crosses the bounds at which a batch is split.
func TestLargeBatches(t *testing.T) {
	_, cli := pair(t, fast())
	s := begin(t, cli)
	var recs []pack.Record
	for i := range 2*maxBody/pack.MaxChunk + 3 {
		recs = append(recs, encode(cli, plainOf(uint64(i), pack.MaxChunk)))
	}
	res, err := s.Put(t.Context(), recs)
	if err != nil || res.Records != len(recs) {
		t.Fatalf("put: %+v, %v", res, err)
	}
	for _, n := range []int{maxIDs - 1, maxIDs, maxIDs + 1, 2*maxIDs + 1} {
		ids, have := make([]chunkstore.ID, n), make([]bool, n)
		ids[0], ids[n-1] = recs[0].ID, recs[len(recs)-1].ID
		if err := s.Has(t.Context(), ids, have); err != nil {
			t.Fatal(err)
		}
		if !have[0] || !have[n-1] || slices.Contains(have[1:n-1], true) {
			t.Fatalf("%d ids: wrong answers", n)
		}
	}
	tooLong := pack.Record{Bytes: make([]byte, pack.MaxRecord+1)}
	if _, err := s.Put(t.Context(), []pack.Record{tooLong}); err == nil {
		t.Fatal("an oversized record was taken")
	}
}

// TestRootPages lists roots that fill several pages.
func TestRootPages(t *testing.T) {
	own, cli := pair(t, fast())
	s := begin(t, own)
	var want []string
	for i := range 40 {
		name := rootName(i)
		body := append([]byte("body of "+name), make([]byte, chunkstore.MaxRootBody-100)...)
		if err := s.Commit(t.Context(), name, body); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	if got := names(t, cli, "r/", ""); !slices.Equal(got, want) {
		t.Fatalf("got %d roots %q", len(got), got)
	}
	if got := names(t, cli, "r/", want[17]); !slices.Equal(got, want[17:]) {
		t.Fatalf("from the 17th: %q", got)
	}
	if got := names(t, cli, "s", ""); got != nil {
		t.Fatalf("of another prefix: %q", got)
	}
	n := 0
	err := cli.Roots(t.Context(), "", "", func(string, []byte) bool { n++; return n < 3 })
	if err != nil || n != 3 {
		t.Fatalf("stopped after %d: %v", n, err)
	}
}

// TestManyReaders has more readers than exchanges, some of which give up.
func TestManyReaders(t *testing.T) {
	own, cli := pair(t, fast())
	var plains [][]byte
	for i := range 100 {
		plains = append(plains, plainOf(uint64(i), 100+i*37))
	}
	ids := store(t, own, "r/0", plains...)
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			for i := range 60 {
				n := (g*31 + i) % len(ids)
				ctx, cancel := context.WithCancel(t.Context())
				if i%7 == 0 {
					time.AfterFunc(time.Duration(i)*time.Microsecond, cancel)
				}
				got, err := cli.Get(ctx, ids[n], nil)
				if err == nil && !bytes.Equal(got, plains[n]) {
					t.Error("other bytes")
				}
				if err != nil && !(i%7 == 0 && errors.Is(err, context.Canceled)) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
}

// TestDamage sees that a damage reaches the client with all that is known.
func TestDamage(t *testing.T) {
	f := &fakeStore{}
	own, cli := pair(t, faulty(f))
	plain := plainOf(7, 5000)
	id := store(t, own, "r/0", plain)[0]
	want := &pack.Damage{Kind: pack.Unreadable, ID: id, Pack: 1<<63 + 5, Offset: 1 << 40, Length: 77,
		Err: &os.PathError{Op: "read", Path: "/x", Err: syscall.EIO}}
	f.read = func(chunkstore.ID) ([]byte, error) { return nil, want }
	_, err := cli.Get(t.Context(), id, nil)
	got, ok := errors.AsType[*pack.Damage](err)
	if !ok || got.Error() != want.Error() || got.ID != id || got.Kind != want.Kind || got.Pack != want.Pack ||
		got.Offset != want.Offset || got.Length != want.Length || !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %#v, want %#v", err, want)
	}
}

// TestBadBytes serves wrong bytes for a record: the client asks the owner to
// prove the chunk and serves nothing else.
func TestBadBytes(t *testing.T) {
	f := &fakeStore{}
	own, cli := pair(t, faulty(f))
	plain := plainOf(7, 5000)
	id := store(t, own, "r/0", plain)[0]
	good := encode(own, plain).Bytes
	for at := 0; at < len(good); at += 97 {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		reads, proofs := 0, 0
		f.get = func(chunkstore.ID) ([]byte, error) { proofs++; return plain, nil }
		f.read = func(chunkstore.ID) ([]byte, error) {
			if reads++; reads > 1 {
				return good, nil // healed
			}
			return bad, nil
		}
		wantChunk(t, cli, id, plain)
		f.read = func(chunkstore.ID) ([]byte, error) { return bad, nil }
		got, err := cli.Get(t.Context(), id, nil)
		if d, ok := errors.AsType[*pack.Damage](err); err == nil && !bytes.Equal(got, plain) || err != nil && (!ok || d.Kind != pack.Unreadable) {
			t.Fatalf("byte %d: served wrong bytes, or %v", at, err)
		}
		if err != nil && proofs == 0 { // the decoder does not read every byte
			t.Fatalf("byte %d: the owner was not asked for a proof", at)
		}
	}
	f.get = func(chunkstore.ID) ([]byte, error) {
		return nil, &pack.Damage{Kind: pack.Corrupt, ID: id, Pack: 9, Err: errors.New("rotten")}
	}
	f.read = func(chunkstore.ID) ([]byte, error) { return nil, nil }
	_, err := cli.Get(t.Context(), id, nil)
	if d, ok := errors.AsType[*pack.Damage](err); !ok || d.Kind != pack.Corrupt || d.Pack != 9 {
		t.Fatalf("got %v", err)
	}
}

// TestPanic sees that a bug met by one request is that request's error.
func TestPanic(t *testing.T) {
	var log syncBuffer
	f := &fakeStore{}
	o := faulty(f)
	o.Log = logTo(&log)
	own, cli := pair(t, o)
	plain := plainOf(7, 50)
	id := store(t, own, "r/0", plain)[0]
	f.read = func(chunkstore.ID) ([]byte, error) { panic("spilled coffee") }
	if _, err := cli.Get(t.Context(), id, nil); err == nil || !strings.Contains(err.Error(), "spilled coffee") {
		t.Fatalf("got %v", err)
	}
	f.read = nil
	wantChunk(t, cli, id, plain)
	own.Handle("POST /v1/x/early", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("early bird") }))
	for _, h := range []*Handle{own, cli} {
		if err := h.Call(t.Context(), "/v1/x/early", nil, nil); err == nil || !strings.Contains(err.Error(), "early bird") {
			t.Fatalf("got %v", err)
		}
	}
	if s := log.String(); !strings.Contains(s, "spilled coffee") || !strings.Contains(s, "early bird") {
		t.Fatalf("log: %s", s)
	}
}

// TestCall is the upper floors' way to the owner.
func TestCall(t *testing.T) {
	own, cli := pair(t, fast())
	own.Handle("POST /v1/x/echo", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := new(bytes.Buffer)
		b.ReadFrom(r.Body)
		if strings.Contains(b.String(), "refuse") {
			Fail(w, chunkstore.ErrRootExists)
			return
		}
		w.Write(b.Bytes())
	}))
	for _, h := range []*Handle{own, cli} {
		var out []string
		if err := h.Call(t.Context(), "/v1/x/echo", []string{"a", "b"}, &out); err != nil || len(out) != 2 || out[1] != "b" {
			t.Fatalf("%v, %v", out, err)
		}
		wantError(t, h.Call(t.Context(), "/v1/x/echo", "refuse", nil), chunkstore.ErrRootExists)
		wantError(t, h.Call(t.Context(), "/v1/x/unknown", nil, nil), chunkstore.ErrNotFound)
		if err := h.Call(t.Context(), "/v1/x/echo", func() {}, nil); err == nil {
			t.Fatal("a func went over the wire")
		}
	}
}
