package fs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// logged collects what is logged.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for range 6000 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("waited a minute for %s", what)
}

func mountedAt(t testing.TB, dir string) bool {
	t.Helper()
	_, ok, err := topMount(dir)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestBusyUnmountTellsHolders(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 4<<20, 1)
	v := commit(t, s, "web", day, c)
	log := &logged{}
	m := mountTest(t, s, Options{Log: log.logger()})
	dir := VersionPath(m.Dir(), v)
	// With exec.Cmd's Dir it would enter the mount between fork and exec. That waits for this process, of
	// which a thread waits for the exec: the runtime does not know, and its next collection waits for both.
	sleeper := exec.Command("sh", "-c", `cd "$0" && exec sleep 60`, dir)
	in, err := os.Open(rawPath(m, v, "vda"))
	if err != nil {
		t.Fatal(err)
	}
	sleeper.Stdin = in
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	stop := sync.OnceFunc(func() {
		sleeper.Process.Kill()
		sleeper.Wait()
	})
	defer stop()
	waitFor(t, "the holder", func() bool {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", sleeper.Process.Pid))
		return string(comm) == "sleep\n"
	})

	var busy *BusyError
	err = m.Unmount(t.Context(), -1)
	if !errors.As(err, &busy) || busy.Detached || !errors.Is(err, syscall.EBUSY) {
		t.Fatalf("unmount of a busy mount: %v", err)
	}
	var cwd, open bool
	for _, h := range busy.Holders {
		if h.PID == sleeper.Process.Pid && h.Command == "sleep" {
			cwd = cwd || h.How == "cwd" && h.Path == dir
			open = open || h.How == "open" && h.Path == rawPath(m, v, "vda")
		}
	}
	if !cwd || !open || !strings.Contains(err.Error(), "sleep[") {
		t.Errorf("the holders are %v; %v", busy.Holders, err)
	}
	if !strings.Contains(log.String(), "sleep[") {
		t.Errorf("the log does not tell the holder: %s", log)
	}
	// It is as it was.
	if err := check(openRaw(t, rawPath(m, v, "vda"), unix.O_DIRECT), c, 0, aligned(1<<20)); err != nil {
		t.Fatal(err)
	}
	closeAll(t, m)
	// It waits for a holder that goes, and lets nobody in meanwhile.
	go func() {
		waitFor(t, "the unmount to begin", m.tree.closing.Load)
		if _, err := unix.Open(rawPath(m, v, "vda"), unix.O_RDONLY, 0); err != unix.ESHUTDOWN {
			t.Errorf("open while it goes: %v, want ESHUTDOWN", err)
		}
		stop()
	}()
	if err := m.Unmount(t.Context(), 2*time.Minute); err != nil {
		t.Errorf("unmount of a mount whose holder went: %v", err)
	}
}

// closeAll closes what this process has open in m.
func closeAll(t *testing.T, m *Mounted) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if p, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(p, m.Dir()+"/") {
			if n, err := strconv.Atoi(fd.Name()); err == nil {
				unix.Close(n)
			}
		}
	}
}

// A mount that stays busy is detached: out of sight, but what is open goes on.
func TestDetachKeepsOpenFiles(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 4<<20, 1)
	v := commit(t, s, "web", day, c)
	m := mountTest(t, s, Options{})
	fd, err := unix.Open(rawPath(m, v, "vda"), unix.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- m.Unmount(context.Background(), 200*time.Millisecond) }()
	waitFor(t, "the mount to be detached", func() bool { return !mountedAt(t, m.Dir()) })
	if err := check(fd, c, 1<<20, aligned(1<<20)); err != nil {
		t.Errorf("after the detach: %v", err)
	}
	select {
	case err := <-gone:
		t.Errorf("Unmount returned while a file was open: %v", err)
	default:
	}
	unix.Close(fd)
	var busy *BusyError
	if err := <-gone; !errors.As(err, &busy) || !busy.Detached {
		t.Errorf("unmount: %v", err)
	}
}

// A second Unmount detaches at once, and the end of its context aborts.
func TestSecondUnmountDetaches(t *testing.T) {
	s := newStore(t)
	v := commit(t, s, "web", day, newContent("vda", 4<<20, 1))
	m := mountTest(t, s, Options{})
	fd, err := unix.Open(rawPath(m, v, "vda"), unix.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- m.Unmount(ctx, time.Minute) }()
	waitFor(t, "the first to begin", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.going != nil })
	go func() { second <- m.Unmount(context.Background(), time.Minute) }()
	waitFor(t, "the mount to be detached", func() bool { return !mountedAt(t, m.Dir()) })
	cancel()
	var busy *BusyError
	if err := <-first; !errors.As(err, &busy) || !busy.Detached {
		t.Errorf("first: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("second: %v", err)
	}
	if _, err := unix.Pread(fd, aligned(4096), 0); err != unix.ENOTCONN {
		t.Errorf("a read after the abort: %v, want ENOTCONN", err)
	}
}

func TestForeignUnmountEndsMount(t *testing.T) {
	m := mountTest(t, newStore(t), Options{})
	if out, err := exec.Command("umount", m.Dir()).CombinedOutput(); err != nil {
		t.Fatalf("umount: %v\n%s", err, out)
	}
	select {
	case <-m.Done():
	case <-time.After(time.Minute):
		t.Fatal("the mount did not notice that it is gone")
	}
}

// mountAgainst mounts while somebody unmounts: it goes on until the mount is gone, or stopped
// says that Mount has returned. Whoever was first, the mount ends and is gone.
func mountAgainst(t *testing.T, s *testStore, dir string, unmount func(stopped func() bool)) {
	t.Helper()
	var stop atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		unmount(stop.Load)
	}()
	m, err := Mount(s, dir, Options{})
	stop.Store(true)
	<-ended
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Unmount(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	m.Wait()
	if mountedAt(t, dir) {
		t.Fatal("a mount is left")
	}
}

// Who unmounts as soon as there is a mount may be earlier than Mount's last steps.
func TestUnmountedBeforeItSettles(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	for range 20 {
		mountAgainst(t, s, dir, func(stopped func() bool) {
			for !stopped() {
				top, ok, err := topMount(dir)
				if err != nil {
					t.Error(err)
				}
				if ok && top.fsType == fsType {
					exec.Command("umount", dir).Run() //nolint:errcheck // busy: who asks whether the mount answers was there
					return
				}
			}
		})
	}
}

// TestUnmountedBeforeItBegins: who does not even look at the mount table may be earlier
// than the first request's answer.
func TestUnmountedBeforeItBegins(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	for n := range 40 {
		mountAgainst(t, s, dir, func(stopped func() bool) {
			for !stopped() && unix.Unmount(dir, n%2*unix.MNT_DETACH) != nil {
			}
		})
	}
}

// TestCoveredBeforeItSettles: what somebody mounted over a mount that had not settled stays
// there; the mount ends below it.
func TestCoveredBeforeItSettles(t *testing.T) {
	for _, over := range []string{"tmpfs", fsType} {
		dir := t.TempDir()
		opts := Options{Log: (&logged{}).logger(), Name: "below"}
		tr, err := newTree(newStore(t), opts)
		if err != nil {
			t.Fatal(err)
		}
		m := &Mounted{dir: dir, tree: tr, settled: make(chan struct{}), done: make(chan struct{})}
		if m.server, err = connect(tr, dir, opts); err != nil {
			t.Fatal(err)
		}
		go m.serve()
		if over == fsType {
			fd, err := mountAsRoot(dir, "above", false)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
		} else if out, err := exec.Command("mount", "-t", over, "above", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Cleanup(func() {
			for mountedAt(t, dir) {
				if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
					t.Fatal(err)
				}
			}
		})
		err = m.settle(opts)
		close(m.settled)
		if err == nil || !strings.Contains(err.Error(), "above, of type "+over) {
			t.Fatalf("a mount below another one settles: %v", err)
		}
		m.abandon(opts.Name)
		select {
		case <-m.done:
		default:
			t.Fatal("the mount goes on")
		}
		if top, ok, err := topMount(dir); err != nil || !ok || top.source != "above" {
			t.Errorf("on top is now %+v, %v", top, err)
		}
	}
}

func TestMountPointIsChecked(t *testing.T) {
	s := newStore(t)
	dir := t.TempDir()
	try := func(path, want string) {
		t.Helper()
		m, err := Mount(s, path, Options{})
		if err == nil {
			m.Unmount(t.Context(), 0)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("mount on %s: %v, want %q", path, err, want)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	try(filepath.Join(dir, "absent"), "mkdir")
	try(file, "not a directory")
	try(dir, "not empty")

	m := mountTest(t, s, Options{})
	if _, err := Mount(s, m.Dir(), Options{}); !errors.Is(err, ErrMounted) {
		t.Errorf("a second mount: %v, want ErrMounted", err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(m.Dir(), link); err != nil {
		t.Fatal(err)
	}
	if _, err := Mount(s, link, Options{}); !errors.Is(err, ErrMounted) {
		t.Errorf("a second mount through a link: %v, want ErrMounted", err)
	}
	if mnt, ok := FindMount(s.Info().StoreID); !ok || mnt != m.Dir() {
		t.Errorf("FindMount: %q, %v, want %q", mnt, ok, m.Dir())
	}
	if mnt, ok := FindMount(strings.Repeat("0", 32)); ok {
		t.Errorf("FindMount of a store that is not mounted: %q", mnt)
	}
}

// child starts a process that mounts on dir, as user uid, and waits until it
// says word.
func child(t *testing.T, what, dir, word string, uid int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", dir)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), childEnv+"="+what, "TMPDIR=/tmp", "HOME=/")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	var said []string
	for lines := bufio.NewScanner(out); lines.Scan(); said = append(said, lines.Text()) {
		if lines.Text() == word {
			return cmd
		}
	}
	t.Fatalf("the child did not say %q but %q", word, said)
	return nil
}

func hang(t *testing.T, dir string) *exec.Cmd {
	return child(t, "mount and hang", dir, "ready", 0)
}

const nobody = 65534

// userDir returns a directory of nobody's, with a way to it.
func userDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "holdfast-fs-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Other users see nothing, or everything if they are let in.
func TestAllowOther(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 1<<20, 1)
	v := commit(t, s, "web", day, c)
	for _, allow := range []bool{false, true} {
		dir := userDir(t)
		m := startTest(t, func(string) (*Mounted, error) { return Mount(s, dir, Options{AllowOther: allow}) })
		cat := exec.Command("cat", rawPath(m, v, "vda"))
		cat.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		cat.Dir = "/"
		out, err := cat.Output()
		if allow != (err == nil) || allow != bytes.Equal(out, c.bytes) {
			t.Errorf("allow other is %v: another user reads %d bytes, %v", allow, len(out), err)
		}
	}
}

func TestOddMountPoint(t *testing.T) {
	s := newStore(t)
	dir := filepath.Join(t.TempDir(), "a b\\c\nd\t%\xff")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	startTest(t, func(string) (*Mounted, error) { return Mount(s, dir, Options{}) })
	if mnt, ok := FindMount(s.Info().StoreID); !ok || mnt != dir {
		t.Errorf("FindMount: %q, %v, want %q", mnt, ok, dir)
	}
}

// Without root it goes through fusermount3.
func TestUserMounts(t *testing.T) {
	dir := userDir(t)
	cmd := child(t, "mount and read", dir, "read", nobody)
	cmd.Wait()
	if mountedAt(t, dir) {
		t.Error("it is still mounted")
	}
}

func TestKilledUserDaemonLeavesNoMount(t *testing.T) {
	dir := userDir(t)
	cmd := child(t, "mount and hang", dir, "ready", nobody)
	if !mountedAt(t, dir) {
		t.Fatal("it is not mounted")
	}
	cmd.Process.Kill()
	cmd.Wait()
	waitFor(t, "the watchdog to unmount", func() bool { return !mountedAt(t, dir) })
}

// watchdogOf returns the pid of a process's watchdog.
func watchdogOf(t *testing.T, pid int) (found int) {
	t.Helper()
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range stats {
		b, _ := os.ReadFile(f)
		w := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(w) > 1 && w[1] == strconv.Itoa(pid) {
			found, _ = strconv.Atoi(filepath.Base(filepath.Dir(f)))
		}
	}
	if found == 0 {
		t.Fatal("there is no watchdog")
	}
	return found
}

func TestKilledDaemonLeavesNoMount(t *testing.T) {
	dir := t.TempDir()
	cmd := hang(t, dir)
	dog := watchdogOf(t, cmd.Process.Pid)
	// A service manager's SIGTERM must not take the watchdog first.
	if err := syscall.Kill(dog, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(dir + "/web/latest/version.json"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	cmd.Process.Kill()
	cmd.Wait()
	waitFor(t, "the watchdog to unmount", func() bool { return !mountedAt(t, dir) })
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the mount was gone only after %v", took)
	}
	waitFor(t, "the watchdog to end", func() bool { return syscall.Kill(dog, 0) != nil })
}

// starting starts a child that mounts, and does not wait for it. A mount that it
// leaves is aborted at the test's end.
func starting(t *testing.T, dir string, uid int, env ...string) (kill func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", dir)
	cmd.Dir = "/"
	cmd.Env = append(append(os.Environ(), childEnv+"=mount and hang", "TMPDIR=/tmp", "HOME=/"), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH); cmd.Process.Kill() })
	return func() {
		t.Helper()
		cmd.Process.Kill()
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		waitFor(t, "the killed process to end", func() bool { return len(ended) > 0 })
	}
}

// A process killed at any moment of mounting leaves no mount: its watchdog was
// there first, and it waits for no answer of its own.
func TestKilledWhileMounting(t *testing.T) {
	for i := range 6 {
		dir, uid := t.TempDir(), 0
		if i%2 > 0 {
			dir, uid = userDir(t), nobody
		}
		kill := starting(t, dir, uid)
		waitFor(t, "the mount", func() bool {
			for began := time.Now(); time.Since(began) < 100*time.Millisecond; {
				if mountedAt(t, dir) {
					return true
				}
			}
			return false
		})
		kill()
		waitFor(t, "the watchdog to unmount", func() bool { return !mountedAt(t, dir) })
	}
}

// A user's mount is made by fusermount3, which may come to it when the process that
// asked for it is dead.
func TestKilledBeforeFusermountMounts(t *testing.T) {
	real, err := exec.LookPath("fusermount3")
	if err != nil {
		t.Fatal(err)
	}
	dir, slow := userDir(t), userDir(t)
	t.Cleanup(func() { os.RemoveAll(slow) })
	script := fmt.Sprintf(`#!/bin/sh
case "$1" in -u*) exec %[1]s "$@";; esac
: >%[2]s/called
while [ ! -e %[2]s/go ]; do sleep 0.05; done
%[1]s "$@"
: >%[2]s/done
`, real, slow)
	if err := os.WriteFile(slow+"/fusermount3", []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	there := func(name string) func() bool {
		return func() bool { _, err := os.Stat(slow + "/" + name); return err == nil }
	}
	kill := starting(t, dir, nobody, "PATH="+slow+":"+os.Getenv("PATH"))
	waitFor(t, "fusermount3", there("called"))
	kill()
	if err := os.WriteFile(slow+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "fusermount3's end", there("done"))
	waitFor(t, "the watchdog to unmount", func() bool { return !mountedAt(t, dir) })
}

func TestDeadMountIsReplaced(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // one on another
		cmd := hang(t, dir)
		dog := watchdogOf(t, cmd.Process.Pid)
		if err := syscall.Kill(dog, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		cmd.Process.Kill()
		cmd.Wait()
		if !mountedAt(t, dir) {
			t.Fatal("the dead mount is gone by itself")
		}
	}
	s := newStore(t)
	commit(t, s, "web", day, newContent("vda", 1<<20, 1))
	m, err := Mount(s, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(dir + "/web/latest/version.json"); err != nil {
		t.Error(err)
	}
	if err := m.Unmount(t.Context(), time.Second); err != nil {
		t.Error(err)
	}
	if mountedAt(t, dir) {
		t.Error("something is still mounted")
	}
}

func TestWatchdogGoesWithMount(t *testing.T) {
	m := mountTest(t, newStore(t), Options{})
	dog := m.dog.cmd.Process.Pid
	if err := m.Unmount(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(dog, 0); err == nil {
		t.Error("the watchdog is still there")
	}
}

func TestParseMounts(t *testing.T) {
	list, err := parseMounts(strings.NewReader(`22 1 8:1 / / rw - ext4 /dev/sda1 rw
x
36 35 98:0 /mnt1 /mnt\0402\134\011 rw,noatime master:1 shared:7 - fuse.holdfast holdfast:ab\040c rw,user_id=0
37 35 0:44 / /short - fuse.x
`))
	if err != nil || len(list) != 2 || list[1] != (mountEntry{"98:0", "/mnt 2\\\t", "fuse.holdfast", "holdfast:ab c"}) {
		t.Errorf("%q, %v", list, err)
	}
}
