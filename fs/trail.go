package fs

import (
	"slices"
	"sync"

	"holdfast/fs/files"
)

// What makes a trail, and how much of it is read ahead.
const (
	trailBegin  = 3         // opened files of one directory that make a trail
	trailStrays = 8         // opened files in a row that no listing named, before it ends
	trailFirst  = 256 << 10 // window: bytes that lie ahead in one directory
	trailLast   = 4 << 20
	trailUnused = 16 << 20 // bytes read ahead that nobody came for, before it ends
	trailFiles  = 4096     // that are remembered, in all directories
	trailDirs   = 64
)

// trail notices programs that go through a tree (tar, cp -r, rsync, grep -r): they
// list a directory, open one of its files after the other, and wait for each. What
// they will open next is what the listing named. The directory that was listed or
// read from last goes first, and when its files are through the one around it goes
// on. Any order within a directory will do.
//
// A directory of which three files were opened begins a trail. Each file that is
// opened after it was read ahead doubles the window, up to its end. It is over when
// files are opened that nobody listed, or when too much lies ahead that nobody came
// for: then all is forgotten. It is safe for concurrent use.
type trail struct {
	mu     sync.Mutex // guards what follows, and the directories
	wake   sync.Cond  // there may be something to choose, or it is closed
	known  map[listedKey]*listedFile
	dirs   []*listedDir // the one that was listed or read from last at the end
	window int64        // 0: there is no trail
	unused int64        // bytes read ahead and not opened, of all directories
	strays int
	closed bool
}

// listedKey names a file of a mount.
type listedKey struct {
	g  *guestTree
	at files.Place
}

// listedFile is a regular file that somebody saw in a directory and did not open.
type listedFile struct {
	listedKey
	node  *guestNode // nil: the kernel has its name and no inode
	bytes int64      // to read ahead
	dir   *listedDir
	ahead bool // it was read ahead
	done  bool // it was opened, or is forgotten
}

// listedDir is a directory that somebody listed.
type listedDir struct {
	files  []listedFile
	next   int   // all before it were chosen
	left   int   // files that are not done
	opened int   // files
	ahead  int64 // bytes read ahead and not opened
}

func newTrail() *trail {
	r := &trail{known: map[listedKey]*listedFile{}}
	r.wake.L = &r.mu
	return r
}

// close makes next return.
func (r *trail) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.wake.Broadcast()
}

// listed takes the regular files of a directory, in its order. The list is the
// trail's from then on.
func (r *trail) listed(list []listedFile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := &listedDir{files: list[:min(len(list), trailFiles)]}
	for i := range d.files {
		f := &d.files[i]
		if was := r.known[f.listedKey]; was != nil { // listed before, or another name of it
			r.settle(was)
		}
		r.known[f.listedKey] = f
		f.dir = d
		d.left++
	}
	if d.left == 0 {
		return
	}
	r.dirs = append(r.dirs, d)
	for len(r.dirs) > trailDirs || len(r.known) > trailFiles {
		r.forget(r.dirs[0])
	}
	r.wake.Broadcast()
}

// opened notes that somebody opens a file.
func (r *trail) opened(k listedKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.known[k]
	if f == nil {
		if r.strays++; r.strays > trailStrays {
			r.end()
		}
		return
	}
	d := f.dir
	d.opened++
	r.strays = 0
	switch {
	case f.ahead:
		r.window = min(2*r.window, trailLast)
	case r.window == 0 && d.opened >= trailBegin:
		r.window = trailFirst
	}
	r.settle(f)
	if i := slices.Index(r.dirs, d); i >= 0 {
		r.dirs = append(slices.Delete(r.dirs, i, i+1), d)
	}
	r.wake.Broadcast()
}

// next waits for a file to read ahead. It reports false when the trail is closed.
func (r *trail) next() (listedFile, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.closed {
		if f := r.choose(); f != nil {
			return *f, true
		}
		r.wake.Wait()
	}
	return listedFile{}, false
}

// choose returns the file to read ahead now, or nil.
func (r *trail) choose() *listedFile {
	if r.window == 0 {
		return nil
	}
	for _, d := range slices.Backward(r.dirs) {
		f := d.choose(r.window)
		if f == nil {
			continue
		}
		f.ahead = true
		d.ahead += f.bytes
		if r.unused += f.bytes; r.unused > trailUnused {
			r.end()
			return nil
		}
		return f
	}
	return nil
}

// choose returns the directory's next file while less than a window lies ahead.
func (d *listedDir) choose(window int64) *listedFile {
	for d.next < len(d.files) && d.ahead < window {
		f := &d.files[d.next]
		d.next++
		if !f.done {
			return f
		}
	}
	return nil
}

// settle ends what is known of a file, and of a directory with its last one.
func (r *trail) settle(f *listedFile) {
	d := f.dir
	delete(r.known, f.listedKey)
	f.done, f.node = true, nil
	if f.ahead {
		d.ahead -= f.bytes
		r.unused -= f.bytes
	}
	if d.left--; d.left == 0 {
		r.dirs = slices.DeleteFunc(r.dirs, func(x *listedDir) bool { return x == d })
	}
}

func (r *trail) forget(d *listedDir) {
	for i := range d.files {
		if f := &d.files[i]; !f.done {
			r.settle(f)
		}
	}
}

// end forgets all.
func (r *trail) end() {
	r.window, r.strays = 0, 0
	for len(r.dirs) > 0 {
		r.forget(r.dirs[0])
	}
}
