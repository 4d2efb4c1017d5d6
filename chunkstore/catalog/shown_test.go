package catalog

import (
	"slices"
	"testing"
)

// TestIDsFromBeforeAPrune: ids and acts that were read before a prune dropped a
// forgotten version show it no more when its root is looked for behind the prune.
func TestIDsFromBeforeAPrune(t *testing.T) {
	s, _ := newStore(t)
	gone, there := "2026-11-21T02-00-00Z", "2026-11-22T02-00-00Z"
	m := &marks{said: map[string][]entry{gone: {{id: gone, mark: Forgotten}}}}
	ids, err := m.shown(t.Context(), s, "web", []string{gone, there})
	if err != nil || !slices.Equal(ids, []string{there}) {
		t.Errorf("shown are %q, %v, want only %s", ids, err, there)
	}
}
