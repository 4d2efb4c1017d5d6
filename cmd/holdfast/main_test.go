package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/chunkstore/pack"
	"holdfast/fs"
)

func TestMain(m *testing.M) {
	if status, asked := fs.RunWatchdogIfAsked(); asked {
		os.Exit(status)
	}
	testscript.Main(m, map[string]func(){
		"holdfast":            main,
		"mount.fuse.holdfast": main,
	})
}

// TestScripts runs the program as a person would; see testdata.
func TestScripts(t *testing.T) { testscript.Run(t, scripts("testdata", nil)) }

// TestExitStatuses proves that each status of the contract is produced.
func TestExitStatuses(t *testing.T) {
	seen := &statuses{all: map[exitStatus]bool{}}
	t.Cleanup(func() {
		for _, m := range exitMeanings {
			if !seen.all[m.status] {
				t.Errorf("no script produced status %d (%s)", m.status, m.meaning)
			}
		}
	})
	testscript.Run(t, scripts("testdata/exit", seen))
}

// statuses are those that scripts have seen.
type statuses struct {
	mu  sync.Mutex // guards all
	all map[exitStatus]bool
}

func (s *statuses) add(n int) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[exitStatus(n)] = true
}

func scripts(dir string, seen *statuses) testscript.Params {
	return testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOLDFAST_STORE", filepath.Join(env.WorkDir, "store"))
			env.Setenv("TZ", "UTC")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each command of a script sleeps a second
			env.Defer(func() { unmountAll(env.WorkDir) })
			return os.MkdirAll(filepath.Join(env.WorkDir, "mnt"), 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"mkdisk": makeDisk, "poke": poke, "rot": rot, "rotbit": rotBit, "losesmallest": loseSmallest, "indexoption": indexOption, "waitfor": waitFor, "waitstate": waitState, "waitout": waitOut, "bootsector": bootSector,
			"index": hurtIndex, "losepack": losePack,
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				if got := exitOf(ts.Exec(args[1], args[2:]...)); got != want {
					ts.Fatalf("%s: status %d, want %d", strings.Join(args[1:], " "), got, want)
				}
				seen.add(want)
			},
			"interrupted": func(ts *testscript.TestScript, _ bool, args []string) {
				seen.add(interruptStream(ts, args))
			},
		},
	}
}

func exitOf(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// unmountAll removes what a script that failed has left mounted.
func unmountAll(dir string) {
	b, _ := os.ReadFile("/proc/self/mounts")
	for _, line := range strings.Split(string(b), "\n") {
		if w := strings.Fields(line); len(w) > 1 && strings.HasPrefix(w[1], dir+"/") {
			syscall.Unmount(w[1], syscall.MNT_DETACH)
		}
	}
}

// makeDisk FILE MIB SEED writes a disk with some data, some zeros and holes.
func makeDisk(ts *testscript.TestScript, _ bool, args []string) {
	mib, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	seed, err := strconv.ParseUint(args[2], 10, 64)
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	ts.Check(f.Truncate(mib << 20))
	src := rand.New(rand.NewPCG(seed, 1))
	buf := make([]byte, 300<<10)
	for off := int64(0); off < mib<<20-int64(len(buf)); off += 3 << 20 {
		for i := range buf {
			buf[i] = byte(src.Uint32() & 0x3f)
		}
		_, err := f.WriteAt(buf, off)
		ts.Check(err)
	}
}

// poke FILE OFFSET TEXT writes text into a file.
func poke(ts *testscript.TestScript, _ bool, args []string) {
	off, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	_, err = f.WriteAt([]byte(args[2]), off)
	ts.Check(err)
}

// rot STORE flips a bit in each 4 KiB of the store's largest pack, its ends
// excepted: more than any parity brings back.
func rot(ts *testscript.TestScript, _ bool, args []string) {
	largest := largestPack(ts, args[0])
	b, err := os.ReadFile(largest)
	ts.Check(err)
	size := len(b)
	for i := size / 8; i < size-size/8; i += 4 << 10 {
		b[i] ^= 1
	}
	ts.Check(os.Chmod(largest, 0o600))
	ts.Check(os.WriteFile(largest, b, 0o600))
}

func largestPack(ts *testscript.TestScript, store string) string {
	all := packsBySize(ts, store)
	return all[len(all)-1]
}

// packsBySize lists the paths of a store's packs, the smallest first.
func packsBySize(ts *testscript.TestScript, store string) (all []string) {
	sizes := map[string]int64{}
	err := filepath.Walk(filepath.Join(ts.MkAbs(store), "packs"), func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			sizes[path] = info.Size()
			all = append(all, path)
		}
		return err
	})
	ts.Check(err)
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(sizes[a], sizes[b]) })
	return all
}

// rotBit STORE flips one bit in the middle of the store's largest pack; with «smallest» in
// the first record of the smallest one.
func rotBit(ts *testscript.TestScript, _ bool, args []string) {
	path, at := largestPack(ts, args[0]), 0
	if len(args) > 1 {
		path, at = packsBySize(ts, args[0])[0], pack.HeaderLen+pack.RecordHeaderLen
	}
	b, err := os.ReadFile(path)
	ts.Check(err)
	b[cmp.Or(at, len(b)/2)] ^= 1
	ts.Check(os.Chmod(path, 0o600))
	ts.Check(os.WriteFile(path, b, 0o600))
}

// loseSmallest STORE removes the store's smallest pack.
func loseSmallest(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.Remove(packsBySize(ts, args[0])[0]))
}

// indexOption STORE KEY VALUE looks at how the index was opened last.
func indexOption(ts *testscript.TestScript, _ bool, args []string) {
	all, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "index", "OPTIONS-*"))
	ts.Check(err)
	if len(all) == 0 {
		ts.Fatalf("the index has no options")
	}
	b, err := os.ReadFile(slices.Max(all))
	ts.Check(err)
	if want := fmt.Sprintf("%s=%s\n", args[1], args[2]); !strings.Contains(string(b), want) {
		ts.Fatalf("%s lacks %q:\n%s", slices.Max(all), want, b)
	}
}

// waitState REF STATE waits until a version is in a state.
func waitState(ts *testscript.TestScript, _ bool, args []string) {
	waitOut(ts, false, []string{`"state": "` + args[1] + `"`, "holdfast", "show", args[0], "--json"})
}

// waitOut TEXT COMMAND... waits until a command prints a text.
func waitOut(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		cmd := exec.Command(args[1], args[2:]...)
		cmd.Dir = ts.Getenv("WORK")
		cmd.Env = []string{"HOLDFAST_STORE=" + ts.Getenv("HOLDFAST_STORE"), "PATH=" + ts.Getenv("PATH"), "HOME=/"}
		if p, err := lookIn(ts.Getenv("PATH"), args[1]); err == nil {
			cmd.Path, cmd.Err = p, nil
		}
		out, err := cmd.CombinedOutput()
		if strings.Contains(string(out), args[0]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%q never shows %q: %v\n%s", args[1:], args[0], err, out)
		}
	}
}

// lookIn finds a program in the script's own PATH.
func lookIn(path, name string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name), nil
		}
	}
	return "", os.ErrNotExist
}

// waitFor FILE waits until it is there; ! waitfor until it is not.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	for range 1200 {
		if _, err := os.Stat(ts.MkAbs(args[0])); (err == nil) != neg {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("waited 60 s for %s (gone: %v)", args[0], neg)
}

// interruptStream starts a restore to a pipe, takes a part of it, sends SIGINT
// and returns the status.
func interruptStream(ts *testscript.TestScript, args []string) int {
	exe, err := os.Executable()
	ts.Check(err)
	cmd := exec.Command(exe, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "HOLDFAST_STORE="+ts.Getenv("HOLDFAST_STORE"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	n, err := io.CopyN(io.Discard, out, 1<<20)
	ts.Check(err)
	ts.Check(cmd.Process.Signal(os.Interrupt))
	time.Sleep(200 * time.Millisecond) // the process is stuck in its write: it must see the signal before the next
	rest, err := io.Copy(io.Discard, out)
	ts.Check(err)
	status := exitOf(cmd.Wait())
	if status != int(exitInterrupted) {
		ts.Fatalf("%v: status %d after %d bytes: %s", args, status, n+rest, stderr.String())
	}
	if got := stderr.String(); got != "holdfast: stopped\n" {
		ts.Fatalf("%v: said %q", args, got)
	}
	return status
}

// bootSector FILE writes a disk whose boot sector says so on the serial port
// and switches the machine off.
func bootSector(ts *testscript.TestScript, _ bool, args []string) {
	code := []byte{
		0xfa,       // cli
		0x31, 0xc0, // xor ax,ax
		0x8e, 0xd8, // mov ds,ax
		0xbe, 0x00, 0x7d, // mov si,0x7d00
		0xba, 0xf8, 0x03, // mov dx,0x3f8
		0xac,       // next: lodsb
		0x84, 0xc0, // test al,al
		0x74, 0x03, // jz off
		0xee,       // out dx,al
		0xeb, 0xf8, // jmp next
		0xba, 0x04, 0x06, // off: mov dx,0x604
		0xb8, 0x00, 0x20, // mov ax,0x2000
		0xef,       // out dx,ax
		0xf4,       // hlt
		0xeb, 0xfd, // jmp to hlt
	}
	disk := make([]byte, 1<<20)
	copy(disk, code)
	copy(disk[0x100:], "booted by "+args[1]+"\r\n\x00")
	disk[510], disk[511] = 0x55, 0xaa
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), disk, 0o644))
}

// TestReadmeTable keeps the README's table of exit statuses true.
func TestReadmeTable(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range exitMeanings {
		if row := fmt.Sprintf("| %d | %s |", m.status, m.meaning); !strings.Contains(string(b), row) {
			t.Errorf("README.md lacks the row %s", row)
		}
	}
}
