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
// child in its own session, which waits for the end of a pipe. The pipe ends
// without a farewell when the process died, however it died; then the watchdog
// detaches the mount. (fusermount3's auto_unmount does not do: go-fuse waits
// for a program that never ends.)
const (
	watchdogEnv = "HOLDFAST_WATCHDOG" // device and mount point, as "0:42 /mnt"
	pipeFd      = 3
	readyFd     = 4
	farewell    = 'q'
	watchdogUp  = 5 * time.Second // more than any start takes
)

// watchdogReady says that this program's main begins with RunWatchdogIfAsked.
// Where it does not, a second copy of it would run as the program itself.
var watchdogReady atomic.Bool

var errNoHook = errors.New("this program's main does not call fs.RunWatchdogIfAsked")

// RunWatchdogIfAsked must be the first call of main. In a process that Mount
// started as a watchdog it does that work and reports true with the status that
// main must exit with; in any other it reports false at once.
func RunWatchdogIfAsked() (status int, asked bool) {
	what := os.Getenv(watchdogEnv)
	if what == "" {
		watchdogReady.Store(true)
		return 0, false
	}
	// A service manager signals all processes of a service at once; this
	// one must outlive the one it watches.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	dev, dir, ok := strings.Cut(what, " ")
	if !ok {
		return 1, true
	}
	ready := os.NewFile(readyFd, "ready")
	ready.Write([]byte{farewell}) //nolint:errcheck // then nobody waits for it
	ready.Close()
	var b [1]byte
	if n, _ := io.ReadFull(os.NewFile(pipeFd, "pipe"), b[:]); n == 1 {
		return 0, true
	}
	if top, ok, err := topMount(dir); err == nil && ok && top.dev == dev {
		if err := detach(dir); err != nil {
			return 1, true
		}
	}
	return 0, true
}

// watchdog is the process that watches this one.
type watchdog struct {
	cmd  *exec.Cmd
	pipe *os.File // its write end
}

func startWatchdog(dir, dev string) (*watchdog, error) {
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
	defer up.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"holdfast-watchdog", dir}
	cmd.Env = append(os.Environ(), watchdogEnv+"="+dev+" "+dir, "GOMAXPROCS=1")
	cmd.Dir = "/" // or it would itself keep a filesystem busy
	cmd.ExtraFiles = []*os.File{r, ready}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	ready.Close()
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("start watchdog: %w", err)
	}
	d := &watchdog{cmd, w}
	if err := d.wait(up); err != nil {
		d.dismiss()
		return nil, err
	}
	return d, nil
}

// wait waits until the watchdog is deaf to signals; before, one for all
// processes of a service would end it.
func (d *watchdog) wait(up *os.File) error {
	up.SetReadDeadline(time.Now().Add(watchdogUp)) //nolint:errcheck // a pipe has deadlines
	var b [1]byte
	if _, err := io.ReadFull(up, b[:]); err != nil {
		return fmt.Errorf("start watchdog: it did not come up: %w", err)
	}
	return nil
}

// dismiss sends the watchdog home; the mount is gone.
func (d *watchdog) dismiss() {
	if d == nil {
		return
	}
	d.pipe.Write([]byte{farewell}) //nolint:errcheck // it may have been killed
	d.pipe.Close()
	d.cmd.Wait() //nolint:errcheck // how it ended is of no interest now
}
