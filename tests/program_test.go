package tests

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/fs/guest/guesttest"
)

// built is the program under test, built once.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "holdfast-e2e-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "holdfast")
	cmd := exec.Command("go", "build", "-o", path, "../cmd/holdfast")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if path, err := built(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(status)
}

// program runs holdfast on one store.
type program struct {
	*testing.T
	bin   string
	store string
}

// newStore makes a store in a directory of its own.
func newStore(t *testing.T) *program {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t, bin, filepath.Join(t.TempDir(), "store")}
	p.must("init", p.store)
	return p
}

func (p *program) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.bin, args...)
	cmd.Env = append(os.Environ(), "HOLDFAST_STORE="+p.store)
	// The death of the test takes its processes along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// run runs a command to its end.
func (p *program) run(args ...string) (string, error) {
	cmd := p.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("holdfast %q: %w\n%s%s", args, err, out.String(), errs.String())
	}
	return out.String(), nil
}

func (p *program) must(args ...string) string {
	p.Helper()
	out, err := p.run(args...)
	if err != nil {
		p.Fatal(err)
	}
	return out
}

// versions returns the ids of a VM's versions, as list --json tells them.
func (p *program) versions(vm string) []string {
	p.Helper()
	out, err := p.run("list", "--json", vm)
	if err != nil {
		if strings.Contains(err.Error(), "no such VM") {
			return nil
		}
		p.Fatal(err)
	}
	var l struct {
		Versions []struct {
			ID string `json:"id"`
		} `json:"versions"`
	}
	if err := json.Unmarshal([]byte(out), &l); err != nil {
		p.Fatalf("list --json: %v\n%s", err, out)
	}
	var ids []string
	for _, v := range l.Versions {
		ids = append(ids, v.ID)
	}
	return ids
}

// serving is a mount in the foreground.
type serving struct {
	*testing.T
	cmd  *exec.Cmd
	mnt  string
	log  *syncBuffer
	done chan error
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// mount mounts the store with these options and waits until the tree answers.
func (p *program) mount(options ...string) *serving {
	p.Helper()
	mnt := p.TempDir()
	s := &serving{T: p.T, cmd: p.command(append([]string{"mount", mnt}, options...)...), mnt: mnt, log: new(syncBuffer), done: make(chan error, 1)}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		p.Fatal(err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	p.Cleanup(func() {
		s.cmd.Process.Kill()
		<-s.done
		syscall.Unmount(mnt, syscall.MNT_DETACH)
	})
	waitFor(p.T, "the mounted tree", func() bool {
		_, err := os.Stat(filepath.Join(mnt, "README.txt"))
		return err == nil
	})
	return s
}

// unmount ends the mount as a person does.
func (s *serving) unmount() {
	s.Helper()
	guesttest.Unmount(s.T, s.mnt)
	select {
	case err := <-s.done:
		s.done <- nil
		if err != nil {
			s.Fatalf("mount ended with %v\n%s", err, s.log)
		}
	case <-time.After(time.Minute):
		s.Fatalf("the mount process stays after umount\n%s", s.log)
	}
}

// kill ends the mount process at once.
func (s *serving) kill() {
	s.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		s.Fatal(err)
	}
	<-s.done
	s.done <- nil
}

func (s *serving) path(parts ...string) string {
	return filepath.Join(append([]string{s.mnt}, parts...)...)
}

// waitFor waits until something holds, for as long as a busy machine needs.
func waitFor(t *testing.T, what string, holds func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > 2*time.Minute {
			t.Fatalf("%s: not after %v", what, time.Since(began))
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

func sum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// tool runs another program to its end.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// noTraces fails when a mount or a loop device of the test is left.
func noTraces(t *testing.T, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("a mount is left under %s", dir)
	}
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range loops {
		if b, err := os.ReadFile(l); err == nil && strings.Contains(string(b), dir) {
			t.Errorf("%s is left on %s", filepath.Dir(filepath.Dir(l)), b)
		}
	}
}

// peakMemory returns the most memory that a finished command held, in bytes.
func peakMemory(t *testing.T, cmd *exec.Cmd) int64 {
	t.Helper()
	ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Fatal("the system does not tell how much memory a command held")
	}
	return ru.Maxrss * 1024
}
