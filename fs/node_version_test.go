package fs

import (
	"testing"

	"holdfast/chunkstore/catalog"
)

// TestManifestsOfRecentVersions: a manifest is kept from the look-up on, until so
// many other versions have been looked up.
func TestManifestsOfRecentVersions(t *testing.T) {
	tr := &tree{}
	first := newVersionNode(tr, &catalog.Version{VM: "web", ID: "first"})
	keep := len(tr.recent.ring)
	for range keep - 1 {
		newVersionNode(tr, &catalog.Version{})
	}
	if v, err := first.manifest(t.Context()); err != nil || v.ID != "first" {
		t.Errorf("after %d more look-ups: %v, %v", keep-1, v, err)
	}
	newVersionNode(tr, &catalog.Version{})
	if first.v != nil {
		t.Errorf("after %d more look-ups the manifest is still kept", keep)
	}
}
