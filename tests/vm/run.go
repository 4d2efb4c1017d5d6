package vm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// run runs a tool to its end and returns what it printed. The error carries
// the tool's own words.
func run(name string, args ...string) (string, error) {
	return runCmd(command(name, args...))
}

func runCmd(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if errors.Is(err, exec.ErrNotFound) {
		return text, fmt.Errorf("%s is missing: run .ci/deps as root: %w", cmd.Args[0], err)
	}
	if err != nil {
		return text, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, text)
	}
	return text, nil
}

// command finds tools in the system directories too: an ordinary user's PATH
// often lacks them, and mkfs needs no root.
func command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	if cmd.Err == nil {
		return cmd
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return exec.Command(path, args...)
		}
	}
	return cmd
}

func needRoot(what string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s needs root: run the tests as root", what)
	}
	return nil
}
