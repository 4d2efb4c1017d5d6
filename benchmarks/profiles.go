package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// profileEnv makes holdfast leave its CPU profile in a directory; see cmd/holdfast.
const profileEnv = "HOLDFAST_PROFILE"

// profileLines is how many functions each table of a text shows.
const profileLines = "40"

// ours reports whether a contestant is the program, and not a bound or a peer.
func (c *contestant) ours() bool { return !c.peer && strings.HasPrefix(c.name, "holdfast") }

// profiled makes our contestants of a road leave CPU profiles in a directory for
// each, from the begin of its preparation (where mounts are started) to its end.
func (b *bench) profiled(r *Road) {
	for i := range r.contestants {
		c := &r.contestants[i]
		if !c.ours() {
			continue
		}
		prepare, finish, dir := c.prepare, c.finish, b.path("profiles", plain(r.name), plain(c.name))
		c.prepare = func(ctx context.Context, round int) error {
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.Setenv(profileEnv, dir)); err != nil || prepare == nil {
				return err
			}
			return prepare(ctx, round)
		}
		c.finish = func() (err error) {
			if finish != nil {
				err = finish()
			}
			return errors.Join(err, os.Unsetenv(profileEnv))
		}
	}
}

// writeProfiles writes what the roads' profiles show as text, one file a road,
// to dir.
func (b *bench) writeProfiles(ctx context.Context, dir string, m Machine, results []Result) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, res := range results {
		var text bytes.Buffer
		for _, c := range res.Lines {
			files, err := filepath.Glob(b.path("profiles", plain(res.Road), plain(c.Name), "*.cpu"))
			if err != nil {
				return err
			}
			if len(files) == 0 {
				continue
			}
			fmt.Fprintf(&text, "%s: %s\n%s\nprocesses: %d, in rounds: %d, preparation included\n", res.Road, c.Name, m, len(files), b.rounds)
			for _, order := range []string{"-flat", "-cum"} {
				top, err := topOf(ctx, b.binary, order, files)
				if err != nil {
					return fmt.Errorf("profile of %s: %w", res.Road, err)
				}
				fmt.Fprintf(&text, "\n%s", top)
			}
			text.WriteString("\n")
		}
		if text.Len() == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, plain(res.Road)+".txt"), text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// topOf merges profiles and returns pprof's table of them: by the time in a
// function alone (-flat), or with those that it calls (-cum).
func topOf(ctx context.Context, binary, order string, files []string) (string, error) {
	args := append([]string{"tool", "pprof", "-top", order, "-nodecount", profileLines, binary}, files...)
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go tool pprof: %w\n%s", err, tail(errs.Bytes()))
	}
	var kept []string
	for line := range strings.Lines(out.String()) {
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "File", "Build ID", "Type", "Time": // of one of them
		default:
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, ""), nil
}
