package tests

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/tests/vm"
)

var (
	killRounds = flag.Int("kill-rounds", 25, "captures to kill at random moments")
	killSeed   = flag.Uint64("kill-seed", 1, "seed of the moments")
)

// TestKillAtRandomMoments kills captures of a changing disk with SIGKILL, from
// their first moments to behind their commits. Whatever is visible afterwards
// reads back exactly as it was; nothing that was reported is ever lost.
func TestKillAtRandomMoments(t *testing.T) {
	t.Logf("seed %d (-kill-seed), %d rounds (-kill-rounds)", *killSeed, *killRounds)
	p := newStore(t)
	disk := vm.Small(t)
	r := rand.New(rand.NewPCG(*killSeed, 3))
	began := time.Now()
	p.must("capture", "--keep-free", "--keep-swap", "--vm", "web", "--at", at(0), "vda="+disk)
	window := time.Since(began)                    // in which to kill; follows what captures take
	want := map[string]string{id(0): sum(t, disk)} // what each version is, should it be there
	reported := map[string]bool{id(0): true}
	killed := 0
	for i := 1; i <= *killRounds; i++ {
		scribble(t, disk, r)
		want[id(i)] = sum(t, disk)
		cmd := p.command("capture", "--keep-free", "--keep-swap", "--vm", "web", "--at", at(i), "vda="+disk)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(r.Int64N(int64(window))))
		cmd.Process.Kill()
		if err := cmd.Wait(); err == nil {
			reported[id(i)] = true
			window = max(window*3/4, time.Millisecond)
		} else {
			killed++
			window = window * 5 / 4
		}
		visible := map[string]bool{}
		for _, v := range p.versions("web") {
			visible[v] = true
			if want[v] == "" {
				t.Fatalf("round %d: version %s was never captured", i, v)
			}
		}
		for v := range reported {
			if !visible[v] {
				t.Fatalf("round %d: version %s was reported and is lost", i, v)
			}
		}
		if visible[id(i)] && i%5 == 0 {
			p.check(id(i), want[id(i)])
		}
	}
	t.Logf("%d of %d captures were killed", killed, *killRounds)
	if killed < *killRounds/5 {
		t.Errorf("only %d of %d captures were killed", killed, *killRounds)
	}
	for _, v := range p.versions("web") {
		p.check(v, want[v])
	}
}

func at(i int) string { return fmt.Sprintf("2026-01-01T00:%02d:%02dZ", i/60, i%60) }

func id(i int) string { return fmt.Sprintf("2026-01-01T00-%02d-%02dZ", i/60, i%60) }

// check restores a version and compares it.
func (p *program) check(version, want string) {
	p.Helper()
	out := filepath.Join(p.TempDir(), "out.raw")
	p.must("restore", "web@"+version, out)
	if got := sum(p.T, out); got != want {
		p.Fatalf("version %s has sum %s, want %s", version, got, want)
	}
	if err := os.Remove(out); err != nil {
		p.Fatal(err)
	}
}

// scribble writes over random places of a disk, some with zeros.
func scribble(t *testing.T, disk string, r *rand.Rand) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for k := range 40 {
		b := make([]byte, 1+r.IntN(200_000))
		if k%4 != 0 {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
		}
		if _, err := f.WriteAt(b, r.Int64N(st.Size()-int64(len(b)))); err != nil {
			t.Fatal(err)
		}
	}
}
