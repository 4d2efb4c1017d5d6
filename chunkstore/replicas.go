package chunkstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	replicasName = "replicas.json"
	maxReplicas  = 64
	donorLeave   = 20 * time.Second
)

// Replica is another store of the same key that a store knows.
type Replica struct {
	Path    string    `json:"path"` // absolute
	StoreID string    `json:"store_id"`
	Added   time.Time `json:"added"`
	// Origin says that it is where this store is replicated from: it heals
	// this store and nothing is copied to it.
	Origin bool `json:"origin,omitempty"`
}

// replicasFile is replicas.json.
type replicasFile struct {
	Replicas []Replica `json:"replicas"`
}

// readReplicas reads what a store knows of others. That there is no file means
// none.
func readReplicas(fsys vfs.FS, dir string) ([]Replica, error) {
	f, err := fsys.Open(fsys.PathJoin(dir, replicasName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", replicasName, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", replicasName, err)
	}
	var r replicasFile
	if err := json.Unmarshal(b, &r); err != nil || len(r.Replicas) > maxReplicas {
		return nil, fmt.Errorf("%s is damaged: remove it and add the replicas again: holdfast replica add STORE2", replicasName)
	}
	return r.Replicas, nil
}

// Replicas returns the stores that this one knows.
func (s *Store) Replicas() ([]Replica, error) { return readReplicas(s.fs, s.dir) }

// AddReplica remembers a store, durably, in a file of its own beside the
// configuration: it is there after the index is made anew. One of the same id
// or path is replaced.
func (s *Store) AddReplica(r Replica) error {
	return s.changeReplicas(func(all []Replica) ([]Replica, error) {
		all = slices.DeleteFunc(all, func(o Replica) bool { return o.StoreID == r.StoreID || o.Path == r.Path })
		if len(all) >= maxReplicas {
			return nil, fmt.Errorf("a store has at most %d replicas", maxReplicas)
		}
		return append(all, r), nil
	})
}

// RemoveReplica forgets the store of that path or id; the error wraps
// ErrNotFound where it is not known.
func (s *Store) RemoveReplica(name string) error {
	return s.changeReplicas(func(all []Replica) ([]Replica, error) {
		left := slices.DeleteFunc(slices.Clone(all), func(o Replica) bool { return o.StoreID == name || o.Path == name })
		if len(left) == len(all) {
			return nil, fmt.Errorf("replica %s: %w", name, ErrNotFound)
		}
		return left, nil
	})
}

func (s *Store) changeReplicas(change func([]Replica) ([]Replica, error)) error {
	s.donors.change.Lock()
	defer s.donors.change.Unlock()
	all, err := s.Replicas()
	if err != nil {
		return err
	}
	if all, err = change(all); err != nil {
		return err
	}
	b, err := json.MarshalIndent(replicasFile{all}, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFileDurably(s.fs, s.dir, replicasName, append(b, '\n')); err != nil {
		return fmt.Errorf("remember replica: %w", err)
	}
	s.useReplicas(all)
	return nil
}

// useReplicas makes donors of the stores that this one knows.
func (s *Store) useReplicas(all []Replica) {
	if s.donorOf == nil {
		return
	}
	var list []Donor
	for _, r := range all {
		if d := s.donorOf(r); d != nil {
			list = append(list, d)
		}
	}
	s.closeDonors()
	s.SetDonors(list)
}

// closeDonors lets go of those that hold something. One that is stuck, on a dead
// network share perhaps, is left behind: it must not keep this store open.
func (s *Store) closeDonors() {
	for _, d := range s.Donors() {
		c, ok := d.(io.Closer)
		if !ok {
			continue
		}
		done := make(chan error, 1)
		go func() { done <- c.Close() }()
		var err error
		select {
		case err = <-done:
		case <-time.After(donorLeave):
			err = fmt.Errorf("it does not answer within %v", donorLeave)
		}
		if err != nil {
			s.log.Warn("leave a replica", "replica", d.Name(), "err", err)
		}
	}
}
