package owner

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/chunkstore"
)

const (
	childEnv = "HOLDFAST_OWNER_CHILD" // the mode; then this process is not the tests' own
	storeEnv = "HOLDFAST_OWNER_STORE"
)

// process is this test binary, run again.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func start(t testing.TB, mode, dir string) *process {
	t.Helper()
	p := &process{cmd: exec.Command("/proc/self/exe", "-test.run=^$")}
	p.cmd.Env = append(os.Environ(), childEnv+"="+mode, storeEnv+"="+dir)
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// line returns what the process says next.
func (p *process) line(t testing.TB) string {
	t.Helper()
	if !p.out.Scan() {
		t.Fatalf("the other process said nothing more: %v", p.out.Err())
	}
	return p.out.Text()
}

func (p *process) want(t testing.TB, want string) {
	t.Helper()
	if got := p.line(t); got != want {
		t.Fatalf("the other process says %q, want %q", got, want)
	}
}

func (p *process) say(t testing.TB, s string) {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, s); err != nil {
		t.Fatal(err)
	}
}

// kill ends the process as a power cut would and waits for its end.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// stop stops the process and waits until all of its threads stand still: the
// signal alone returns before they do.
func (p *process) stop(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGSTOP)
	for began := time.Now(); !p.stopped(t); time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("the process does not stop")
		}
	}
}

func (p *process) stopped(t testing.TB) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads of process %d: %q, %v", p.cmd.Process.Pid, threads, err)
	}
	for _, name := range threads {
		b, err := os.ReadFile(name)
		if err != nil {
			return false // it is just ending
		}
		if _, rest, ok := strings.Cut(string(b), ") "); !ok || rest[0] != 'T' {
			return false
		}
	}
	return true
}

// child is the other process's main function.
func child(mode string) int {
	dir := os.Getenv(storeEnv)
	var err error
	switch mode {
	case "serve":
		err = childServe(dir)
	case "race":
		err = childRace(dir)
	case "stranger":
		err = childStranger(dir)
	default:
		err = fmt.Errorf("unknown mode %q", mode)
	}
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

// childServe opens the store, says as what, and obeys lines: put NAME, begin,
// close.
func childServe(dir string) error {
	ctx := context.Background()
	h, err := Open(ctx, dir, fast())
	if err != nil {
		return err
	}
	_, self := h.Owner()
	fmt.Println("owner", self)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		switch verb {
		case "begin":
			_, err = h.Begin(ctx, "child")
		case "put":
			err = childPut(ctx, h, arg)
		case "close":
			err = h.Close()
		}
		fmt.Println(verb, err)
	}
	return nil
}

func childPut(ctx context.Context, h *Handle, name string) error {
	s, err := h.Begin(ctx, "child")
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Commit(ctx, name, []byte("body of "+name))
}

// childRace opens, uses and leaves the store again and again until a line
// comes. That two own it at a time would be the index's own lock's error.
func childRace(dir string) error {
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		bufio.NewScanner(os.Stdin).Scan()
	}()
	owned, n := 0, 0
	for ; ; n++ {
		select {
		case <-stop:
			fmt.Println("done", n, owned)
			return nil
		default:
		}
		self, err := raceOnce(dir, fmt.Sprintf("p/%d/%d", os.Getpid(), n))
		if err != nil {
			return err
		}
		if self {
			owned++
		}
	}
}

// raceOnce commits a root, however often owners leave meanwhile, and reads it
// back.
func raceOnce(dir, name string) (self bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o := fast()
	o.Grace = 20 * time.Millisecond
	h, err := Open(ctx, dir, o)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	_, self = h.Owner()
	for {
		if err = childPut(ctx, h, name); err == nil || errors.Is(err, chunkstore.ErrRootExists) {
			break // exists: the commit whose owner left had been done
		}
		if !errors.Is(err, ErrOwnerLost) {
			return self, err
		}
	}
	body, err := h.Root(ctx, name)
	if err == nil && string(body) != "body of "+name {
		err = fmt.Errorf("root %q has body %q", name, body)
	}
	return self, err
}

// childStranger asks the owner as another user.
func childStranger(dir string) error {
	d, err := openDir(dir)
	if err != nil {
		return err
	}
	if err := syscall.Setresgid(65534, 65534, 65534); err != nil {
		return err
	}
	if err := syscall.Setresuid(65534, 65534, 65534); err != nil {
		return err
	}
	c := newClient(context.Background(), d, nil, chunkstore.Info{})
	_, _, err = dial(context.Background(), d)
	fmt.Println("dial:", err)
	c.http.Transport = &http.Transport{DialContext: dialAnyone(d)}
	fmt.Println("ask:", c.greet(context.Background()))
	return nil
}

func mustUnix(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
