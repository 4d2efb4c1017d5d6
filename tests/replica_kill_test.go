package tests

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/tests/vm"
)

// packBytes is how many bytes lie under a store's packs.
func packBytes(store string) (n int64) {
	filepath.WalkDir(filepath.Join(store, "packs"), func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if st, err := e.Info(); err == nil {
				n += st.Size()
			}
		}
		return nil // files come and go
	})
	return n
}

// TestKillReplicate kills replications with SIGKILL when the replica has grown
// to random sizes. Whatever the replica shows reads back exactly, and the run
// that is not killed ends right.
func TestKillReplicate(t *testing.T) {
	t.Logf("seed %d (-kill-seed)", *killSeed)
	p := newStore(t)
	disk := vm.Small(t)
	r := rand.New(rand.NewPCG(*killSeed, 11))
	want := map[string]string{}
	for i := range 2 {
		scribble(t, disk, r)
		want[id(i)] = sum(t, disk)
		p.must("capture", "--keep-free", "--keep-swap", "--vm", "web", "--at", at(i), "vda="+disk)
	}
	second := &program{t, p.bin, filepath.Join(t.TempDir(), "second")}
	p.must("replica", "add", second.store)
	whole := packBytes(p.store)
	rounds := max(*killRounds/8, 3)
	for range rounds {
		cmd := p.command("replicate", "--rate", "40MiB/s")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		until := packBytes(second.store) + r.Int64N(whole/int64(rounds)+1)
		waitFor(t, "the replica's growth", func() bool { return packBytes(second.store) >= until || len(done) > 0 })
		cmd.Process.Kill()
		<-done
		for _, v := range second.versions("web") {
			second.check(v, want[v])
		}
	}
	p.must("replicate")
	if got := second.versions("web"); len(got) != len(want) {
		t.Fatalf("the replica shows %q of %d versions", got, len(want))
	}
	for v, sum := range want {
		second.check(v, sum)
	}
	second.must("scrub", "--deep")
	p.must("scrub", "--deep")
}

// TestKillRepair kills repairs that take lost packs from a replica, at random
// moments. Every version reads all the time, and the run that is not killed
// leaves no damage.
func TestKillRepair(t *testing.T) {
	t.Logf("seed %d (-kill-seed)", *killSeed)
	p := newStore(t)
	disk := vm.Small(t)
	r := rand.New(rand.NewPCG(*killSeed, 12))
	p.must("capture", "--keep-free", "--keep-swap", "--vm", "web", "--at", at(0), "vda="+disk)
	want := sum(t, disk)
	second := &program{t, p.bin, filepath.Join(t.TempDir(), "second")}
	p.must("replica", "add", second.store)
	p.must("replicate")
	for range max(*killRounds/12, 2) {
		losePacks(t, p.store)
		began := time.Now()
		for try := 0; ; try++ {
			cmd := p.command("scrub", "--repair")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if try < 2 {
				time.Sleep(time.Duration(r.Int64N(int64(800 * time.Millisecond))))
				cmd.Process.Kill()
			}
			err := cmd.Wait()
			if err == nil {
				break
			}
			if try >= 2 {
				t.Fatalf("the repair after two that were killed: %v", err)
			}
			p.check(id(0), want)
		}
		p.must("damage")
		t.Logf("repaired after %v", time.Since(began))
	}
	if err := os.Rename(second.store, second.store+".away"); err != nil {
		t.Fatal(err)
	}
	p.check(id(0), want)
	p.must("scrub", "--deep")
	if log := p.must("log", "--event", "healed"); !strings.Contains(log, "by replica "+second.store) {
		t.Fatalf("the log names no replica:\n%.500s", log)
	}
}

// losePacks removes every pack of a store.
func losePacks(t *testing.T, store string) {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(store, "packs", "??", "*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("%d packs, %v", len(packs), err)
	}
	for _, path := range packs {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
