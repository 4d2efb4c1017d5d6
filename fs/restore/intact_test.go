package restore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// ids returns a disk's chunks of one kind, in order.
func (s *countingStore) ids(t *testing.T, d catalog.Disk, kind pack.Kind) []pack.ID {
	t.Helper()
	r, err := disk.Open(nil, disk.NewMaps(s, 0), d.Map)
	if err != nil {
		t.Fatal(err)
	}
	var ids []pack.ID
	err = r.Parts(context.Background(), func(p disk.Part) (bool, error) {
		if p.Kind == kind {
			ids = append(ids, p.ID)
		}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// TestOverwriteWithDamageSparesWhatItCan: a version whose maps are damaged
// leaves the target as it was; one whose data is damaged does not take what
// lies behind the image before everything in front of it is there.
func TestOverwriteWithDamageSparesWhatItCan(t *testing.T) {
	s := newStore(t)
	d := s.put(t, diskBytes(5, 12<<20))
	nodes, maps, data := s.ids(t, d, pack.KindDiskMap), s.ids(t, d, pack.KindRegionMap), s.ids(t, d, pack.KindData)
	long := bytes.Repeat([]byte("before "), 3<<20)
	for name, c := range map[string]struct {
		hurt   pack.ID
		target []byte
		spared int // bytes from here on are as before
	}{
		"root":                   {nodes[0], long, 0},
		"last region map":        {maps[len(maps)-1], long, 0},
		"shorter, region map":    {maps[len(maps)-1], long[:5000], 0},
		"empty, region map":      {maps[0], nil, 0},
		"last chunk of the data": {data[len(data)-1], long, 12 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(out, c.target, 0o600); err != nil {
				t.Fatal(err)
			}
			s.hurt = c.hurt
			defer func() { s.hurt = pack.ID{} }()
			_, err := Run(context.Background(), s, Options{Disk: d, Out: out, Overwrite: true})
			var dmg *pack.Damage
			if !errors.As(err, &dmg) {
				t.Fatalf("restore of a damaged version: %v", err)
			}
			got, rerr := os.ReadFile(out)
			if rerr != nil {
				t.Fatal(rerr)
			}
			if len(got) != len(c.target) || !bytes.Equal(got[c.spared:], c.target[c.spared:]) {
				t.Fatalf("the target has %d bytes, had %d, and is not as it was from %d on", len(got), len(c.target), c.spared)
			}
			if said := strings.Contains(err.Error(), "partly"); said != !bytes.Equal(got, c.target) {
				t.Errorf("the target changed: %v, but the error says %v", !said, err)
			}
		})
	}
}

// TestLinkToNothingIsRefusedAtOnce: not after everything was read, and not with
// the advice to overwrite what is not there.
func TestLinkToNothingIsRefusedAtOnce(t *testing.T) {
	s := newStore(t)
	d := s.put(t, diskBytes(5, 1<<20))
	out := filepath.Join(t.TempDir(), "disk")
	if err := os.Symlink("nowhere", out); err != nil {
		t.Fatal(err)
	}
	for _, over := range []bool{false, true} {
		before := s.gets.Load()
		_, err := Run(context.Background(), s, Options{Disk: d, Out: out, Overwrite: over})
		if err == nil || errors.Is(err, ErrExists) || s.gets.Load() != before {
			t.Errorf("overwrite %v: %v after %d reads", over, err, s.gets.Load()-before)
		}
	}
	noLeftovers(t, filepath.Dir(out), "disk")
}
