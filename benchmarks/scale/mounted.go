package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mountRounds = 5
	statRounds  = 20000
)

// measureMount measures the tree of the store in dir with the program itself.
func measureMount(program, dir string, r *report) error {
	var took []float64
	for range mountRounds {
		m, err := mount(program, dir)
		if err != nil {
			return err
		}
		took = append(took, float64(m.took.Microseconds())/1000)
		if err := m.close(); err != nil {
			return err
		}
	}
	r.add("mount, from exec until the tree answers", median(took), "ms", 100)
	return errors.Join(listAll(program, dir, "ls -lR -I files of all", r, "-I", "files"), listAll(program, dir, "ls -lR of all", r))
}

// listAll lists the whole tree of a mount that nobody has looked at, twice. The
// guests' files are a tree of their own below each version: a listing without them is
// of the store's own names.
func listAll(program, store, name string, r *report, flags ...string) error {
	m, err := mount(program, store)
	if err != nil {
		return err
	}
	defer m.close() //nolint:errcheck // its error is told below
	for _, how := range []string{"first", "again"} {
		began := time.Now()
		n, err := lines("ls", append(flags, "-lR", m.dir)...)
		if err != nil {
			return err
		}
		r.took(name+", "+how, time.Since(began), 2*time.Second)
		r.Figures[len(r.Figures)-1].Note = fmt.Sprintf("%d lines", n)
	}
	return m.close()
}

// lines runs a program and counts what it prints.
func lines(name string, args ...string) (int, error) {
	cmd := exec.Command(name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %.200s", name, err, errs.String())
	}
	return bytes.Count(out, []byte("\n")), nil
}

// mounted is a mount by a process of the program.
type mounted struct {
	dir  string
	cmd  *exec.Cmd
	took time.Duration
}

// mount starts the program and waits until it says that the tree answers.
func mount(program, store string) (*mounted, error) {
	at, err := os.MkdirTemp("", "holdfast-scale-mount-")
	if err != nil {
		return nil, err
	}
	m := &mounted{dir: at, cmd: exec.Command(program, "--store", store, "--json", "mount", "--no-scrub", at)}
	m.cmd.Stderr = os.Stderr
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	var said struct {
		VMs int `json:"vms"`
	}
	err = json.NewDecoder(out).Decode(&said)
	m.took = time.Since(began)
	if err == nil && said.VMs == 0 {
		err = errors.New("no VMs")
	}
	if err != nil {
		return nil, fmt.Errorf("mount: %w", errors.Join(err, m.close()))
	}
	return m, nil
}

// close ends the mount; a second call does nothing.
func (m *mounted) close() error {
	if m.cmd == nil {
		return nil
	}
	cmd := m.cmd
	m.cmd = nil
	err := cmd.Process.Signal(unix.SIGTERM)
	cmd.Wait() //nolint:errcheck // it was told to stop
	return errors.Join(err, os.Remove(m.dir))
}

// measureDirectory compares a directory of n versions with one of ext4 (or what
// the temporary directory lies on) of as many entries.
func measureDirectory(program, store string, n int, r *report) error {
	m, err := mount(program, store)
	if err != nil {
		return err
	}
	defer m.close() //nolint:errcheck // its error is told below
	local, err := os.MkdirTemp(filepath.Dir(store), "local-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(local)
	ours := filepath.Join(m.dir, "vm0000")
	names, err := os.ReadDir(ours)
	if err != nil {
		return err
	}
	if len(names) != n+1 {
		return fmt.Errorf("%d entries in %s, want %d and latest", len(names), ours, n)
	}
	for _, e := range names {
		if err := os.Mkdir(filepath.Join(local, e.Name()), 0o755); err != nil {
			return err
		}
	}
	var here, there []float64
	for range lookupRounds {
		for dir, to := range map[string]*[]float64{ours: &here, local: &there} {
			took, err := readdir(dir, n)
			if err != nil {
				return err
			}
			*to = append(*to, took)
		}
	}
	r.add(fmt.Sprintf("readdir of %d entries", n), median(here), "ms", 0).Note = fmt.Sprintf("a local directory: %.2f ms", median(there))
	r.add("readdir, to a local directory", median(here)/median(there), "×", 4)
	if err := compareStat(ours, local, names[1].Name(), r); err != nil {
		return err
	}
	return m.close()
}

// readdir returns the milliseconds that one reading of a directory takes.
func readdir(dir string, least int) (float64, error) {
	buf := make([]byte, 32<<10) // as glibc reads
	began := time.Now()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	n := 0
	for {
		got, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", dir, err)
		}
		if got == 0 {
			break
		}
		_, count, _ := unix.ParseDirent(buf[:got], -1, nil)
		n += count
	}
	if n < least {
		return 0, fmt.Errorf("%s: %d entries, want %d", dir, n, least)
	}
	return float64(time.Since(began).Microseconds()) / 1000, nil
}

// compareStat compares the stat of a name that the kernel knows.
func compareStat(ours, local, name string, r *report) error {
	var here, there []float64
	for range lookupRounds {
		for dir, to := range map[string]*[]float64{ours: &here, local: &there} {
			took, err := stat(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			*to = append(*to, took)
		}
	}
	r.add("stat of a known name", median(here), "µs", 0).Note = fmt.Sprintf("a local one: %.2f µs", median(there))
	r.add("stat, to a local one", median(here)/median(there), "×", 1.25)
	return nil
}

func stat(path string) (float64, error) {
	var st unix.Stat_t
	began := time.Now()
	for range statRounds {
		if err := unix.Stat(path, &st); err != nil {
			return 0, fmt.Errorf("stat %s: %w", path, err)
		}
	}
	return float64(time.Since(began).Nanoseconds()) / statRounds / 1000, nil
}

func median(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[len(s)/2]
}
