package tests

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// killLimit is how long a killed test's processes may need on a machine that is
// busy with other things.
const killLimit = 2 * time.Minute

// manyPacks makes a store with six VMs, each of one disk of random bytes, so that
// it has six packs of the same size and six small ones with maps. One bit of one
// pack is wrong, which its parity mends. It returns what each disk is.
func manyPacks(t *testing.T) (*program, map[string]string) {
	t.Helper()
	p := newStore(t)
	want := map[string]string{}
	for i := range 6 {
		disk := filepath.Join(t.TempDir(), "disk.raw")
		b := make([]byte, 6<<20)
		rand.NewChaCha8([32]byte{byte(*killSeed), byte(i)}).Read(b)
		if err := os.WriteFile(disk, b, 0o644); err != nil {
			t.Fatal(err)
		}
		vm := fmt.Sprint("vm", i)
		p.must("capture", "--vm", vm, "--at", at(i), "vda="+disk)
		want[vm] = sum(t, disk)
	}
	path, size := largestPack(t, p.store)
	spoil(t, path, size/2, 1)
	return p, want
}

// reads checks that every VM's version is there and reads as it was captured.
func (p *program) reads(want map[string]string) {
	p.Helper()
	for vm, sum256 := range want {
		out := filepath.Join(p.TempDir(), "out.raw")
		p.must("restore", vm, out)
		if got := sum(p.T, out); got != sum256 {
			p.Fatalf("%s has sum %s, want %s", vm, got, sum256)
		}
	}
}

// hasRead returns how many bytes a process has read so far; 0 when it is gone.
func hasRead(cmd *exec.Cmd) (n int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", cmd.Process.Pid))
	if err != nil {
		return 0
	}
	fmt.Sscanf(string(b), "rchar: %d", &n)
	return n
}

// killWhen kills a process as soon as something holds, and reports whether it
// was still there.
func killWhen(t *testing.T, cmd *exec.Cmd, what string, holds func() bool) bool {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for began := time.Now(); !holds() && len(done) == 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > killLimit {
			cmd.Process.Kill()
			t.Fatalf("%s: not after %v", what, killLimit)
		}
	}
	cmd.Process.Kill()
	<-done
	return cmd.ProcessState.ExitCode() < 0
}

// TestKillScrub kills scrubs in their middle. What they had proved by then is
// passed over by the next one, which finds the damage all the same.
func TestKillScrub(t *testing.T) {
	t.Logf("seed %d (-kill-seed)", *killSeed)
	p, want := manyPacks(t)
	whole := packBytes(p.store)
	r := rand.New(rand.NewPCG(*killSeed, 13))
	for _, part := range []float64{0.65 + 0.25*r.Float64(), r.Float64()} {
		cmd := p.command("scrub", "--deep", "--older-than", "24h", "--rate", "30MiB/s")
		cmd.Env = append(cmd.Env, "GOMAXPROCS=2") // two packs at a time: with 0.65 read, at least one of six is proved
		until := int64(part * float64(whole))
		killed := killWhen(t, cmd, "the scrub's reading", func() bool { return hasRead(cmd) >= until })
		t.Logf("killed after %.2f of the packs: %v", part, killed)
		p.reads(want)
	}
	text, err := p.run("scrub", "--deep", "--older-than", "24h", "--json")
	var rep struct {
		Packs   int `json:"packs"`
		Skipped int `json:"skipped"`
		Left    struct {
			Packs []json.RawMessage `json:"packs"`
		} `json:"left"`
	}
	if e := json.Unmarshal([]byte(text), &rep); e != nil {
		t.Fatalf("%v, %v\n%s", e, err, text)
	}
	if err == nil || rep.Skipped == 0 || rep.Packs == 0 || len(rep.Left.Packs) != 1 {
		t.Fatalf("the next scrub passed over %d packs, proved %d and found %d to repair, %v", rep.Skipped, rep.Packs, len(rep.Left.Packs), err)
	}
	p.must("scrub", "--repair")
	p.must("damage")
	p.must("scrub", "--deep")
	p.must("check")
	p.reads(want)
}

// TestKillBackgroundScrub kills a mount while it proves the store. The next one
// goes on, mends what is damaged and marks every version.
func TestKillBackgroundScrub(t *testing.T) {
	p, want := manyPacks(t)
	whole := packBytes(p.store)
	s := p.mount("--scrub-rate", "20MiB/s")
	ready := hasRead(s.cmd)
	for began := time.Now(); hasRead(s.cmd) < ready+whole/3; time.Sleep(time.Millisecond) {
		if time.Since(began) > killLimit {
			t.Fatalf("the scrub in the background has not read a third after %v\n%s", killLimit, s.log)
		}
	}
	s.kill()
	exec.Command("umount", "-l", s.mnt).Run() // its watchdog may have been first
	p.reads(want)
	s = p.mount("--scrub-rate", "0")
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		left := slices.DeleteFunc([]string{"vm0", "vm1", "vm2", "vm3", "vm4", "vm5"}, func(vm string) bool {
			return strings.Contains(p.must("list", vm, "--json"), `"state": "valid"`)
		})
		if len(left) == 0 {
			break
		}
		if time.Since(began) > killLimit {
			t.Fatalf("not valid after %v: %q\n%s", killLimit, left, s.log)
		}
	}
	p.must("damage")
	s.unmount()
	noTraces(t, s.mnt)
	p.must("scrub", "--deep")
	p.must("check")
	p.reads(want)
}

// TestKillRebuild kills rebuilds of the index, from the moment when the new one
// is begun on. Whatever they leave, the next command sees all versions and what
// was said of them, and the rebuild that is not killed ends right.
func TestKillRebuild(t *testing.T) {
	t.Logf("seed %d (-kill-seed)", *killSeed)
	p, want := manyPacks(t)
	p.must("pin", "vm1@"+id(1))
	p.must("forget", "vm5@"+id(5))
	delete(want, "vm5")
	r := rand.New(rand.NewPCG(*killSeed, 14))
	began := time.Now()
	p.run("rebuild-index") // its status tells of the damage
	window := time.Since(began)
	sees := func(where string) {
		t.Helper()
		for vm := range want {
			if got := p.versions(vm); len(got) != 1 {
				t.Fatalf("%s: %s has the versions %q", where, vm, got)
			}
		}
		if got := p.versions("vm5"); len(got) != 0 {
			t.Fatalf("%s: the forgotten version %q is back", where, got)
		}
		if text := p.must("show", "vm1", "--json"); !strings.Contains(text, `"pinned": true`) {
			t.Fatalf("%s: the pin is lost\n%s", where, text)
		}
	}
	anew, middle := filepath.Join(p.store, "index.new"), 0
	for round := range max(*killRounds/5, 4) {
		var until time.Time
		cmd := p.command("rebuild-index")
		if round%2 == 1 {
			until = time.Now().Add(time.Duration(r.Int64N(int64(window))))
		}
		killed := killWhen(t, cmd, "the new index", func() bool {
			_, err := os.Stat(anew)
			return (err == nil || round%2 == 1) && time.Now().After(until)
		})
		if _, err := os.Stat(anew); err == nil && killed {
			middle++
		}
		sees(fmt.Sprint("round ", round))
	}
	t.Logf("%d were killed while they made the index", middle)
	p.run("rebuild-index")
	if _, err := os.Stat(anew); err == nil {
		t.Error("a half made index is left")
	}
	sees("after the last")
	p.must("scrub", "--repair")
	p.must("damage")
	p.must("scrub", "--deep")
	p.must("check")
	p.reads(want)
}
