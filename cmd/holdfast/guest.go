package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/owner"
	"holdfast/fs"
	"holdfast/fs/files"
	"holdfast/fs/guest"
)

// guestHelp explains VM[@VERSION]:/PATH in the help of each command that takes
// one.
const guestHelp = `PATH is one of the guest: its volumes lie where its fstab mounts them, a guest's links
are followed within the guest. With --volume DISK/VOLUME it is one of that volume, as in
files/ of a mount: --volume vda/p1.`

// guestCache is how much memory a command has for decoded chunks.
const guestCache = 128 << 20

// guestRef is VM[@VERSION]:/PATH.
type guestRef struct{ Ref, Path string }

// parseGuestRef cuts at the first ":/" or at a ":" that ends the argument: the
// time that names a version may hold colons too.
func parseGuestRef(arg string) (guestRef, bool) {
	if i := strings.Index(arg, ":/"); i > 0 {
		return guestRef{arg[:i], arg[i+1:]}, true
	}
	if ref, ok := strings.CutSuffix(arg, ":"); ok && ref != "" {
		return guestRef{ref, "/"}, true
	}
	return guestRef{arg, "/"}, false
}

func volumeFlag() cli.Flag {
	return &cli.StringFlag{Name: "volume", Usage: "look into this volume alone, `DISK/VOLUME`"}
}

// guests opens guests' files for a command.
type guests struct {
	h      *owner.Handle
	opener *files.Opener
	volume string
}

// withGuests opens the store for the time of fn.
func withGuests(ctx context.Context, opts common, volume string, fn func(*guests) error) error {
	return withStore(ctx, opts, func(h *owner.Handle) error {
		chunks, err := cache.New(h, cache.Options{Bytes: guestCache})
		if err != nil {
			return err
		}
		defer chunks.Close()
		return fn(&guests{h, files.New(chunks, disk.NewMaps(h, 0)), volume})
	})
}

// open opens the tree of a version's guest, or of the volume that was named.
func (g *guests) open(ctx context.Context, v *catalog.Version) (*files.Space, error) {
	found, err := g.opener.Find(ctx, v)
	if err != nil {
		return nil, err
	}
	var space *files.Space
	if g.volume == "" {
		if space, err = found.Space(ctx); err != nil || space.System != "" {
			return space, err
		}
		err = fmt.Errorf("%s@%s: no volume holds a guest's root (an /etc/fstab, or Windows): %w", nameText(v.VM), v.ID, iofs.ErrNotExist)
		return nil, g.withVolumes(found, err)
	}
	for _, vol := range found.Volumes {
		if g.volume == fs.VolumeDir(vol.Disk(), vol.Name) || g.volume == vol.Disk()+"/"+vol.Name {
			return files.Single(ctx, vol)
		}
	}
	return nil, g.withVolumes(found, fmt.Errorf("%s@%s has no volume %s whose files can be read: %w", nameText(v.VM), v.ID, nameText(g.volume), iofs.ErrNotExist))
}

// withVolumes says which volumes there are.
func (g *guests) withVolumes(found *files.Found, err error) error {
	var list []string
	for _, vol := range found.Volumes {
		list = append(list, fmt.Sprintf("%s (%s)", fs.VolumeDir(vol.Disk(), vol.Name), vol.Type))
	}
	if len(list) == 0 {
		return withHint(notThere(err), "none of its volumes can be read; see files/volumes.json in a mount")
	}
	return withHint(notThere(err), "name one: --volume "+strings.Join(list, ", "))
}

// at opens the file that a reference names.
func (g *guests) at(ctx context.Context, ref guestRef, follow bool) (*files.Space, files.Place, *catalog.Version, error) {
	v, err := resolve(ctx, g.h, ref.Ref)
	if err != nil {
		return nil, files.Place{}, nil, err
	}
	space, err := g.open(ctx, v)
	if err != nil {
		return nil, files.Place{}, nil, err
	}
	p, err := space.Resolve(ctx, ref.Path, follow)
	if err != nil {
		return nil, files.Place{}, nil, notThere(fmt.Errorf("%s@%s:%w", nameText(v.VM), v.ID, err))
	}
	return space, p, v, nil
}

// notThere gives a name that a guest does not have its status.
func notThere(err error) error {
	if errors.Is(err, iofs.ErrNotExist) {
		return withStatus(exitNotFound, err)
	}
	return err
}

// typeLetters are those of find -type and ls -l.
var typeLetters = map[guest.Type]string{
	guest.Regular: "f", guest.Directory: "d", guest.Symlink: "l", guest.CharDevice: "c", guest.BlockDevice: "b", guest.FIFO: "p", guest.Socket: "s",
}

// fileView is a file of a guest.
type fileView struct {
	Path      string     `json:"path"`
	PathBytes []byte     `json:"path_bytes,omitempty"` // where it is not valid UTF-8
	Type      string     `json:"type"`                 // a letter, as find -type has it
	Mode      string     `json:"mode"`                 // octal
	UID       uint32     `json:"uid"`
	GID       uint32     `json:"gid"`
	Links     uint32     `json:"links"`
	Size      int64      `json:"size"`
	Allocated int64      `json:"allocated"`
	Mtime     time.Time  `json:"mtime"`
	Ctime     time.Time  `json:"ctime"`
	Btime     *time.Time `json:"btime,omitempty"`
	Inode     uint64     `json:"inode"`
	Target    string     `json:"target,omitempty"` // of a link
}

func viewFile(path string, a guest.Attr) fileView {
	name := viewName(path)
	v := fileView{
		Path: name.Name, PathBytes: name.Bytes, Type: typeLetters[a.Type], Mode: fmt.Sprintf("%04o", a.Perm), UID: a.UID, GID: a.GID,
		Links: a.Links, Size: a.Size, Allocated: a.Allocated, Mtime: jsonTime(a.Mtime), Ctime: jsonTime(a.Ctime), Inode: uint64(a.Node),
	}
	if !a.Btime.IsZero() {
		b := jsonTime(a.Btime)
		v.Btime = &b
	}
	return v
}

// jsonTime holds a guest's time to what RFC 3339 can say.
func jsonTime(t time.Time) time.Time {
	t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		return time.Time{}
	}
	return t
}
