package fs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// A FUSE mount whose process was killed stays in the mount table and answers
// ENOTCONN. So a mount has a watchdog: this same program, started again as a
// child in its own session before there is a mount, which waits for the end of
// a pipe. There the process tells the mount's device, and at last farewell. The
// pipe ends without a farewell when the process died, however it died; then the
// watchdog detaches the mount: that of the device, or, where the process died
// before it told one, a dead mount of ours. (fusermount3's auto_unmount does not
// do: go-fuse waits for a program that never ends.)
//
// It is also the watchdog that sees whether a new mount answers. If the process
// asked its own mount and was killed before it answered, that thread would wait
// for ever, and keep the process's descriptors: the connection would not end,
// nor the pipe, and the store would stay locked.
const (
	watchdogEnv = "HOLDFAST_WATCHDOG" // the mount point
	pipeFd      = 3
	readyFd     = 4
	farewell    = 'q'
	itAnswers   = "+"
	watchdogUp  = time.Minute // more than any start takes
	// leftWithin is for how long a mount may still appear whose process has died: a
	// user's is made by fusermount3, which goes on alone.
	leftWithin = time.Minute
	leftPoll   = 50 * time.Millisecond
)

// watchdogReady says that this program's main begins with RunWatchdogIfAsked.
// Where it does not, a second copy of it would run as the program itself.
var watchdogReady atomic.Bool

var errNoHook = errors.New("this program's main does not call fs.RunWatchdogIfAsked")

// RunWatchdogIfAsked must be the first call of main. In a process that Mount
// started as a watchdog it does that work and reports true with the status that
// main must exit with; in any other it reports false at once.
func RunWatchdogIfAsked() (status int, asked bool) {
	dir := os.Getenv(watchdogEnv)
	if dir == "" {
		watchdogReady.Store(true)
		return 0, false
	}
	// A service manager signals all processes of a service at once; this
	// one must outlive the one it watches.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	if err := guard(dir, bufio.NewReader(os.NewFile(pipeFd, "pipe")), os.NewFile(readyFd, "ready")); err != nil {
		return 1, true
	}
	return 0, true
}

// guard is a watchdog's work.
func guard(dir string, pipe *bufio.Reader, ready *os.File) error {
	told, err := pipe.ReadString('\n')
	if err != nil {
		ready.Close()
		if told == string(farewell) {
			return nil
		}
		return removeUntold(dir)
	}
	said := itAnswers
	if err := answers(dir); err != nil {
		said = err.Error()
	}
	ready.WriteString(said) //nolint:errcheck // then nobody waits for it
	ready.Close()
	if _, err := pipe.ReadByte(); err == nil {
		return nil
	}
	top, ok, err := topMount(dir)
	if err != nil || !ok || top.dev != strings.TrimSuffix(told, "\n") {
		return err
	}
	return detach(dir)
}

// removeUntold detaches the mount of a process that died before it told its device,
// and no mount that somebody answers for.
func removeUntold(dir string) error {
	for began := time.Now(); ; time.Sleep(leftPoll) {
		top, ok, err := topMount(dir)
		switch {
		case err != nil:
			return err
		case ok && top.fsType == fsType && alive(dir):
			return nil
		case ok && top.fsType == fsType:
			return detach(dir)
		case os.Geteuid() == 0 || time.Since(began) > leftWithin:
			return nil
		}
	}
}

// watchdog is the process that watches this one.
type watchdog struct {
	cmd  *exec.Cmd
	pipe *os.File // its write end
	up   *os.File // the read end of the one by which it says whether the mount answers
}

// startWatchdog starts the watchdog of a mount that will be made on dir.
func startWatchdog(dir string) (*watchdog, error) {
	if !watchdogReady.Load() {
		return nil, errNoHook
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start watchdog: %w", err)
	}
	defer r.Close()
	up, ready, err := os.Pipe()
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("start watchdog: %w", err)
	}
	defer ready.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"holdfast-watchdog", dir}
	cmd.Env = append(os.Environ(), watchdogEnv+"="+dir, "GOMAXPROCS=1")
	cmd.Dir = "/" // or it would itself keep a filesystem busy
	cmd.ExtraFiles = []*os.File{r, ready}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		up.Close()
		w.Close()
		return nil, fmt.Errorf("start watchdog: %w", err)
	}
	return &watchdog{cmd, w, up}, nil
}

// watch tells the watchdog the mount's device, and has it ask the mount. said is why
// that does not answer, or empty. The error says that there is no watchdog.
func (d *watchdog) watch(dev string) (said string, err error) {
	if _, err := d.pipe.WriteString(dev + "\n"); err != nil {
		return "", fmt.Errorf("start watchdog: %w", err)
	}
	d.up.SetReadDeadline(time.Now().Add(watchdogUp)) //nolint:errcheck // a pipe has deadlines
	b, err := io.ReadAll(d.up)
	if err == nil && len(b) == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", fmt.Errorf("start watchdog: it did not come up: %w", err)
	}
	return strings.TrimPrefix(string(b), itAnswers), nil
}

// dismiss sends the watchdog home: the mount is gone, or there was none.
func (d *watchdog) dismiss() {
	if d == nil {
		return
	}
	d.pipe.Write([]byte{farewell}) //nolint:errcheck // it may have been killed
	d.pipe.Close()
	d.up.Close()
	d.cmd.Wait() //nolint:errcheck // how it ended is of no interest now
}
