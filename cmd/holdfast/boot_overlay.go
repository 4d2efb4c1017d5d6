package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"holdfast/chunkstore/catalog"
)

// overlay is a qcow2 file that takes what the guest writes.
type overlay struct {
	path    string
	backing string // the mounted image
}

// create is the command that makes the overlay.
func (o overlay) create() []string {
	return []string{qemuImg, "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", o.backing, o.path}
}

// follow is the command that leads a kept overlay to where its image is
// mounted now. Nothing is copied: the image has the same bytes everywhere.
func (o overlay) follow() []string {
	return []string{qemuImg, "rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", o.backing, o.path}
}

// makeOverlays makes the overlays that are not there.
func (p *bootPlan) makeOverlays(ctx context.Context) error {
	for _, o := range p.overlays {
		command := o.create()
		if _, err := os.Stat(o.path); err == nil {
			command = o.follow()
		}
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		if out, err := cmd.CombinedOutput(); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("make overlay %s: %w: %s", o.path, err, oneLine(string(out)))
		}
	}
	return nil
}

// bootMark is the file in a kept directory that says what its overlays are of.
const bootMark = "holdfast-boot.json"

type bootMarkFile struct {
	StoreID string       `json:"store_id"`
	VM      []byte       `json:"vm"` // any bytes
	Version string       `json:"version"`
	UUID    catalog.UUID `json:"uuid"`
}

// bootDir makes the directory of the overlays. A kept one must be of the same
// version: over another image the overlay would be a broken disk.
func bootDir(opts bootOptions, storeID string, v *catalog.Version) (dir string, remove func() error, err error) {
	if opts.Keep == "" {
		dir, err = os.MkdirTemp("", "holdfast-boot-*")
		return dir, func() error { return os.RemoveAll(dir) }, err
	}
	if dir, err = filepath.Abs(opts.Keep); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	keep := func() error { return nil }
	mark := bootMarkFile{storeID, []byte(v.VM), v.ID, v.UUID}
	name := filepath.Join(dir, bootMark)
	b, err := os.ReadFile(name)
	if errors.Is(err, iofs.ErrNotExist) {
		if b, err = json.Marshal(mark); err == nil {
			err = os.WriteFile(name, append(b, '\n'), 0o600)
		}
		return dir, keep, err
	}
	if err != nil {
		return "", nil, err
	}
	var found bootMarkFile
	if err := json.Unmarshal(b, &found); err != nil {
		return "", nil, fmt.Errorf("%s: %w", name, err)
	}
	if found.StoreID != mark.StoreID || found.UUID != mark.UUID {
		err := fmt.Errorf("the overlays in %s are of %s@%s, not of %s@%s", dir, nameText(string(found.VM)), found.Version, nameText(v.VM), v.ID)
		return "", nil, withHint(err, "go on with them: holdfast boot "+shellWord(string(found.VM)+"@"+found.Version)+" --keep "+shellWord(dir), "or name another directory")
	}
	return dir, keep, nil
}

// overlaysOf says where the overlays of v's disks lie.
func overlaysOf(v *catalog.Version, mnt, dir string) ([]overlay, error) {
	var list []overlay
	for _, d := range v.Disks {
		o := overlay{path: filepath.Join(dir, diskFile(d.Name, ".overlay.qcow2")), backing: backingPath(mnt, v, d.Name)}
		if strings.ContainsAny(o.path+o.backing, "\n") {
			return nil, fmt.Errorf("qemu can't take the file name %q", o.backing)
		}
		list = append(list, o)
	}
	return list, nil
}
