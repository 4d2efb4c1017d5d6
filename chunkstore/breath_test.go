package chunkstore

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestPruneRestsWhileOthersWork: a prune pays for what it worked while a session is
// open or a read is under way, and stops paying when they have gone.
func TestPruneRestsWhileOthersWork(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 64<<10)
	p := &pruner{Store: s}
	p.rest(t.Context(), time.Hour) // nobody is there
	ses, err := s.Begin(t.Context(), "a test")
	if err != nil {
		t.Fatal(err)
	}
	ends := map[string]func(){
		"session": func() { ses.Close() },
		"read":    s.activity.end,
	}
	for _, what := range []string{"session", "read"} {
		if what == "read" {
			s.activity.begin()
		}
		if !s.inUse() {
			t.Fatalf("a %s is no use of the store", what)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p.rest(ctx, time.Hour) // its end is the context's
		rested := make(chan struct{})
		go func() { p.rest(t.Context(), time.Hour); close(rested) }()
		ends[what]()
		select {
		case <-rested:
		case <-time.After(2 * time.Minute):
			t.Fatalf("a prune rests though the %s has ended", what)
		}
	}
	if _, last := s.Working(); last.IsZero() {
		t.Error("the read is not remembered")
	}
}
