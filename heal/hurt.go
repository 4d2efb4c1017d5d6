package heal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// UseManifest is the kind of a use that is none of a disk's: the record of the version
// itself. What is read of it is what the index has, so all of the version comes back; an
// index that is made anew lacks it, unless a repair has stored it anew.
const UseManifest = "manifest"

// Use is one place where a version uses a damaged chunk. For a map it is the
// span of the disk that the map describes.
type Use struct {
	VM      string `json:"vm"`
	Version string `json:"version"`
	Disk    string `json:"disk"` // none of a manifest
	Kind    string `json:"kind"` // data, region map, disk map or manifest
	Offset  int64  `json:"offset"`
	Length  int64  `json:"length"`
}

// HurtChunk is a damaged chunk and who uses it.
type HurtChunk struct {
	ChunkView
	Uses []Use `json:"uses"`
}

// HurtPack is a pack that its last proof did not find as it was written. Where it is
// healable, each of its chunks comes back so far.
type HurtPack struct {
	Pack  string    `json:"pack"`
	State string    `json:"state"` // healable, damaged or unreadable
	Found time.Time `json:"found"` // when that proof began
}

func viewHurtPack(p chunkstore.KnownPack) HurtPack {
	return HurtPack{packText(p.Number), p.Proof.Result.String(), p.Proof.When}
}

// HurtReport is all damage of a store.
type HurtReport struct {
	Chunks    []HurtChunk `json:"chunks"`
	Packs     []HurtPack  `json:"packs"`           // to repair
	Files     []HurtFile  `json:"files,omitempty"` // guest files that lie in hurt ranges, see GuestFiles
	Manifests []string    `json:"manifests"`       // VM@VERSION whose manifests can't be read, or whose maps don't fit
	Unlisted  int         `json:"unlisted"`        // chunks and uses beyond the bound of the list

	versions map[[2]string]bool // hurt VM and version: has corrupt or missing data, not only what can't be read
	unfit    map[[2]string]bool // those whose maps don't fit each other
}

// maxHurt bounds the chunks, and their uses, that a report lists one by one. What
// is hurt is known without a bound: of chunks in the index, of versions by their
// states.
const maxHurt = 50000

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
	return hurtOf(ctx, store, nil, nil)
}

// hurtOf is Hurt for one version, or all. each, if it is not nil, sees the walk
// before it begins.
func hurtOf(ctx context.Context, store *chunkstore.Store, only *catalog.Version, each func(*walk)) (*HurtReport, error) {
	r := &HurtReport{Chunks: []HurtChunk{}, Packs: []HurtPack{}, Manifests: []string{}, versions: map[[2]string]bool{}, unfit: map[[2]string]bool{}}
	err := store.HurtPacks(ctx, func(p chunkstore.KnownPack) { r.Packs = append(r.Packs, viewHurtPack(p)) })
	if err != nil {
		return nil, err
	}
	at := map[pack.ID]int{} // of those that are listed
	uses := 0
	add := func(d chunkstore.DamagedChunk) {
		if _, is := at[d.ID]; is {
			return
		}
		if len(at) >= maxHurt {
			r.Unlisted++
			return
		}
		at[d.ID] = len(r.Chunks)
		r.Chunks = append(r.Chunks, HurtChunk{ChunkView: viewDamage(d), Uses: []Use{}})
	}
	if err := store.Damage(ctx, func(d chunkstore.DamagedChunk) error { add(d); return nil }); err != nil {
		return nil, err
	}
	if len(at) == 0 && only == nil {
		return r, nil
	}
	w := newWalk(store)
	if each != nil {
		each(w)
	}
	use := func(v version, d string, p disk.Part, of chunkstore.DamagedChunk) {
		add(of)
		k := [2]string{v.vm, v.id}
		r.versions[k] = r.versions[k] || of.Kind != pack.Unreadable
		if i, listed := at[p.ID]; listed && uses < maxHurt {
			uses++
			r.Chunks[i].Uses = append(r.Chunks[i].Uses, Use{v.vm, v.id, d, p.Kind.String(), p.Off, p.Len})
		} else {
			r.Unlisted++
		}
	}
	useRoot := func(vm, version string) error {
		id, err := store.RootID(ctx, catalog.RootName(vm, version))
		if i, listed := at[id]; listed && err == nil {
			r.Chunks[i].Uses = append(r.Chunks[i].Uses, Use{VM: vm, Version: version, Kind: UseManifest})
		}
		if errors.Is(err, chunkstore.ErrNotFound) {
			return nil // forgotten meanwhile
		}
		return err
	}
	if only != nil {
		if err := useRoot(only.VM, only.ID); err != nil {
			return r, err
		}
		return r, w.disks(ctx, version{only.VM, only.ID, only}, use)
	}
	err = w.versions(ctx, "", func(v version, err error) error {
		if err := useRoot(v.vm, v.id); err != nil {
			return err
		}
		if err != nil {
			r.Manifests = append(r.Manifests, v.vm+"@"+v.id)
			return nil
		}
		err = w.disks(ctx, v, use)
		if unfit := (*unfitError)(nil); errors.As(err, &unfit) {
			r.Manifests = append(r.Manifests, v.vm+"@"+v.id)
			r.unfit[[2]string{v.vm, v.id}] = true
			return nil
		}
		return err
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
	store *chunkstore.Store
	maps  *disk.Maps
	clean *seen                       // maps below which nothing is damaged
	fresh map[pack.ID]bool            // maps that did not come: of the disk at hand, or where leads are taken in of all
	known *chunkstore.KnownIDs        // what is surely in the index is not looked up there; nil: all is
	lost  func(pack.ID)               // told of chunks that the index does not know; nil: nobody is
	step  func(context.Context) error // before each map; nil: nothing
	batch int                         // chunks of data that leads look up at once, the next time
}

func newWalk(store *chunkstore.Store) *walk {
	return &walk{store: store, maps: disk.NewMaps(store, 0), clean: newSeen(), batch: dataAtOnce}
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

// usage is a use of a damaged chunk.
type usage struct {
	disk.Part
	of chunkstore.DamagedChunk
}

// disks follows the maps of a version's disks and calls use, if it is not nil,
// for every use of a damaged chunk.
func (w *walk) disks(ctx context.Context, v version, use func(version, string, disk.Part, chunkstore.DamagedChunk)) error {
	var unfits error
	for i := range v.Disks {
		d := &v.Disks[i]
		uses, err := w.diskUses(ctx, d.Map)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if unfit := (*unfitError)(nil); errors.As(err, &unfit) {
			unfits, err = errors.Join(unfits, fmt.Errorf("disk %q: %w", d.Name, err)), nil
		}
		for _, u := range uses {
			if use != nil {
				use(v, d.Name, u.Part, u.of)
			}
		}
		if err != nil {
			return err
		}
	}
	return unfits
}

// unfitError says that the maps of a disk are there and contradict each other.
type unfitError struct{ err error }

func (e *unfitError) Error() string { return e.err.Error() }
func (e *unfitError) Unwrap() error { return e.err }

// diskUses follows the maps of one disk. A map that can't be read is damage that
// is new: the walk begins again and passes it.
func (w *walk) diskUses(ctx context.Context, m disk.Map) ([]usage, error) {
	w.fresh = map[pack.ID]bool{}
	for {
		before := len(w.fresh)
		var uses []usage
		err := w.disk(ctx, m, func(u usage) {
			if len(uses) < maxHurt {
				uses = append(uses, u)
			}
		})
		if err == nil || ctx.Err() != nil || len(w.fresh) == before {
			return uses, err
		}
	}
}

// open is a map whose parts are being walked.
type open struct {
	id   pack.ID
	end  int64 // of what it describes
	hurt bool
}

func (w *walk) disk(ctx context.Context, m disk.Map, use func(usage)) error {
	r, err := disk.Open(nil, w.maps, m)
	if err != nil {
		return &unfitError{err}
	}
	var failed error // that has nothing to do with the maps
	var path []open
	pop := func() {
		last := path[len(path)-1]
		path = path[:len(path)-1]
		if !last.hurt {
			w.clean.add(last.id)
		} else if len(path) > 0 {
			path[len(path)-1].hurt = true
		}
	}
	err = r.Parts(ctx, func(p disk.Part) (bool, error) {
		for p.Kind != pack.KindData && len(path) > 0 && path[len(path)-1].end <= p.Off {
			pop()
		}
		if p.Kind != pack.KindData && w.clean.has(p.ID) {
			return false, nil
		}
		d, hurt, err := w.hurt(p.ID)
		if err != nil {
			failed = err
			return false, err
		}
		if hurt {
			if len(path) > 0 {
				path[len(path)-1].hurt = true
			}
			use(usage{p, d})
			return false, nil
		}
		if p.Kind != pack.KindData {
			if w.step != nil {
				if failed = w.step(ctx); failed != nil {
					return false, failed
				}
			}
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
	switch {
	case failed != nil || ctx.Err() != nil:
		return err
	case errors.As(err, &d):
		w.fresh[d.ID] = true
		return err
	}
	return &unfitError{err}
}

// hurt reports whether a chunk is damaged, or not in the index at all.
func (w *walk) hurt(id pack.ID) (chunkstore.DamagedChunk, bool, error) {
	d, is, err := w.store.DamageOf(id)
	if is || err != nil {
		return d, is, err
	}
	if w.fresh[id] { // and its damage could not be remembered
		return chunkstore.DamagedChunk{ID: id, Kind: pack.Unreadable, Tried: "it could not be read"}, true, nil
	}
	if w.known.Has(id) {
		return d, false, nil
	}
	unknown, err := w.unknown(id)
	return chunkstore.DamagedChunk{ID: id, Kind: pack.Missing, Tried: "the index does not know the chunk"}, unknown, err
}

// unknown remembers as missing a chunk that the index does not know, and reports
// whether that is so.
func (w *walk) unknown(id pack.ID) (bool, error) {
	unknown, err := w.store.NoteUnknown(id)
	if unknown && w.lost != nil {
		w.lost(id)
	}
	return unknown, err
}
