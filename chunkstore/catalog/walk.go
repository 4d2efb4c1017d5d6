package catalog

import (
	"context"
	"fmt"
	"strings"

	"holdfast/chunkstore"
	"holdfast/chunkstore/disk"
)

// walkMapBytes bounds the maps that a walk keeps in memory: it reads each once,
// but for the nodes above the one at hand.
const walkMapBytes = 4 << 20

// Walk returns what a prune and a check ask what a root leads to: a version, also
// a forgotten one, leads to the maps of its disks and their chunks; all other
// roots lead to nothing. A map is read only when visit wants what lies below it, and
// unnoticed: whoever walks must not take himself for somebody else who works.
func Walk(store *chunkstore.Store) chunkstore.WalkFunc {
	maps := disk.NewMaps(store.Unnoticed(), walkMapBytes)
	return func(ctx context.Context, name string, body []byte, visit chunkstore.Visit) error {
		if !strings.HasPrefix(name, rootPrefix) {
			return nil
		}
		vm, id, err := parseRootName(name)
		if err != nil {
			return err
		}
		v, err := decodeAs(body, vm, id)
		if err != nil {
			return err
		}
		for i := range v.Disks {
			r, err := disk.Open(nil, maps, v.Disks[i].Map)
			if err == nil {
				err = r.Parts(ctx, func(p disk.Part) (bool, error) { return visit(p.ID, p.Kind) })
			}
			if err != nil {
				return fmt.Errorf("version %s of VM %q, disk %q: %w", id, vm, v.Disks[i].Name, err)
			}
		}
		return nil
	}
}

// RootText words the name of a root for a person: VM@VERSION for a version.
func RootText(name string) string {
	if strings.HasPrefix(name, rootPrefix) {
		if vm, id, err := parseRootName(name); err == nil {
			return vm + "@" + id
		}
	}
	return fmt.Sprintf("root %q", name)
}
