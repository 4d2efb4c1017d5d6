package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPercentOf(t *testing.T) {
	for _, c := range []struct {
		garbage, live uint64
		want          int
	}{
		{64 << 20, 0, 100}, {64 << 20, 1, 100}, {64 << 20, 64<<20 - 1, 100}, {64 << 20, 64 << 20, 100}, {64 << 20, 64<<20 + 1<<20, 98},
		{64 << 20, 128 << 20, 50}, {64 << 20, 320 << 20, 20}, {64 << 20, 640 << 20, 10}, {64 << 20, 641 << 20, 10}, {64 << 20, 1 << 50, 10}, {0, 0, 10},
	} {
		if got := percentOf(c.garbage, c.live); got != c.want {
			t.Errorf("%d of %d: %d %%, want %d", c.garbage, c.live, got, c.want)
		}
	}
}

// The percentage follows what lives, from one collection to the next.
func TestCollectorIsPaced(t *testing.T) {
	runtime.GC()
	garbage := liveHeap() + 16<<20 // whatever other tests left behind
	var now atomic.Int64           // it goes on being set behind the test
	now.Store(normalPercent)
	paceCollector(garbage, func(p int) int { return int(now.Swap(int64(p))) })
	settle := func(what string, ok func(percent int64) bool) {
		t.Helper()
		for began := time.Now(); !ok(now.Load()); runtime.GC() {
			if time.Since(began) > time.Minute {
				t.Fatalf("%s: it stays at %d %%", what, now.Load())
			}
		}
	}
	much := make([]byte, 4*garbage)
	settle("much lives", func(p int64) bool { return p <= 25 })
	runtime.KeepAlive(much)
	much = nil
	settle("little lives", func(p int64) bool { return p > 50 })
}

// A capture paces the collector, whatever lives: here much, so that it can be told.
func TestCaptureCollectsEarly(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "off") // what else a capture sets is left as it is
	t.Setenv("GOMAXPROCS", "2")
	early = sync.Once{} // of this process's other tests
	opts := captureOptions{VM: "web", Disks: []namedPath{{"vda", filepath.Join(t.TempDir(), "none.raw")}}}
	if err := runCapture(t.Context(), opts); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	much := make([]byte, 8*captureGarbage)
	pace := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	for began := time.Now(); ; runtime.GC() {
		if metrics.Read(pace); pace[0].Value.Uint64() <= 100/8 {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("it is collected when garbage is %d %% of what lives", pace[0].Value.Uint64())
		}
	}
	runtime.KeepAlive(much)
}
