package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// mounted is a program that serves a mount until it is stopped.
type mounted struct {
	cmd *exec.Cmd
	dir string
}

// serve starts a program in the foreground and waits until path is there.
func serve(ctx context.Context, env []string, dir, path, name string, args ...string) (*mounted, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := os.CreateTemp("", "holdfast-bench-log-")
	if err != nil {
		return nil, err
	}
	defer out.Close()
	defer os.Remove(out.Name())
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	m := &mounted{cmd, dir}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return m, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			m.stop()
			b, _ := os.ReadFile(out.Name())
			return nil, fmt.Errorf("%s %q: %s did not appear\n%s", name, args, path, tail(b))
		}
	}
}

// stop unmounts and waits for the program's end.
func (m *mounted) stop() error {
	if isMounted(m.dir) {
		if out, err := exec.Command("umount", m.dir).CombinedOutput(); err != nil {
			m.cmd.Process.Signal(syscall.SIGTERM)
			defer exec.Command("umount", "-l", m.dir).Run()
			fmt.Fprintf(os.Stderr, "umount %s: %v\n%s", m.dir, err, out)
		}
	} else {
		m.cmd.Process.Signal(syscall.SIGTERM)
	}
	done := make(chan error, 1)
	go func() { done <- m.cmd.Wait() }()
	select {
	case <-done:
		return nil
	case <-time.After(20 * time.Second):
		m.cmd.Process.Kill()
		return <-done
	}
}

func isMounted(dir string) bool {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if fields := strings.Fields(sc.Text()); len(fields) > 4 && fields[4] == dir {
			return true
		}
	}
	return false
}
