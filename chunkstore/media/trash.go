package media

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// trashDir lies beside the packs' directory.
const trashDir = "trash"

// Trash moves a finished file to the trash, durably: nothing refers to it any
// more, and EmptyTrash may delete it. A file that is not there was moved before.
func (d *Dir) Trash(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if _, err := d.fs.Stat(d.path(name)); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("move %s to the trash: %w", name, err)
	}
	dir := d.beside(trashDir)
	if err := d.makeBeside(dir); err != nil {
		return err
	}
	// A crash may have left both names: they are one file, and the rename
	// replaces it by itself.
	return d.moveAway(name, d.fs.PathJoin(dir, name))
}

// Trashed calls fn with the name and size of every file in the trash, in no
// order.
func (d *Dir) Trashed(fn func(name string, size int64) error) error {
	return d.eachBeside(trashDir, func(name string) bool { return strings.HasSuffix(name, ".pack") }, fn)
}

// DeleteTrashed deletes a file in the trash. One that is not there was deleted
// before.
func (d *Dir) DeleteTrashed(name string) error { return d.deleteBeside(trashDir, name) }
