package owner

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/chunkstore"
)

// TestOwnerLeaves has a long-lived client, as a mount is, and an owner that
// leaves: the client takes over without an error.
func TestOwnerLeaves(t *testing.T) {
	own, cli := pair(t, fast())
	plain := plainOf(1, 9000)
	id := store(t, own, "r/0", plain)[0]
	wantChunk(t, cli, id, plain)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for !stop.Load() {
				wantChunk(t, cli, id, plain)
				if got := names(t, cli, "", ""); len(got) != 1 {
					t.Errorf("roots %q", got)
				}
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	mustUnix(t, own.Close())
	eventually(t, "the client owns the store", func() bool { _, self := cli.Owner(); return self })
	time.Sleep(20 * time.Millisecond)
	stop.Store(true)
	wg.Wait()
	_, err := own.Root(t.Context(), "r/0")
	wantError(t, err, ErrClosed)
	store(t, cli, "r/1", plain)
	third := open(t, own.path, fast())
	wantChunk(t, third, id, plain)
}

// TestOwnerKilled kills an owner in the middle of its work.
func TestOwnerKilled(t *testing.T) {
	dir := newStore(t)
	p := start(t, "serve", dir)
	p.want(t, "owner true")
	p.say(t, "put r/0")
	p.want(t, "put <nil>")
	h := open(t, dir, fast())
	if pid, self := h.Owner(); self || pid != p.cmd.Process.Pid {
		t.Fatalf("owner %d, self %v, want %d", pid, self, p.cmd.Process.Pid)
	}
	s := begin(t, h)
	p.kill()
	ids, have := make([]chunkstore.ID, 1), make([]bool, 1)
	wantError(t, s.Has(t.Context(), ids, have), ErrOwnerLost)
	wantError(t, s.Commit(t.Context(), "r/1", nil), ErrOwnerLost)
	_, err := s.Put(t.Context(), nil)
	mustUnix(t, err) // nothing to put needs no owner
	_, err = s.Get(t.Context(), ids[0], nil)
	wantError(t, err, ErrOwnerLost)
	mustUnix(t, s.Close())
	if got := names(t, h, "", ""); len(got) != 1 {
		t.Fatalf("roots %q", got)
	}
	if _, self := h.Owner(); !self {
		t.Fatal("the survivor does not own the store")
	}
	store(t, h, "r/1", []byte("x"))
}

// TestClientKilled sees a dead client's session end by itself.
func TestClientKilled(t *testing.T) {
	dir := newStore(t)
	h := open(t, dir, fast())
	p := start(t, "serve", dir)
	p.want(t, "owner false")
	p.say(t, "begin")
	p.want(t, "begin <nil>")
	if n := openSessions(t, h); n != 1 {
		t.Fatalf("%d sessions, want 1", n)
	}
	p.kill()
	eventually(t, "the session is over", func() bool { return openSessions(t, h) == 0 })
}

// TestRace has processes and handles that race to become the owner.
func TestRace(t *testing.T) {
	dir := newStore(t)
	var ps []*process
	for range 3 {
		ps = append(ps, start(t, "race", dir))
	}
	var wg sync.WaitGroup
	var stop atomic.Bool
	var rounds atomic.Int64
	for g := range 4 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if _, err := raceOnce(dir, fmt.Sprintf("g/%d/%d", g, i)); err != nil {
					t.Error(err)
					return
				}
				rounds.Add(1)
			}
		})
	}
	time.Sleep(time.Second)
	stop.Store(true)
	want := int(0)
	for _, p := range ps {
		p.say(t, "stop")
		var n, owned int
		line := p.line(t)
		if _, err := fmt.Sscanf(line, "done %d %d", &n, &owned); err != nil {
			t.Fatalf("another process says %q", line)
		}
		want += n
		t.Logf("process: %d rounds, %d as the owner", n, owned)
	}
	wg.Wait()
	want += int(rounds.Load())
	h := open(t, dir, fast())
	if got := len(names(t, h, "", "")); got != want {
		t.Fatalf("%d roots, %d were committed", got, want)
	}
}

// TestExactlyOne proves that at no time two handles have the store open.
func TestExactlyOne(t *testing.T) {
	dir := newStore(t)
	var owners, most, opened atomic.Int64
	o := Options{Wait: time.Minute, Grace: time.Millisecond}
	o.open = func(dir string) (local, error) {
		if n := owners.Add(1); n > most.Load() {
			most.Store(n)
		}
		opened.Add(1)
		return &counted{owners: &owners}, nil
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 10 {
				h, err := Open(t.Context(), dir, o)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := h.Stats(t.Context()); err != nil {
					t.Error(err)
				}
				if err := h.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 || owners.Load() != 0 {
		t.Fatalf("at most %d owners at a time, %d left over", most.Load(), owners.Load())
	}
	t.Logf("the store was opened %d times", opened.Load())
}

// counted is an empty store that counts its owners.
type counted struct {
	local
	owners *atomic.Int64
}

func (c *counted) Stats(context.Context) (chunkstore.Stats, error) {
	return chunkstore.Stats{Packs: c.owners.Load()}, nil
}

func (c *counted) Close() error {
	c.owners.Add(-1)
	return nil
}
