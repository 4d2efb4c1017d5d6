package chunkstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/chunkstore/pack"
)

// codecOf returns how the stored record of a chunk is compressed.
func codecOf(t *testing.T, s *Store, id ID) pack.CodecID {
	t.Helper()
	recs, err := s.StoredRecords(context.Background(), []ID{id})
	if err != nil || recs[0] == nil {
		t.Fatalf("no record of %v: %v", id, err)
	}
	return pack.CodecID(recs[0][5])
}

// TestUpgrade puts a chunk before and one after: both are read, each as it was
// stored.
func TestUpgrade(t *testing.T) {
	fsys := vfs.NewMem()
	if _, err := Create("/store", CreateOptions{FS: fsys, Format: 1}); err != nil {
		t.Fatal(err)
	}
	var ids []ID
	for i, step := range []struct {
		to     pack.CodecID
		format int
	}{{pack.CodecMinLZ, FormatVersion}, {pack.CodecZstd, FormatVersion}} {
		s := openStore(t, fsys, 0)
		cfg, err := s.Upgrade(step.to)
		if err != nil || cfg.FormatVersion != step.format || cfg.Compression != step.to {
			t.Fatalf("%+v, %v", cfg.Info, err)
		}
		s.Close()
		s = openStore(t, fsys, 0)
		if s.Config() != cfg {
			t.Fatalf("opened with %+v, want %+v", s.Config(), cfg)
		}
		ses := begin(t, s)
		ids = append(ids, mustPut(t, s, ses, pack.KindData, chunkOf(uint64(i), 60000)))
		if err := ses.Commit(context.Background(), string(rune('a'+i)), nil); err != nil {
			t.Fatal(err)
		}
		if got := codecOf(t, s, ids[i]); got != step.to {
			t.Errorf("step %d: stored by %v", i, got)
		}
		for j, id := range ids {
			mustGet(t, s, id, chunkOf(uint64(j), 60000))
		}
		s.Close()
	}
}

// TestUpgradeStopsAnywhere crashes an upgrade before each of its writes: the
// store has the old configuration or the new one.
func TestUpgradeStopsAnywhere(t *testing.T) {
	for stop := 0; ; stop++ {
		mem := vfs.NewCrashableMem()
		old, err := Create("/store", CreateOptions{FS: mem, Format: 1})
		if err != nil {
			t.Fatal(err)
		}
		writes := 0
		var armed atomic.Bool // the index may write before and behind, at any time
		var mu sync.Mutex     // guards writes
		fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if !armed.Load() || op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			if writes++; writes > stop {
				return errors.New("the machine stopped")
			}
			return nil
		}))
		s := openStore(t, fsys, 0)
		armed.Store(true)
		cfg, err := s.Upgrade(pack.CodecMinLZ)
		armed.Store(false)
		for _, percent := range []int{0, 50, 100} {
			after := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(stop), 9))})
			got, rerr := readConfig(after, "/store")
			if c, _ := readConfigFile(after, "/store", configName); c != old {
				if c, err := readConfigFile(after, "/store", configCopy); err != nil || c == old {
					t.Errorf("stopped after %d writes: config.json is new and its copy old, which older programs open: %v", stop, err)
				}
			}
			if rerr != nil || got != old && got != s.Upgraded(pack.CodecMinLZ) || err == nil && got != cfg {
				t.Errorf("stopped after %d writes (%v): %+v, %v", stop, err, got.Info, rerr)
			}
		}
		if err == nil {
			if stop < 6 {
				t.Fatalf("an upgrade of %d writes", stop)
			}
			return
		}
	}
}
