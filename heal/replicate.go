package heal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/owner"
	"holdfast/chunkstore/pack"
)

// ErrOtherKey says that two stores name their chunks under different keys, so
// that neither can hold the other's.
var ErrOtherKey = errors.New("it has another key: its chunks bear other names, so nothing of it can heal this store")

// ErrOlderFormat says that a replica's format lacks what the store's has.
var ErrOlderFormat = errors.New("it has an older format")

// Replica is the store that versions are copied to.
type Replica interface {
	chunkstore.API
	// Sync makes everything that was put before it durable and known.
	Sync(ctx context.Context) error
	// OwnRecords returns the records of at most chunkstore.MaxRecords chunks as
	// it has them itself, nil where it has none that is whole.
	OwnRecords(ctx context.Context, ids []chunkstore.ID) ([][]byte, error)
	// StoredRecords is OwnRecords without any proof: what lies in its files, or
	// what OwnRecords gives.
	StoredRecords(ctx context.Context, ids []chunkstore.ID) ([][]byte, error)
}

var _ Replica = (*chunkstore.Store)(nil)

// ReplicateOptions say what is copied. The zero value is everything.
type ReplicateOptions struct {
	VMs      []string      // none: all
	Rate     int64         // bytes of records a second; 0: no limit
	DryRun   bool          // only say what would be copied
	Progress *Progress     // in bytes of the versions' disks; nil: not told
	Log      *slog.Logger  // nil: nothing is logged
	Retry    time.Duration // before the first of the tries of what can't be read; 0: 100 ms
}

// What became of a version.
const (
	VersionCopied     = "copied"     // or would be, with DryRun
	VersionThere      = "there"      // the replica has it
	VersionMended     = "mended"     // the replica has it, and had lost some of its chunks
	VersionDiffers    = "differs"    // the replica has another version of that name
	VersionForgotten  = "forgotten"  // the replica was told to forget it
	VersionDamaged    = "damaged"    // it contains corrupt or missing data
	VersionIncomplete = "incomplete" // the storage could not be read
)

// ReplicatedVersion is what became of one version.
type ReplicatedVersion struct {
	VM      string `json:"vm"`
	Version string `json:"version"`
	State   string `json:"state"`
	Chunks  int64  `json:"chunks"` // that travelled
	Bytes   int64  `json:"bytes"`  // of their records; with DryRun of their plain bytes, at most
	Text    string `json:"text,omitempty"`
}

// ReplicateReport is what a replication did.
type ReplicateReport struct {
	To       string              `json:"to"`
	StoreID  string              `json:"store_id"`
	Versions []ReplicatedVersion `json:"versions"` // but those that were there
	There    int                 `json:"there"`
	Copied   int                 `json:"copied"`
	Chunks   int64               `json:"chunks"`
	Bytes    int64               `json:"bytes"`
	Damaged  int                 `json:"damaged"`  // versions that were not copied for damage
	Failed   int                 `json:"failed"`   // versions that were not copied for anything else
	Verified int64               `json:"verified"` // chunks that were read back
	Duration time.Duration       `json:"duration_ns"`
}

// Replicate copies the versions that dst does not have, each VM's oldest first,
// as they are stored: no chunk is compressed again. A version becomes visible in
// dst when all of it is durable there. Of a copy that was stopped, what was
// stored is used by the next one.
//
// Every record is proved against its chunk's id when it is read, and read back
// from dst's files: it is proved there by being the same bytes, or else, where
// another had stored the chunk meanwhile, by its id. What dst has is asked for chunk by chunk; only
// below maps that a version reaches which dst shows, and only while dst knows of
// no damage, nothing is asked, since a version shows only when everything below
// it is there. That dst has a map alone proves nothing: its chunks may have been
// lost, or never have come.
//
// A version with damage is not copied and is named. It holds, for each of its
// four workers, 8 MiB of records, and 40 bytes a distinct map.
func Replicate(ctx context.Context, src *chunkstore.Store, dst Replica, opts ReplicateOptions) (*ReplicateReport, error) {
	began := time.Now()
	if opts.Progress == nil {
		opts.Progress = new(Progress)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Retry == 0 {
		opts.Retry = 100 * time.Millisecond
	}
	r := &replication{
		src: src, dst: dst, opts: opts, pace: newPace(opts.Rate), maps: disk.NewMaps(patientGetter{src, opts.Retry}, 0),
		whole: map[[16]byte]bool{}, report: &ReplicateReport{StoreID: dst.Info().StoreID, Versions: []ReplicatedVersion{}},
	}
	err := r.run(ctx)
	r.report.Duration = time.Since(began)
	if err != nil {
		return r.report, fmt.Errorf("replicate: %w", err)
	}
	return r.report, nil
}

type replication struct {
	src  *chunkstore.Store
	dst  Replica
	opts ReplicateOptions
	pace *pace
	maps *disk.Maps

	trust  bool              // dst knows of no damage
	whole  map[[16]byte]bool // maps of which dst has everything below; half an id
	basis  []version         // the versions that this is believed for
	report *ReplicateReport
}

func (r *replication) run(ctx context.Context) error {
	if r.src.Info().StoreID == r.dst.Info().StoreID {
		return errors.New("source and replica are the same store")
	}
	if probe := []byte("holdfast"); r.src.ID(probe) != r.dst.ID(probe) {
		return ErrOtherKey
	}
	if own, its := r.src.Info().FormatVersion, r.dst.Info().FormatVersion; its < own {
		return fmt.Errorf("%w: %d, and this store has %d", ErrOlderFormat, its, own)
	}
	st, err := r.dst.Stats(ctx)
	if err != nil {
		return err
	}
	r.trust = st.Damaged == 0
	vms := r.opts.VMs
	if len(vms) == 0 {
		if vms, err = catalog.VMs(ctx, r.src); err != nil {
			return err
		}
	}
	todo, err := r.plan(ctx, vms)
	if err != nil {
		return err
	}
	for _, j := range todo {
		if err := r.do(ctx, j); err != nil {
			return err
		}
	}
	if r.trust || r.opts.DryRun {
		return nil
	}
	return r.dst.Sync(ctx)
}

// replicaJob is a version to copy, and the newest one before it that both
// stores have.
type replicaJob struct {
	version
	body  []byte
	there bool // the replica has it; its chunks are asked for all the same
	base  *version
}

// plan compares the lists of versions.
func (r *replication) plan(ctx context.Context, vms []string) ([]replicaJob, error) {
	var todo []replicaJob
	for _, vm := range vms {
		ids, err := catalog.IDs(ctx, r.src, vm)
		if err != nil {
			return nil, err
		}
		if len(ids) == 0 {
			return nil, fmt.Errorf("VM %q: %w", vm, catalog.ErrNoVM)
		}
		var base *version
		for _, id := range ids {
			j, err := r.compare(ctx, vm, id)
			if err != nil {
				return nil, err
			}
			if j == nil {
				continue
			}
			if j.there && r.trust {
				r.report.There++
				base = &j.version
				continue
			}
			j.base = base
			todo = append(todo, *j)
			for _, d := range j.Disks {
				r.opts.Progress.Total.Add(d.Map.Size)
			}
		}
	}
	return todo, nil
}

// compare looks for one version in both stores; nil: nothing can be done for it,
// and that is in the report, or it went meanwhile.
func (r *replication) compare(ctx context.Context, vm, id string) (*replicaJob, error) {
	v, err := catalog.Get(ctx, r.src, vm, id)
	switch {
	case errors.Is(err, catalog.ErrNoVersion):
		return nil, ctx.Err()
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		r.note(ReplicatedVersion{VM: vm, Version: id, State: VersionDamaged, Text: err.Error()})
		return nil, nil
	}
	name := catalog.RootName(vm, id)
	body, err := r.src.Root(ctx, name)
	if errors.Is(err, chunkstore.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	mark, err := catalog.MarkOf(ctx, r.dst, vm, id, body)
	if err != nil {
		return nil, err
	}
	if mark.Has(catalog.Forgotten) {
		r.note(ReplicatedVersion{VM: vm, Version: id, State: VersionForgotten, Text: "the replica was told to forget it; there: holdfast undelete"})
		return nil, nil
	}
	there, err := r.dst.Root(ctx, name)
	switch {
	case errors.Is(err, chunkstore.ErrNotFound):
		return &replicaJob{version: version{vm, id, v}, body: body}, nil
	case err != nil:
		return nil, err
	case !bytes.Equal(there, body):
		r.note(ReplicatedVersion{VM: vm, Version: id, State: VersionDiffers, Text: "the replica has another version of this name; it is left as it is"})
		return nil, nil
	}
	return &replicaJob{version: version{vm, id, v}, body: body, there: true}, nil
}

// note adds a version to the report.
func (r *replication) note(v ReplicatedVersion) {
	switch v.State {
	case VersionCopied:
		r.report.Copied++
	case VersionThere, VersionMended:
		r.report.There++
	case VersionForgotten: // as somebody wanted
	case VersionDamaged:
		r.report.Damaged++
	default:
		r.report.Failed++
	}
	r.report.Chunks += v.Chunks
	r.report.Bytes += v.Bytes
	if v.State != VersionThere {
		r.report.Versions = append(r.report.Versions, v)
	}
}

const maxTries = 3

// errForgotten says that a version on which the copy relied has gone from the
// replica.
var errForgotten = errors.New("a version went from the replica meanwhile")

// do copies one version, again where the replica's owner changed or a version
// that it relied on went meanwhile.
func (r *replication) do(ctx context.Context, j replicaJob) error {
	for try := 1; ; try++ {
		c := &versionCopy{replication: r, job: j, fresh: map[[16]byte]bool{}}
		err := c.run(ctx)
		again := errors.Is(err, owner.ErrOwnerLost) || errors.Is(err, errForgotten)
		if again && try < maxTries && ctx.Err() == nil {
			r.opts.Log.Warn("a version is copied again", "vm", j.vm, "version", j.id, "err", err)
			r.whole, r.basis = map[[16]byte]bool{}, nil
			j.base = nil
			continue
		}
		if err != nil {
			return fmt.Errorf("version %s of %q: %w", j.id, j.vm, err)
		}
		r.note(c.result())
		return nil
	}
}

// learn takes in the maps of a version that the replica shows: everything below
// them is there. Region maps are listed by the nodes above them and not read.
func (r *replication) learn(ctx context.Context, v *version) error {
	if v == nil || !r.trust {
		return nil
	}
	for _, b := range r.basis {
		if b.vm == v.vm && b.id == v.id {
			return nil
		}
	}
	seen := map[[16]byte]bool{}
	for i := range v.Disks {
		rd, err := disk.Open(nil, r.maps, v.Disks[i].Map)
		if err != nil {
			return err
		}
		err = rd.Parts(ctx, func(p disk.Part) (bool, error) {
			k := [16]byte(p.ID[:16])
			into := p.Kind == pack.KindDiskMap && !r.whole[k] && !seen[k]
			seen[k] = true
			return into, nil
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return nil // it can't be read here: nothing is taken for granted
		}
	}
	for k := range seen {
		r.whole[k] = true
	}
	r.basis = append(r.basis, *v)
	return nil
}
