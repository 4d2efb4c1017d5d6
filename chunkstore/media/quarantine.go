package media

import (
	"errors"
	"fmt"
	"io/fs"
)

// quarantineDir lies beside the packs' directory.
const quarantineDir = "quarantine"

// Quarantine moves a finished file out of the way, durably, and returns where
// it is now. Nothing reads it there and nothing deletes it. A file that is not
// there any more was moved before.
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
