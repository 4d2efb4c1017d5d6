package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// measure measures what f does through the mount: the CPU time of reader and
// daemon, and the daemon's memory and answers.
func (m *mounted) measure(f func() (Sample, error)) (Sample, error) {
	pid := m.cmd.Process.Pid
	forgetPeak(pid)
	cpu, served := processCPU(pid), servedBytes(pid)
	s, err := here(f)
	s.CPU += processCPU(pid) - cpu
	s.Served = servedBytes(pid) - served
	s.Memory = peakMemory(pid)
	return s, err
}

// settle waits, for two seconds at the most, until the daemon has answered what the
// kernel asked for ahead of who read last: that is no answer to who reads next.
func (m *mounted) settle() {
	last := int64(-1)
	for range 40 {
		now := servedBytes(m.cmd.Process.Pid)
		if now == last {
			return
		}
		last = now
		time.Sleep(50 * time.Millisecond)
	}
}

// rest waits until the daemon has written next to nothing for so long (its runtime wakes
// itself by writing): what it does when nobody reads any more is done then.
func (m *mounted) rest(ctx context.Context, quiet time.Duration) error {
	for last, since := int64(0), time.Now(); time.Since(since) < quiet; time.Sleep(100 * time.Millisecond) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if now := servedBytes(m.cmd.Process.Pid); now-last > blockSize {
			last, since = now, time.Now()
		}
	}
	return nil
}

// mount is a way to serve a disk: it returns the disk's path, or of the
// directory with its images.
type mount func(ctx context.Context) (path string, m *mounted, err error)

// through is a contestant that reads through a mount made anew for each run, so
// that the daemon's own cache is cold too. Where warm is not nil, it runs first.
func through(name string, serve mount, warm, read func(ctx context.Context, path string, round int) (Sample, error)) contestant {
	var path string
	var m *mounted
	return contestant{name: name, prepare: func(ctx context.Context, round int) (err error) {
		if path, m, err = serve(ctx); err != nil || warm == nil {
			return err
		}
		_, err = warm(ctx, path, round)
		m.settle()
		return err
	}, run: func(ctx context.Context, round int) (Sample, error) {
		return m.measure(func() (Sample, error) { return read(ctx, path, round) })
	}, finish: func() error {
		if m == nil {
			return nil
		}
		was := m
		m = nil
		return was.stop()
	}}
}

// mountOf serves a store with a disk, and returns the path of the file with the
// given name in the disk's newest version.
func (b *bench) mountOf(store string, d disk, file string, flags ...string) mount {
	return func(ctx context.Context) (string, *mounted, error) {
		mnt := b.path("mnt")
		path := filepath.Join(mnt, d.name, "latest", file)
		args := append(append([]string{"mount"}, flags...), mnt)
		m, err := serve(ctx, []string{"HOLDFAST_STORE=" + store}, mnt, path, b.binary, args...)
		return path, m, err
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
