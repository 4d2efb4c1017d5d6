package vm

import (
	"bytes"
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BootTimeout is enough for a boot on a machine that is busy with other tests.
const BootTimeout = 4 * time.Minute

// Boot starts a guest without KVM, with the caller's QEMU arguments (at least
// a drive), waits until it has powered itself off, and returns what it wrote
// to its serial port. The test fails unless that holds the marker, or when the
// timeout passes. QEMU is gone when Boot returns.
func Boot(t testing.TB, args []string, marker string, timeout time.Duration) string {
	t.Helper()
	base := []string{"-accel", "tcg", "-m", "512", "-smp", "2", "-display", "none",
		"-monitor", "none", "-serial", "stdio", "-no-reboot", "-nic", "none"}
	return Await(t, command("qemu-system-x86_64", append(base, args...)...), marker, timeout)
}

// Await is Boot for a command of the caller's, such as holdfast boot, whose
// output is the guest's serial port. Its process group is killed when the
// timeout passes; the command itself also dies with the test process.
func Await(t testing.TB, cmd *exec.Cmd, marker string, timeout time.Duration) string {
	t.Helper()
	start := time.Now()
	out, err := runBounded(cmd, timeout)
	if err != nil {
		t.Fatalf("%s: %v after %v; its output ends:\n%s", cmd.Args[0], err, time.Since(start).Round(time.Second), tail(out, 4000))
	}
	if !strings.Contains(out, "HOLDFAST-MARKER-"+marker+"\n") {
		t.Fatalf("the guest did not print marker %q; its output ends:\n%s", marker, tail(out, 4000))
	}
	t.Logf("guest booted, printed %q and powered off in %.1f s", marker, time.Since(start).Seconds())
	return out
}

var errTimeout = errors.New("timed out")

// runBounded runs a command to its end and returns all its output, with line
// ends as plain newlines.
func runBounded(cmd *exec.Cmd, timeout time.Duration) (string, error) {
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second // a grandchild may hold the pipe
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error, 1), make(chan error, 1)
	go func() {
		// The death signal belongs to the starting thread: keep it alive.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return "", err
	}
	select {
	case err := <-done:
		return out.String(), err
	case <-time.After(timeout):
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-done
		return out.String(), errTimeout
	}
}

// output collects what a process prints. Safe for concurrent use.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.ReplaceAll(o.buf.String(), "\r", "")
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
