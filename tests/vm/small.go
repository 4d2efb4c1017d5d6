package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const smallSize = 96 * mib

func smallRecipe() recipe {
	return recipe{
		name: string(KindSmall),
		ext:  ".raw",
		text: fmt.Sprintln(recipeVersion, smallSize, fsUUID, smallFiles),
		make: makeSmall,
	}
}

// smallFiles stand for a system around the data that fillSrv writes.
var smallFiles = map[string]string{
	"etc/hostname":        "holdfast-small\n",
	"etc/fstab":           "UUID=" + fsUUID + " / ext4 defaults 0 1\n",
	"etc/holdfast-marker": FirstMarker + "\n",
	"var/log/messages":    "",
	"empty/.keep":         "",
}

// makeSmall builds the small disk without root: mkfs fills the filesystem
// from a directory.
func makeSmall(work, out string) error {
	tree := filepath.Join(work, "tree")
	if err := errors.Join(writeFiles(tree, smallFiles), fillSrv(tree, 2)); err != nil {
		return err
	}
	part := filepath.Join(work, "part.img")
	if err := createSized(part, rootSize(smallSize)); err != nil {
		return err
	}
	if _, err := run("mkfs.ext4", "-q", "-F", "-L", "root", "-U", fsUUID,
		"-E", "root_owner=0:0", "-d", tree, part); err != nil {
		return err
	}
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	return assemble(out, part, smallSize)
}
