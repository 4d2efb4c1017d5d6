package catalog

import (
	"context"
	"fmt"
	"strings"

	"holdfast/chunkstore"
)

// Doomed returns the names of the roots that a pruning may drop, in no order
// that matters:
//
//	versions   that are forgotten, and not on their way back (Undelete)
//	acts       of which every entry is superseded by a later act or is of a
//	           version that roots does not know; the last act of a VM stays
//	policies   that are superseded by a later one of the same VM, and likewise
//	           what says when the store is pruned
//
// The pruning calls it while nobody commits, and drops the names before anybody
// does: an act that comes later finds a version gone, and undelete says so.
//
// # Why an act outlives its version
//
// The index is made anew from the packs, where the record of a dropped root lies
// until its pack is written anew. An act that forgets a version must be found by
// such a rebuild for as long as the version's record is, or the version would
// come back with its chunks gone. So roots must know every root whose record lies
// in a pack that a rebuild reads, the dropped ones among them; an act is doomed
// only when its versions are in no such pack any more. A version and its act are
// never doomed together, and therefore the names may go in any order and at any
// pace, and a crash between two of them is harmless.
//
// Superseded acts and policies that a rebuild brings back are superseded again:
// the one with the highest sequence number, which decides and from which the next
// number is counted, is never doomed.
//
// An act that can't be read dooms nothing: it may say that a version is pinned.
func Doomed(ctx context.Context, roots chunkstore.Roots) ([]string, error) {
	d := doom{vms: map[string]*vmActs{}}
	if err := d.readActs(ctx, roots); err != nil {
		return nil, fmt.Errorf("find what may be pruned: %w", err)
	}
	if err := d.readVersions(ctx, roots); err != nil {
		return nil, fmt.Errorf("find what may be pruned: %w", err)
	}
	d.sortActs()
	for _, letter := range []string{policyPrefix, pruningPrefix} {
		if err := d.readPolicies(ctx, roots, letter); err != nil {
			return nil, fmt.Errorf("find what may be pruned: %w", err)
		}
	}
	return d.names, nil
}

// doom gathers what may be dropped. It holds all acts, and of versions only
// those that an act names.
type doom struct {
	vms   map[string]*vmActs
	names []string
}

// vmActs are the acts of a VM.
type vmActs struct {
	marks
	acts []act
	// latest is the last act that speaks of a version; there is one only where
	// the version is there.
	latest map[instance]int
}

type act struct {
	name    string
	entries []entry
}

// instance is one version and not a later one of the same id.
type instance struct {
	id string
	of identity
}

func (d *doom) readActs(ctx context.Context, roots chunkstore.Roots) error {
	var bad error
	err := roots.Roots(ctx, actPrefix, "", func(name string, body []byte) bool {
		var vm string
		if vm, _, bad = parseSeqName(actPrefix, name); bad != nil {
			return false
		}
		v := d.vms[vm]
		if v == nil {
			v = &vmActs{latest: map[instance]int{}}
			d.vms[vm] = v
		}
		v.acts = append(v.acts, act{name, v.add(name, name[len(name)-seqLen:], body)})
		bad = v.bad
		return bad == nil
	})
	if bad != nil {
		return bad
	}
	return err
}

func (d *doom) readVersions(ctx context.Context, roots chunkstore.Roots) error {
	var bad error
	err := roots.Roots(ctx, rootPrefix, "", func(name string, body []byte) bool {
		var vm, id string
		if vm, id, bad = parseRootName(name); bad != nil {
			return false
		}
		v := d.vms[vm]
		if v == nil || len(v.said[id]) == 0 {
			return true
		}
		v.latest[instance{id, identityOf(body)}] = -1 // no act yet
		if v.of(id, body) == Forgotten {
			d.names = append(d.names, name)
		}
		return true
	})
	if bad != nil {
		return bad
	}
	return err
}

// sortActs finds the acts that decide nothing any more.
func (d *doom) sortActs() {
	for _, v := range d.vms {
		for i, a := range v.acts {
			for _, e := range a.entries {
				if _, there := v.latest[instance{e.id, e.of}]; there {
					v.latest[instance{e.id, e.of}] = i
				}
			}
		}
		needed := map[int]bool{len(v.acts) - 1: true}
		for _, i := range v.latest {
			needed[i] = true
		}
		for i, a := range v.acts {
			if !needed[i] {
				d.names = append(d.names, a.name)
			}
		}
	}
}

func (d *doom) readPolicies(ctx context.Context, roots chunkstore.Roots, letter string) error {
	var bad error
	before := ""
	err := roots.Roots(ctx, letter, "", func(name string, _ []byte) bool {
		if _, _, bad = parseSeqName(letter, name); bad != nil {
			return false
		}
		if n := len(name) - seqLen; strings.HasPrefix(before, name[:n]) && len(before) == len(name) {
			d.names = append(d.names, before)
		}
		before = name
		return true
	})
	if bad != nil {
		return bad
	}
	return err
}
