package chunkstore

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// dropIndex removes the index, so that the next Open makes it anew.
func dropIndex(t *testing.T, fsys vfs.FS) {
	t.Helper()
	if err := fsys.RemoveAll("/store/index"); err != nil {
		t.Fatal(err)
	}
}

// TestLostPackIsForgottenAtOnce looks for the moment in which a lost pack is
// counted and its chunks are still had: a session that began then would commit
// without them.
func TestLostPackIsForgottenAtOnce(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 0)
	w := &s.writers[pack.ClassData]
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	var watched sync.Mutex // guards before and id
	var before int
	var id ID
	bad := make(chan struct{}, 1)
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				watched.Lock()
				s.mu.Lock()
				if _, had := s.inflight[id]; had && s.lost > before {
					select {
					case bad <- struct{}{}:
					default:
					}
				}
				s.mu.Unlock()
				watched.Unlock()
			}
		})
	}
	for i := range 200 {
		rec := record(s, pack.KindData, chunkOf(uint64(i+1), 100))
		watched.Lock()
		before, id = s.lost, rec.ID
		watched.Unlock()
		if _, err := w.append(rec, new(PutResult)); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		p := w.retire()
		w.mu.Unlock()
		s.lose(p, errors.New("lost by the test"))
		w.mu.Lock()
		w.finished(p, nil)
		w.mu.Unlock()
	}
	select {
	case <-bad:
		t.Fatal("a chunk of a lost pack was had by a session that began after the loss")
	default:
	}
}

// TestFailedCommitDoesNotComeBackWithTheIndex: a commit that fails because a
// pack was lost must not become visible when the index is made anew.
func TestFailedCommitDoesNotComeBackWithTheIndex(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 0)
	ses := begin(t, s)
	mustPut(t, s, ses, pack.KindRegionMap, chunkOf(1, 500))
	plain, err := encodeRoot("v", []byte("names a lost chunk"))
	if err != nil {
		t.Fatal(err)
	}
	// Lost between the commit's first look and the root's record.
	s.mu.Lock()
	before := s.lost
	s.lost, s.lostErr = s.lost+1, errors.New("lost by the test")
	s.mu.Unlock()
	if err := s.writers[pack.ClassMeta].commitRoot(context.Background(), root{"v", nil}, plain, before); err == nil {
		t.Fatal("the commit succeeded")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	dropIndex(t, fsys)
	s = openStore(t, fsys, 0)
	if b, err := s.Root(context.Background(), "v"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("the failed commit is visible: %q, %v", b, err)
	}
}
