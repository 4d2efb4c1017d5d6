package chunkstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Validation is what is known of one version, or of one of its disks. The
// numbers are on disk.
type Validation uint8

const (
	Pending    Validation = 0
	Valid      Validation = 1 // its maps fit, and each of its chunks was proved since it was captured
	Hurt       Validation = 2 // it contains corrupt or missing data
	Incomplete Validation = 3 // it could not be proved: the storage could not be read
)

func (v Validation) String() string {
	return [...]string{"pending", "valid", "damaged", "incomplete"}[min(v, Incomplete)]
}

// RootState is the validation of the version under a root's name.
type RootState struct {
	State Validation
	When  time.Time
	// Lasting says of a hurt version that no chunk is to blame, but maps that
	// do not fit each other: it stays hurt when the store has no damage.
	Lasting bool
}

const rootStateLen = 10

func stateKey(name string) []byte { return append([]byte{keyState}, name...) }

// SetRootState remembers the validation of a version.
func (s *Store) SetRootState(name string, st RootState) error {
	v := append(binary.LittleEndian.AppendUint64(nil, uint64(st.When.Unix())), byte(st.State), 0)
	if st.Lasting {
		v[rootStateLen-1] = 1
	}
	if err := s.index.Set(stateKey(name), v, pebble.NoSync); err != nil {
		return fmt.Errorf("remember state of %q: %w", name, err)
	}
	return nil
}

// RootState returns it. A version that was found damaged is pending again once
// the store has no damage.
func (s *Store) RootState(name string) (RootState, error) {
	v, closer, err := s.index.Get(stateKey(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return RootState{}, nil
	}
	if err != nil {
		return RootState{}, fmt.Errorf("look up state of %q: %w", name, err)
	}
	defer closer.Close()
	return s.parseState(v), nil
}

// parseState reads a state; one that can't be read is none.
func (s *Store) parseState(v []byte) RootState {
	if len(v) != rootStateLen && len(v) != rootStateLen-1 || Validation(v[8]) > Incomplete {
		return RootState{}
	}
	st := RootState{State: Validation(v[8]), When: time.Unix(int64(binary.LittleEndian.Uint64(v)), 0).UTC()}
	st.Lasting = len(v) == rootStateLen && v[rootStateLen-1] == 1
	if st.State == Hurt && !st.Lasting && !s.Distrust() {
		st.State = Pending
	}
	return st
}

// Unproved calls fn for each root that is pending or incomplete, or hurt and
// not lastingly so, in the order of their names. It reads no body; fn may use
// the store.
func (s *Store) Unproved(ctx context.Context, fn func(name string, st RootState) error) error {
	it, err := s.index.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{keyRoot}, UpperBound: []byte{keyRoot + 1}})
	if err != nil {
		return fmt.Errorf("list roots: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		name := string(it.Key()[1:])
		st, err := s.RootState(name)
		if err != nil {
			return err
		}
		if st.State == Valid || st.Lasting {
			continue
		}
		if err := fn(name, st); err != nil {
			return err
		}
	}
	return it.Error()
}

// DiskState is the validation of one disk of a version: an item of the queue.
type DiskState struct {
	State   Validation
	When    time.Time
	Tries   int       // in a row that could not read the storage
	Next    time.Time // not before this is it tried again
	Problem string    // what was seen
}

const (
	diskStateHead = 8 + 1 + 2 + 8
	maxProblem    = 1024
)

func itemKey(name string, disk int) []byte {
	return binary.BigEndian.AppendUint16(append([]byte{keyItem}, name...), uint16(disk))
}

// SetDiskState remembers the validation of a disk, by its number in the
// version, durably.
func (s *Store) SetDiskState(name string, disk int, st DiskState) error {
	b := binary.LittleEndian.AppendUint64(nil, uint64(st.When.Unix()))
	b = append(b, byte(st.State))
	b = binary.LittleEndian.AppendUint16(b, uint16(min(st.Tries, 1<<16-1)))
	b = binary.LittleEndian.AppendUint64(b, uint64(st.Next.Unix()))
	b = append(b, st.Problem[:min(len(st.Problem), maxProblem)]...)
	if err := s.index.Set(itemKey(name, disk), b, pebble.Sync); err != nil {
		return fmt.Errorf("remember state of disk %d of %q: %w", disk, name, err)
	}
	return nil
}

// DiskState returns it; one that is not known is pending.
func (s *Store) DiskState(name string, disk int) (DiskState, error) {
	v, closer, err := s.index.Get(itemKey(name, disk))
	if errors.Is(err, pebble.ErrNotFound) {
		return DiskState{}, nil
	}
	if err != nil {
		return DiskState{}, fmt.Errorf("look up state of disk %d of %q: %w", disk, name, err)
	}
	defer closer.Close()
	if len(v) < diskStateHead || Validation(v[8]) > Incomplete {
		return DiskState{}, nil
	}
	return DiskState{
		State: Validation(v[8]), When: time.Unix(int64(binary.LittleEndian.Uint64(v)), 0).UTC(),
		Tries:   int(binary.LittleEndian.Uint16(v[9:])),
		Next:    time.Unix(int64(binary.LittleEndian.Uint64(v[11:])), 0).UTC(),
		Problem: string(v[diskStateHead:]),
	}, nil
}

// SetJob remembers what a job in the background needs to go on where it was.
func (s *Store) SetJob(name string, state []byte) error {
	if err := s.index.Set(append([]byte{keyJob}, name...), state, pebble.Sync); err != nil {
		return fmt.Errorf("remember state of job %s: %w", name, err)
	}
	return nil
}

// Job returns it, or nothing.
func (s *Store) Job(name string) ([]byte, error) {
	v, closer, err := s.index.Get(append([]byte{keyJob}, name...))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up state of job %s: %w", name, err)
	}
	defer closer.Close()
	return append([]byte(nil), v...), nil
}
