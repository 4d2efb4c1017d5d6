package capture

import (
	"context"
	"errors"
	"testing"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
)

var errLost = errors.New("lost by the test")

// lossyStore loses the answer of each commit; the commit itself is done or not.
func lossyStore(s *chunkstore.Store, done bool) *hookedStore {
	return &hookedStore{Store: s, commit: func(ses chunkstore.Session, ctx context.Context, name string, body []byte) error {
		if done {
			if err := ses.Commit(ctx, name, body); err != nil {
				return err
			}
		}
		return errLost
	}}
}

// TestLostAnswerOfACommit: a capture whose commit was done though its answer
// was lost is a success, so that nobody captures the same again.
func TestLostAnswerOfACommit(t *testing.T) {
	f := newFixture(t)
	d := newDisk(3, 6<<20)
	if _, err := Run(context.Background(), lossyStore(f.store, false), options("vm", 1, d)); !errors.Is(err, errLost) {
		t.Fatalf("the commit was not done: %v", err)
	}
	v, err := Run(context.Background(), lossyStore(f.store, true), options("vm", 1, d))
	if err != nil {
		t.Fatalf("the commit was done: %v", err)
	}
	f.check(v, d)
	// Another's version of the same name is not ours.
	if _, err := Run(context.Background(), lossyStore(f.store, false), options("vm", 1, d)); !errors.Is(err, errLost) {
		t.Fatalf("another capture has the name: %v", err)
	}
	ids, err := catalog.IDs(context.Background(), f.store, "vm")
	if err != nil || len(ids) != 1 {
		t.Fatalf("versions %v, %v", ids, err)
	}
}

// orderStore knows whether a session was open when the roots were read.
type orderStore struct {
	*chunkstore.Store
	begun, early bool
}

func (s *orderStore) Begin(ctx context.Context, what string) (chunkstore.Session, error) {
	s.begun = true
	return s.Store.Begin(ctx, what)
}

func (s *orderStore) Roots(ctx context.Context, prefix, from string, fn func(string, []byte) bool) error {
	s.early = s.early || !s.begun
	return s.Store.Roots(ctx, prefix, from, fn)
}

// TestSessionCoversThePreviousVersion: chunks that are taken over from the
// previous version without a look-up are kept by the session alone, so it must
// begin before that version is looked for.
func TestSessionCoversThePreviousVersion(t *testing.T) {
	f := newFixture(t)
	d := newDisk(3, 5<<20)
	f.capture("vm", 1, d)
	s := &orderStore{Store: f.store}
	if _, err := Run(context.Background(), s, options("vm", 2, d)); err != nil {
		t.Fatal(err)
	}
	if s.early {
		t.Fatal("the previous version was read before the session began")
	}
}
