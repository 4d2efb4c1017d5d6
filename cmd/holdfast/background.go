package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// readyVariable tells a mount in the background the descriptor on which its
// parent waits to hear that the tree answers.
const readyVariable = "HOLDFAST_READY_FD"

// mountInBackground starts the same mount as a process of its own and returns
// when its tree answers. The child prints what there is to say; if it fails,
// its status is this command's.
func mountInBackground(ctx context.Context, opts mountOptions) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("mount in the background: %w", err)
	}
	defer r.Close()
	cmd, err := backgroundCommand(opts, w)
	if err == nil {
		err = cmd.Start()
	}
	w.Close()
	if err != nil {
		return fmt.Errorf("mount in the background: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	if b, _ := io.ReadAll(r); len(b) > 0 { // the error is that of a child which is gone
		return cmd.Process.Release()
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return withStatus(exitStatus(exit.ExitCode()), errReported)
	}
	return fmt.Errorf("mount in the background: the process ended before the tree answered: %v", err)
}

// backgroundCommand is this program as the foreground mount of opts, in a
// session of its own so that a closed terminal does not end it.
func backgroundCommand(opts mountOptions, ready *os.File) (*exec.Cmd, error) {
	store, err := filepath.Abs(opts.Store)
	if err != nil {
		return nil, err
	}
	args := []string{programName, "--store", store, "--log-level", opts.LogLevel}
	for name, on := range map[string]bool{"--json": opts.JSON, "--quiet": opts.Quiet} {
		if on {
			args = append(args, name)
		}
	}
	args = append(args, "mount", "--cache", strconv.FormatInt(opts.Cache, 10))
	args = append(args, "--scrub-rate", strconv.FormatInt(opts.ScrubRate, 10))
	if opts.Fill != 0 {
		args = append(args, "--fill", strconv.FormatInt(max(opts.Fill, 0), 10))
	}
	if opts.NoScrub {
		args = append(args, "--no-scrub")
	}
	if opts.AllowOther {
		args = append(args, "--allow-other")
	}
	if opts.Owner != "" {
		args = append(args, "--owner", opts.Owner)
	}
	if opts.LogFile != "" {
		file, err := filepath.Abs(opts.LogFile)
		if err != nil {
			return nil, err
		}
		args = append(args, "--log-file", file)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append(args, opts.Dir)
	cmd.Dir = "/" // the child must not hold the caller's directory
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{ready} // becomes 3
	cmd.Env = append(os.Environ(), readyVariable+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, nil
}

// readiness is the way to the parent; nil in the foreground.
type readiness struct{ w *os.File }

// readyPipe returns the parent's descriptor where there is one.
func readyPipe() (*readiness, error) {
	text := os.Getenv(readyVariable)
	if text == "" {
		return nil, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%s=%q is not a descriptor; unset it", readyVariable, text)
	}
	unix.CloseOnExec(fd)
	return &readiness{os.NewFile(uintptr(fd), "ready")}, nil
}

// tell sends standard output and error to the log file, or nowhere, so that
// nothing of the caller's is held, and lets the parent go.
func (r *readiness) tell(logFile string) error {
	if r == nil {
		return nil
	}
	name := "/dev/null"
	if logFile != "" {
		name = logFile
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err == nil {
		err = errors.Join(unix.Dup2(int(f.Fd()), 1), unix.Dup2(int(f.Fd()), 2), f.Close())
	}
	_, werr := r.w.Write([]byte{1})
	return errors.Join(err, werr, r.w.Close())
}
