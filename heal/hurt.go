package heal

import (
	"context"
	"errors"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// Use is one place where a version uses a damaged chunk. For a map it is the
// span of the disk that the map describes.
type Use struct {
	VM      string `json:"vm"`
	Version string `json:"version"`
	Disk    string `json:"disk"`
	Kind    string `json:"kind"` // data, region map or disk map
	Offset  int64  `json:"offset"`
	Length  int64  `json:"length"`
}

// HurtChunk is a damaged chunk and who uses it.
type HurtChunk struct {
	ChunkView
	Uses []Use `json:"uses"`
}

// HurtPack is a pack that is not as it was written, though each of its chunks
// comes back so far.
type HurtPack struct {
	Pack  string    `json:"pack"`
	State string    `json:"state"`
	Found time.Time `json:"found"`
}

// HurtReport is all damage of a store.
type HurtReport struct {
	Chunks    []HurtChunk `json:"chunks"`
	Packs     []HurtPack  `json:"packs"`     // to repair
	Manifests []string    `json:"manifests"` // VM@VERSION whose manifests can't be read
	Unlisted  int         `json:"unlisted"`  // uses and chunks that Trim has cut off
}

// Trim cuts the report to about n chunks and uses, so that it fits into one
// answer.
func (r *HurtReport) Trim(n int) {
	for i := range r.Chunks {
		c := &r.Chunks[i]
		if n <= 0 {
			for _, c := range r.Chunks[i:] {
				r.Unlisted += 1 + len(c.Uses)
			}
			r.Chunks = r.Chunks[:i]
			return
		}
		if len(c.Uses) > n {
			r.Unlisted += len(c.Uses) - n
			c.Uses = c.Uses[:n]
		}
		n -= 1 + len(c.Uses)
	}
}

// Exists reports whether there is any.
func (r *HurtReport) Exists() bool { return len(r.Chunks)+len(r.Packs)+len(r.Manifests) > 0 }

// Hurt names every version, disk and byte range that uses a damaged chunk. It
// follows the maps of all versions, each distinct map without damage once, and
// only where there is damage.
func Hurt(ctx context.Context, store *chunkstore.Store) (*HurtReport, error) {
	return hurtOf(ctx, store, nil)
}

// hurtOf is Hurt for one version, or all.
func hurtOf(ctx context.Context, store *chunkstore.Store, only *catalog.Version) (*HurtReport, error) {
	r := &HurtReport{Chunks: []HurtChunk{}, Packs: []HurtPack{}, Manifests: []string{}}
	err := store.KnownPacks(ctx, func(p chunkstore.KnownPack) error {
		if p.Proof.Result > chunkstore.PackWhole {
			r.Packs = append(r.Packs, HurtPack{packText(p.Number), p.Proof.Result.String(), p.Proof.When})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	damaged := map[pack.ID]bool{}
	at := map[pack.ID]int{}
	add := func(d chunkstore.DamagedChunk) {
		if !damaged[d.ID] {
			damaged[d.ID] = true
			at[d.ID] = len(r.Chunks)
			r.Chunks = append(r.Chunks, HurtChunk{ChunkView: viewDamage(d), Uses: []Use{}})
		}
	}
	if err := store.Damage(ctx, func(d chunkstore.DamagedChunk) error { add(d); return nil }); err != nil {
		return nil, err
	}
	if len(damaged) == 0 && only == nil {
		return r, nil
	}
	w := newWalk(store, damaged)
	w.found = add
	use := func(v version, d string, p disk.Part) {
		c := &r.Chunks[at[p.ID]]
		c.Uses = append(c.Uses, Use{v.vm, v.id, d, p.Kind.String(), p.Off, p.Len})
	}
	if only != nil {
		return r, w.disks(ctx, version{only.VM, only.ID, only}, use)
	}
	err = w.versions(ctx, "", func(v version, err error) error {
		if err != nil {
			r.Manifests = append(r.Manifests, v.vm+"@"+v.id)
			return nil
		}
		return w.disks(ctx, v, use)
	})
	return r, err
}

// version is a version on a walk; its manifest is nil where it can't be read.
type version struct {
	vm, id string
	*catalog.Version
}

// walk follows the maps of versions. It passes over maps that it has seen and
// below which nothing is damaged.
type walk struct {
	store   *chunkstore.Store
	maps    *disk.Maps
	damaged map[pack.ID]bool
	clean   map[[16]byte]bool // half an id: 2^64 maps to meet another
	unknown []pack.ID         // chunks that the index does not know
	found   func(chunkstore.DamagedChunk)
}

func newWalk(store *chunkstore.Store, damaged map[pack.ID]bool) *walk {
	return &walk{
		store: store, maps: disk.NewMaps(store, 0), damaged: damaged, clean: map[[16]byte]bool{},
		found: func(d chunkstore.DamagedChunk) { damaged[d.ID] = true },
	}
}

// versions calls fn for all versions, or those of one VM.
func (w *walk) versions(ctx context.Context, vm string, fn func(version, error) error) error {
	vms := []string{vm}
	if vm == "" {
		var err error
		if vms, err = catalog.VMs(ctx, w.store); err != nil {
			return err
		}
	}
	for _, vm := range vms {
		ids, err := catalog.IDs(ctx, w.store, vm)
		if err != nil {
			return err
		}
		for _, id := range ids {
			v, err := catalog.Get(ctx, w.store, vm, id)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := fn(version{vm, id, v}, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// disks follows the maps of a version's disks and calls use, if it is not nil,
// for every use of a damaged chunk. A map that can't be read is damage that is
// new: the walk of the disk begins again and passes it.
func (w *walk) disks(ctx context.Context, v version, use func(version, string, disk.Part)) error {
	for i := range v.Disks {
		d := &v.Disks[i]
		for {
			before := len(w.damaged)
			var uses []disk.Part
			err := w.disk(ctx, d.Map, func(p disk.Part) { uses = append(uses, p) })
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil || len(w.damaged) == before {
				for _, p := range uses {
					if use != nil {
						use(v, d.Name, p)
					}
				}
				if err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// open is a map whose parts are being walked.
type open struct {
	id   pack.ID
	end  int64 // of what it describes
	hurt bool
}

func (w *walk) disk(ctx context.Context, m disk.Map, use func(disk.Part)) error {
	r, err := disk.Open(nil, w.maps, m)
	if err != nil {
		return err
	}
	var path []open
	pop := func() {
		last := path[len(path)-1]
		path = path[:len(path)-1]
		if !last.hurt {
			w.clean[[16]byte(last.id[:16])] = true
		} else if len(path) > 0 {
			path[len(path)-1].hurt = true
		}
	}
	err = r.Parts(ctx, func(p disk.Part) (bool, error) {
		for p.Kind != pack.KindData && len(path) > 0 && path[len(path)-1].end <= p.Off {
			pop()
		}
		if p.Kind != pack.KindData && w.clean[[16]byte(p.ID[:16])] {
			return false, nil
		}
		hurt, err := w.isHurt(p.ID)
		if err != nil {
			return false, err
		}
		if hurt {
			if len(path) > 0 {
				path[len(path)-1].hurt = true
			}
			use(p)
			return false, nil
		}
		if p.Kind != pack.KindData {
			path = append(path, open{id: p.ID, end: p.Off + p.Len})
		}
		return true, nil
	})
	if err == nil {
		for len(path) > 0 {
			pop()
		}
		return nil
	}
	var d *pack.Damage
	if errors.As(err, &d) {
		w.found(chunkstore.DamagedChunk{ID: d.ID, Kind: d.Kind, Pack: d.Pack, Offset: d.Offset, Length: d.Length, Tried: d.Error()})
	}
	return err
}

// isHurt reports whether a chunk is damaged or not in the index at all.
func (w *walk) isHurt(id pack.ID) (bool, error) {
	if w.damaged[id] {
		return true, nil
	}
	unknown, err := w.store.NoteUnknown(id)
	if unknown {
		w.unknown = append(w.unknown, id)
		w.found(chunkstore.DamagedChunk{ID: id, Kind: pack.Missing, Tried: "the index does not know the chunk"})
	}
	return unknown, err
}

// packsOf returns the packs that the versions of a VM use.
func packsOf(ctx context.Context, store *chunkstore.Store, vm string) (map[uint64]bool, error) {
	w := newWalk(store, map[pack.ID]bool{})
	packs, seen := map[uint64]bool{}, 0
	err := w.versions(ctx, vm, func(v version, err error) error {
		seen++
		if err != nil {
			return nil
		}
		return w.packs(ctx, v, packs)
	})
	if err == nil && seen == 0 {
		err = catalog.ErrNoVM
	}
	return packs, err
}

// packs adds the packs that a version uses. A map that can't be read ends the
// disk's walk: what is below it is not known, and its own pack is.
func (w *walk) packs(ctx context.Context, v version, packs map[uint64]bool) error {
	for i := range v.Disks {
		r, err := disk.Open(nil, w.maps, v.Disks[i].Map)
		if err != nil {
			return err
		}
		var failed error
		err = r.Parts(ctx, func(p disk.Part) (bool, error) {
			n, ok, err := w.store.PackOf(p.ID)
			if err != nil {
				failed = err
				return false, err
			}
			if ok {
				packs[n] = true
			}
			if p.Kind == pack.KindData || !ok || w.clean[[16]byte(p.ID[:16])] {
				return false, nil
			}
			w.clean[[16]byte(p.ID[:16])] = true
			return true, nil
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failed != nil {
			return err
		}
	}
	return nil
}
