package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
	"holdfast/heal"
)

// The owner of a store works on its replicas, for others as for itself.
const (
	pathRecords       = "/v1/x/records"
	pathSync          = "/v1/x/sync"
	pathOrigin        = "/v1/x/replica/origin"
	pathReplicaAdd    = "/v1/x/replica/add"
	pathReplicaList   = "/v1/x/replica/list"
	pathReplicaRemove = "/v1/x/replica/remove"
	pathReplicate     = "/v1/x/replicate"
	pathReplicateHow  = "/v1/x/replicate/progress"
	pathHealLog       = "/v1/x/heal-log"
)

// replicaView is what replica add and list print of one.
type replicaView struct {
	Path     string    `json:"path"`
	StoreID  string    `json:"store_id"`
	Role     string    `json:"role"` // replica, or origin: where this store is copied from
	Added    time.Time `json:"added"`
	Made     bool      `json:"made,omitempty"` // the store was made by this command
	Error    string    `json:"error,omitempty"`
	Versions *int64    `json:"versions,omitempty"` // it has
	Missing  *int64    `json:"missing,omitempty"`  // of this store's versions
}

// replicateAsk asks the owner to copy.
type replicateAsk struct {
	To     string
	VMs    [][]byte
	Rate   int64
	DryRun bool
}

// serveReplicas lets the owner answer for replica, replicate and log.
func serveReplicas(h *owner.Handle, opts common) {
	servePeers(h)
	serveHealLog(h)
	h.Handle("POST "+pathReplicaAdd, answering(h, func(ctx context.Context, s *chunkstore.Store, path string) (any, error) {
		return addReplica(ctx, s, opts, path)
	}))
	h.Handle("POST "+pathReplicaList, answering(h, func(ctx context.Context, s *chunkstore.Store, _ struct{}) (any, error) {
		return listReplicas(ctx, s, opts)
	}))
	h.Handle("POST "+pathReplicaRemove, answering(h, func(_ context.Context, s *chunkstore.Store, name string) (any, error) {
		return struct{}{}, s.RemoveReplica(name)
	}))
	var running atomic.Pointer[heal.Progress]
	h.Handle("POST "+pathReplicate, answering(h, func(ctx context.Context, s *chunkstore.Store, in replicateAsk) (any, error) {
		p := new(heal.Progress)
		running.Store(p)
		o := heal.ReplicateOptions{Rate: in.Rate, DryRun: in.DryRun, Progress: p, Log: opts.Log}
		for _, vm := range in.VMs {
			o.VMs = append(o.VMs, string(vm))
		}
		return replicateTo(ctx, s, opts, in.To, o)
	}))
	h.Handle("POST "+pathReplicateHow, answering(h, func(context.Context, *chunkstore.Store, struct{}) (any, error) {
		p := running.Load()
		if p == nil {
			return progressView{}, nil
		}
		return progressView{p.Done.Load(), p.Total.Load()}, nil
	}))
}

// replicaConfig reads the configuration of a store that is to be a replica. The error
// wraps chunkstore.ErrNoStore where there is none.
func replicaConfig(path string, own chunkstore.Config) (chunkstore.Config, error) {
	cfg, err := chunkstore.ReadConfig(path)
	if err != nil {
		return chunkstore.Config{}, err
	}
	switch {
	case cfg.StoreID == own.StoreID:
		return cfg, fmt.Errorf("%s is this store itself or a copy of its directory; name a new directory", path)
	case cfg.Key != own.Key:
		return cfg, fmt.Errorf("%s can't be a replica: %w; name a new directory, or a replica of this store", path, heal.ErrOtherKey)
	case cfg.FormatVersion < own.FormatVersion:
		return cfg, fmt.Errorf("%s can't take chunks of this store: %w (%d, this store %d); let it have the new one: holdfast --store %s upgrade",
			path, heal.ErrOlderFormat, cfg.FormatVersion, own.FormatVersion, shellWord(path))
	}
	return cfg, nil
}

// addReplica makes or adopts a store and lets both know each other.
func addReplica(ctx context.Context, s *chunkstore.Store, opts common, path string) (replicaView, error) {
	own := s.Config()
	self, err := filepath.Abs(opts.Store)
	if err != nil {
		return replicaView{}, err
	}
	cfg, err := replicaConfig(path, own)
	made := errors.Is(err, chunkstore.ErrNoStore)
	if made {
		cfg, err = chunkstore.Create(path, chunkstore.CreateOptions{Key: &own.Key, FrameSize: own.FrameSize, NoParity: own.NoParity, Compress: own.Compression, Format: own.FormatVersion})
	}
	if err != nil {
		return replicaView{}, err
	}
	now := time.Now().UTC().Truncate(time.Second)
	p := newPeer(opts, path, cfg.StoreID)
	defer p.Close()
	err = p.with(ctx, func(h peerStore) error {
		return h.Call(ctx, pathOrigin, chunkstore.Replica{Path: self, StoreID: own.StoreID, Added: now, Origin: true}, nil)
	})
	if err != nil {
		return replicaView{}, fmt.Errorf("tell the replica where it is from: %w", err)
	}
	r := chunkstore.Replica{Path: path, StoreID: cfg.StoreID, Added: now}
	if err := s.AddReplica(r); err != nil {
		return replicaView{}, err
	}
	v := viewReplica(r)
	v.Made = made
	return v, nil
}

func viewReplica(r chunkstore.Replica) replicaView {
	v := replicaView{Path: r.Path, StoreID: r.StoreID, Role: "replica", Added: r.Added}
	if r.Origin {
		v.Role = "origin"
	}
	return v
}

// listReplicas shows the stores that this one knows, and what each of them has.
func listReplicas(ctx context.Context, s *chunkstore.Store, opts common) ([]replicaView, error) {
	known, err := s.Replicas()
	views := []replicaView{}
	for _, r := range known {
		v := viewReplica(r)
		p := newPeer(opts, r.Path, r.StoreID)
		if err := p.with(ctx, func(h peerStore) error { return compareVersions(ctx, s, h, &v) }); err != nil {
			v.Error = err.Error()
		}
		p.Close() //nolint:errcheck // it is logged
		views = append(views, v)
	}
	return views, errors.Join(err, ctx.Err())
}

// compareVersions counts the versions that a replica has and those of this store
// that it lacks.
func compareVersions(ctx context.Context, s *chunkstore.Store, there chunkstore.Roots, v *replicaView) error {
	has := map[string]bool{}
	err := eachVersion(ctx, there, func(name string) { has[name] = true })
	if err != nil {
		return err
	}
	missing, all := int64(0), int64(len(has))
	err = eachVersion(ctx, s, func(name string) {
		if !has[name] {
			missing++
		}
	})
	v.Versions, v.Missing = &all, &missing
	return err
}

func eachVersion(ctx context.Context, r chunkstore.Roots, fn func(name string)) error {
	vms, err := catalog.VMs(ctx, r)
	for _, vm := range vms {
		ids, ierr := catalog.IDs(ctx, r, vm)
		if ierr != nil {
			return ierr
		}
		for _, id := range ids {
			fn(catalog.RootName(vm, id))
		}
	}
	return err
}

// replicateTo copies to one store, or to every replica.
func replicateTo(ctx context.Context, s *chunkstore.Store, opts common, to string, o heal.ReplicateOptions) ([]*heal.ReplicateReport, error) {
	reports := []*heal.ReplicateReport{}
	targets := []string{to}
	if to == "" {
		targets = nil
		known, err := s.Replicas()
		if err != nil {
			return nil, err
		}
		for _, r := range known {
			if !r.Origin {
				targets = append(targets, r.Path)
			}
		}
	}
	var failed error
	for _, path := range targets {
		rep, err := replicateOne(ctx, s, opts, path, o)
		if rep != nil {
			rep.To = path
			reports = append(reports, rep)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("to %s: %w", path, err))
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return reports, failed
}

func replicateOne(ctx context.Context, s *chunkstore.Store, opts common, path string, o heal.ReplicateOptions) (rep *heal.ReplicateReport, err error) {
	cfg, err := replicaConfig(path, s.Config())
	if err != nil {
		return nil, err
	}
	p := newPeer(opts, path, cfg.StoreID)
	err = p.with(ctx, func(h peerStore) error {
		rep, err = heal.Replicate(ctx, s, h, o)
		return err
	})
	return rep, errors.Join(err, p.Close())
}

// pathOf makes a path independent of who opens it.
func pathOf(arg string) (string, error) {
	path, err := filepath.Abs(arg)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return path, nil
}
