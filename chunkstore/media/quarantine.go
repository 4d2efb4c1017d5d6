package media

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// quarantineDir lies beside the packs' directory.
const quarantineDir = "quarantine"

// Quarantine moves a finished file out of the way, durably, and returns where
// it is now. Nothing reads it there. A file that is not there any more was moved
// before.
func (d *Dir) Quarantine(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	dir := d.beside(quarantineDir)
	if _, err := d.fs.Stat(d.path(name)); errors.Is(err, fs.ErrNotExist) {
		return d.fs.PathJoin(dir, name), nil
	}
	if err := d.makeBeside(dir); err != nil {
		return "", err
	}
	to, err := d.freeName(d.fs.PathJoin(dir, name))
	if err != nil {
		return "", err
	}
	return to, d.moveAway(name, to)
}

// Quarantined calls fn with the name and size of every file in quarantine, in no
// order.
func (d *Dir) Quarantined(fn func(name string, size int64) error) error {
	return d.eachBeside(quarantineDir, func(name string) bool {
		pack, number, numbered := strings.Cut(name, ".pack")
		return pack != "" && (numbered && (number == "" || number[0] == '.'))
	}, fn)
}

// DeleteQuarantined deletes a file in quarantine. One that is not there was
// deleted before.
func (d *Dir) DeleteQuarantined(name string) error { return d.deleteBeside(quarantineDir, name) }

// eachBeside calls fn for the files in a directory beside the packs' whose names
// are ours.
func (d *Dir) eachBeside(name string, ours func(name string) bool, fn func(name string, size int64) error) error {
	dir := d.beside(name)
	names, err := d.fs.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, name := range names {
		if checkName(name) != nil || !ours(name) {
			continue
		}
		st, err := d.fs.Stat(d.fs.PathJoin(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("list %s: %w", dir, err)
		}
		if err := fn(name, st.Size()); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dir) deleteBeside(dir, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	dir = d.beside(dir)
	if err := d.fs.Remove(d.fs.PathJoin(dir, name)); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("delete from %s: %w", dir, err)
	}
	return d.syncDir(dir)
}

// beside is the path of a directory beside the packs'.
func (d *Dir) beside(name string) string { return d.fs.PathJoin(d.fs.PathDir(d.root), name) }

// makeBeside makes such a directory, durably.
func (d *Dir) makeBeside(dir string) error {
	if err := d.fs.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory %s: %w", dir, err)
	}
	return d.syncDir(d.fs.PathDir(dir))
}

// moveAway renames a finished file, durably.
func (d *Dir) moveAway(name, to string) error {
	if err := d.fs.Rename(d.path(name), to); err != nil {
		return fmt.Errorf("move %s to %s: %w", name, to, err)
	}
	// The new name first: a crash between the two leaves both names or one,
	// never none.
	if err := d.syncDir(d.fs.PathDir(to)); err != nil {
		return err
	}
	return d.syncDir(d.fs.PathDir(d.path(name)))
}

// freeName returns path, or path with the first number behind it that is free:
// a rename would replace what is there.
func (d *Dir) freeName(path string) (string, error) {
	free := path
	for n := 1; ; n++ {
		if _, err := d.fs.Stat(free); errors.Is(err, fs.ErrNotExist) {
			return free, nil
		} else if err != nil {
			return "", fmt.Errorf("look into quarantine: %w", err)
		}
		free = fmt.Sprintf("%s.%d", path, n)
	}
}
