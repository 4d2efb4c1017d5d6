package fs

import (
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
const (
	watchdogEnv = "HOLDFAST_WATCHDOG" // the mount point
	pipeFd      = 3
	readyFd     = 4
	farewell    = "q"
	toldMost    = 64          // bytes in the pipe: a device as "0:42", and the farewell
	watchdogUp  = time.Minute // more than any start takes
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
	ready := os.NewFile(readyFd, "ready")
	ready.Write([]byte{0}) //nolint:errcheck // then nobody waits for it
	ready.Close()
	told, _ := io.ReadAll(io.LimitReader(os.NewFile(pipeFd, "pipe"), toldMost)) // what came counts
	if dev, quit := strings.CutSuffix(string(told), farewell); !quit {
		if err := removeLeft(dir, dev); err != nil {
			return 1, true
		}
	}
	return 0, true
}

// removeLeft detaches the mount of a process that died, and no other's. dev is
// empty where it did not come to telling its device.
func removeLeft(dir, dev string) error {
	top, ok, err := topMount(dir)
	switch {
	case err != nil:
		return err
	case !ok || top.fsType != fsType || dev != "" && top.dev != dev:
		return nil
	case dev == "" && alive(dir):
		return nil
	}
	return detach(dir)
}

// watchdog is the process that watches this one.
type watchdog struct {
	cmd  *exec.Cmd
	pipe *os.File // its write end
	up   *os.File // the read end of the one by which it says that it is there
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

// watch tells the watchdog the mount's device. It returns when the watchdog is
// deaf to signals; before, one for all processes of a service would end it.
func (d *watchdog) watch(dev string) error {
	if _, err := d.pipe.WriteString(dev); err != nil {
		return fmt.Errorf("start watchdog: %w", err)
	}
	d.up.SetReadDeadline(time.Now().Add(watchdogUp)) //nolint:errcheck // a pipe has deadlines
	var b [1]byte
	if _, err := io.ReadFull(d.up, b[:]); err != nil {
		return fmt.Errorf("start watchdog: it did not come up: %w", err)
	}
	return nil
}

// dismiss sends the watchdog home: the mount is gone, or there was none.
func (d *watchdog) dismiss() {
	if d == nil {
		return
	}
	d.pipe.WriteString(farewell) //nolint:errcheck // it may have been killed
	d.pipe.Close()
	d.up.Close()
	d.cmd.Wait() //nolint:errcheck // how it ended is of no interest now
}
