package media

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Leftover is a file that a crash left unfinished.
type Leftover struct {
	vfs.File
	dir  *Dir
	name string
	Size int64
}

// Unfinished lists what crashed writers left. Only the owner of the store may
// call it, and before it creates files of its own.
func (d *Dir) Unfinished() ([]string, error) {
	names, err := d.fs.List(d.fs.PathJoin(d.root, unfinishedDir))
	if err != nil {
		return nil, fmt.Errorf("list unfinished packs: %w", err)
	}
	return names, nil
}

// OpenUnfinished opens a leftover to read it, and to write behind its good
// part with WriteAt.
func (d *Dir) OpenUnfinished(name string) (*Leftover, error) {
	f, err := d.fs.OpenReadWrite(d.unfinished(name), writeCategory)
	if err != nil {
		return nil, fmt.Errorf("open unfinished pack: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open unfinished pack: %w", err)
	}
	return &Leftover{File: f, dir: d, name: name, Size: st.Size()}, nil
}

// Publish makes the leftover durable under its name.
func (l *Leftover) Publish() error {
	if _, err := l.dir.fs.Stat(l.dir.path(l.name)); err == nil {
		return fmt.Errorf("publish %s: %w", l.name, ErrExists)
	}
	if err := l.rewrite(); err != nil {
		return fmt.Errorf("write %s again: %w", l.name, err)
	}
	if err := l.File.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", l.name, err)
	}
	return l.dir.publish(l.name)
}

const rewriteStep = 1 << 20

// rewrite writes every byte over itself. A sync that failed in the writer's
// time may have left bytes in memory that are not on the disk and no longer
// marked to go there: they read well now, and another sync passes them over.
func (l *Leftover) rewrite() error {
	st, err := l.File.Stat()
	if err != nil {
		return err
	}
	buf := make([]byte, min(rewriteStep, st.Size()))
	for off := int64(0); off < st.Size(); off += rewriteStep {
		b := buf[:min(rewriteStep, st.Size()-off)]
		if n, err := l.File.ReadAt(b, off); n < len(b) {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
		if _, err := l.File.WriteAt(b, off); err != nil {
			return err
		}
	}
	return nil
}

// Discard removes a leftover that holds nothing.
func (l *Leftover) Discard() error {
	if err := l.dir.fs.Remove(l.dir.unfinished(l.name)); err != nil {
		return fmt.Errorf("remove unfinished pack: %w", err)
	}
	return nil
}
