package owner

import "testing"

// TestWarm: only the process that owns a store has an index to warm, and nobody minds.
func TestWarm(t *testing.T) {
	own, cli := pair(t, fast())
	if _, s := own.local(); s == nil {
		t.Error("the owner has no store")
	}
	if _, s := cli.local(); s != nil || cli.InOrder(nil) != nil {
		t.Error("a client has a store of its own")
	}
	own.Warm()
	cli.Warm()
}
