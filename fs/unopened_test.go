package fs

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"holdfast/chunkstore/catalog"
)

// TestListingsOfWhatStays: the kernel asks for the names in a version once, and for those of
// the root and of VMs each time, as they may be others.
func TestListingsOfWhatStays(t *testing.T) {
	s := &shrinking{testStore: newStore(t)}
	c := newContent("vda", 1<<16, 1)
	v := commit(t, s.testStore, "web", day, c)
	m := mountTest(t, s, Options{})
	if m.server.KernelSettings().Flags&fuse.CAP_NO_OPENDIR_SUPPORT == 0 {
		t.Fatal("this kernel opens directories: the test needs 5.1 or later")
	}
	root, web, version := m.Dir(), m.Dir()+"/web", VersionPath(m.Dir(), v)
	const rounds = 3
	shows := func(dir string, want int, listed int64) {
		t.Helper()
		before := m.Stats().Listings
		for i := range rounds {
			// Who looks at what he finds makes the kernel ask for the end in another way.
			if got := readNames(t, dir, i > 0); len(got) != want {
				t.Errorf("%s holds %q, want %d names", dir, got, want)
			}
		}
		if n := m.Stats().Listings - before; n != listed {
			t.Errorf("%s was listed %d times, want %d", dir, n, listed)
		}
	}
	shows(root, 2, rounds)
	shows(web, 2, rounds)
	shows(version, 7, 1)
	shows(version, 7, 0)
	w := commit(t, s.testStore, "web", day.Add(-time.Hour), c) // an older one: latest stays
	shows(web, 3, rounds)
	commit(t, s.testStore, "db", day, c)
	shows(root, 3, rounds)
	s.mu.Lock()
	s.gone = w.ID
	s.mu.Unlock()
	shows(web, 2, rounds)
	shows(version, 7, 0)
}

// readNames reads a directory, and looks at each name before it reads on if look.
func readNames(t *testing.T, dir string, look bool) (all []string) {
	t.Helper()
	fd := openRaw(t, dir, unix.O_DIRECTORY)
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return all
		}
		var some []string
		_, _, some = unix.ParseDirent(buf[:n], -1, nil)
		all = append(all, some...)
		for _, name := range some {
			if !look {
				continue
			}
			if err := unix.Lstat(dir+"/"+name, new(unix.Stat_t)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestNamesComeAndGoWhileTheyAreRead: a reader in the middle gets every name that stays
// once, whether or not his open directory is still kept.
func TestNamesComeAndGoWhileTheyAreRead(t *testing.T) {
	entries := func(names ...string) (list []fuse.DirEntry) {
		for _, n := range names {
			list = append(list, fuse.DirEntry{Name: n})
		}
		return list
	}
	var c changing
	c.set(entries("latest", "b", "d", "f"))
	had := c.entries
	open := func() *listing {
		n := node{t: &tree{}}
		l := n.opendir(func(context.Context) ([]fuse.DirEntry, syscall.Errno) { return c.entries, 0 })
		return l
	}
	rest := func(l *listing) (got []string) {
		for {
			e, errno := l.Readdirent(t.Context())
			if errno != 0 {
				t.Fatal(errno)
			}
			if e == nil {
				return got
			}
			got = append(got, e.Name)
		}
	}
	l := open()
	var read [][]string // by how many were read before
	for i := range 7 {
		if errno := l.Seekdir(t.Context(), uint64(i)); errno != 0 {
			t.Fatal(errno)
		}
		read = append(read, rest(l))
	}
	all := []string{".", "..", "latest", "b", "d", "f"}
	for i, got := range read {
		if !slices.Equal(got, all[i:]) {
			t.Errorf("behind the offset %d: %q, want %q", i, got, all[i:])
		}
	}
	c.set(entries("latest", "a", "d", "e", "f")) // b went, a and e came
	if len(had) != 4 || had[1].Name != "b" {
		t.Errorf("who reads the names gets others: %v", had)
	}
	for off, want := range map[uint64][]string{
		3: {"d", "f", "a", "e"}, // behind latest
		4: {"d", "f", "a", "e"}, // behind b, which is no more
		5: {"f", "a", "e"},
		7: {"e"}, 8: nil, 1 << 40: nil,
	} {
		l := open()
		if errno := l.Seekdir(t.Context(), off); errno != 0 {
			t.Fatal(errno)
		}
		if got := rest(l); !slices.Equal(got, want) {
			t.Errorf("behind the offset %d: %q, want %q", off, got, want)
		}
	}
	c.set(entries("latest", "b")) // it is another one
	if off := c.entries[1].Off; off != 9 {
		t.Errorf("a name that came again has the offset %d", off)
	}
}

// TestManyReadersOfADirectory: more readers than open directories are kept read a part
// each, and then go on: each gets every name once.
func TestManyReadersOfADirectory(t *testing.T) {
	const count = 200
	s := newStore(t)
	v := commit(t, s, "web", day, newContent("vda", 64<<10, 1))
	many := &bulk{}
	var want []string
	for i := range count {
		w := *v
		w.Time, w.UUID = day.Add(time.Duration(i)*time.Minute), uuid(fmt.Sprint(i))
		if err := catalog.Commit(t.Context(), many, &w); err != nil {
			t.Fatal(err)
		}
		want = append(want, w.ID)
	}
	want = append(want, "latest")
	slices.Sort(want)
	m := mountTest(t, &manyRoots{testStore: s, bulk: many}, Options{})

	var readers []int
	got := map[int][]string{}
	buf := make([]byte, 4096)
	read := func(fd int) (more bool) {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		_, _, got[fd] = unix.ParseDirent(buf[:n], -1, got[fd])
		return n > 0
	}
	for range maxKept + 6 {
		fd := openRaw(t, m.Dir()+"/web", unix.O_DIRECTORY)
		readers = append(readers, fd)
		if !read(fd) || len(got[fd]) >= count {
			t.Fatalf("one read gives %d names", len(got[fd]))
		}
	}
	for _, fd := range readers {
		for read(fd) {
		}
		if slices.Sort(got[fd]); !slices.Equal(got[fd], want) {
			t.Errorf("a reader got %d names, want %d once each", len(got[fd]), len(want))
		}
	}
}

// TestNewNamesBesideOtherReaders: who begins after a name came gets it, whoever is in the
// middle of the directory.
func TestNewNamesBesideOtherReaders(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 64<<10, 1)
	for i := range 60 {
		commit(t, s, "web", day.Add(time.Duration(i)*time.Minute), c)
	}
	m := mountTest(t, s, Options{})
	buf := make([]byte, 4096)
	read := func(fd int) []string {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		_, _, got := unix.ParseDirent(buf[:n], -1, nil)
		return got
	}
	before := openRaw(t, m.Dir()+"/web", unix.O_DIRECTORY)
	read(before)
	id := commit(t, s, "web", day.Add(100*time.Minute), c).ID
	after := openRaw(t, m.Dir()+"/web", unix.O_DIRECTORY)
	names := read(after)
	read(before) // goes on first
	for some := read(after); len(some) > 0; some = read(after) {
		names = append(names, some...)
	}
	if !slices.Contains(names, id) {
		t.Errorf("%s is not among %d names", id, len(names))
	}
}

// openedNodes counts what is open of each node, and breaks the rules as go-fuse does.
type openedNodes struct {
	fuse.RawFileSystem
	t      *testing.T
	mu     sync.Mutex // guards what follows
	opened uint64
	node   map[uint64]uint64 // by handle
	gone   map[uint64]bool
	stuck  chan struct{} // releases of node 1 wait for it; nil: none do
	status fuse.Status   // of the next reads
}

func (o *openedNodes) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opened++
	out.Fh, out.OpenFlags = o.opened, fuse.FOPEN_CACHE_DIR
	o.node[out.Fh] = in.NodeId
	return fuse.OK
}

func (o *openedNodes) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.node[in.Fh] != in.NodeId {
		o.t.Errorf("node %d is read by the handle of %d", in.NodeId, o.node[in.Fh])
	}
	if in.Offset < 3 {
		out.AddDirEntry(fuse.DirEntry{Name: "a", Off: in.Offset + 1})
	}
	return o.status
}

func (o *openedNodes) ReleaseDir(in *fuse.ReleaseIn) {
	if in.NodeId == 1 {
		<-o.stuck
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.node[in.Fh] != in.NodeId || o.gone[in.NodeId] {
		o.t.Errorf("the handle %d of node %d (gone: %v) is released as one of %d", in.Fh, o.node[in.Fh], o.gone[in.NodeId], in.NodeId)
	}
	delete(o.node, in.Fh)
}

func (o *openedNodes) Forget(node, _ uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone[node] = true
}

// TestKeptDirectoriesAreBounded: what is open goes with its node, with an error, and
// when too much is; who goes on gets what is kept for him.
func TestKeptDirectoriesAreBounded(t *testing.T) {
	nodes := &openedNodes{t: t, node: map[uint64]uint64{}, gone: map[uint64]bool{}}
	u := newUnopened(nodes)
	read := func(node, off uint64) {
		t.Helper()
		in := &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: node}, Offset: off}
		if got := u.ReadDir(nil, in, fuse.NewDirEntryList(make([]byte, 64), off)); got != nodes.status {
			t.Errorf("%v, want %v", got, nodes.status)
		}
	}
	open := func(want int, opened uint64) {
		t.Helper()
		u.mu.Lock()
		defer u.mu.Unlock()
		for len(u.leaving) > 0 {
			u.left.Wait()
		}
		if len(nodes.node) != want || len(u.kept) != want || nodes.opened != opened {
			t.Errorf("%d open, %d kept, %d opened in all; want %d, %d and %d", len(nodes.node), len(u.kept), nodes.opened, want, want, opened)
		}
	}
	for off := range uint64(5) {
		read(7, min(off, 3))
		open(1, 1)
	}
	read(7, 0) // another reader
	open(2, 2)
	read(7, 2) // nobody is there
	open(3, 3)
	u.Forget(7, 1)
	open(0, 3)
	read(8, 0)
	u.kept[0].from, u.kept[0].off = 0, 3 // an answer of three names, of which the reader takes two
	read(8, 2)
	open(1, 4)
	u.Forget(8, 1)
	nodes.opened--
	read(90, 0)
	for node := range uint64(2 * maxKept) { // directories that are read to their end don't push one out that is not
		read(1000+node, 0)
		read(1000+node, 1)
		read(1000+node, 2)
		read(1000+node, 3)
	}
	read(90, 1)
	open(2*maxKept+1-5*dropAtOnce, 2*maxKept+4) // the first when 64 were kept and 16 more when there were again
	for node := range uint64(maxKept + 5) {
		read(100+node, 0)
	}
	open(maxKept, 3*maxKept+9)
	u.Forget(100, 1) // its directory is not kept any more
	nodes.status = fuse.EIO
	read(200, 0)
	read(100+maxKept, 1)
	open(maxKept-1, 3*maxKept+10)
}

// TestReleaseThatWaits: others read while a directory can't be released yet, and its
// node is forgotten after it.
func TestReleaseThatWaits(t *testing.T) {
	nodes := &openedNodes{t: t, node: map[uint64]uint64{}, gone: map[uint64]bool{}, stuck: make(chan struct{})}
	u := newUnopened(nodes)
	for node := range uint64(2 * maxKept) {
		in := &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: 1 + node}}
		if got := u.ReadDir(nil, in, fuse.NewDirEntryList(make([]byte, 64), 0)); got != fuse.OK {
			t.Fatal(got)
		}
	}
	forgotten := make(chan struct{})
	go func() { u.Forget(1, 1); close(forgotten) }()
	close(nodes.stuck)
	<-forgotten // ReleaseDir tells if it comes after
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.leaving[1] > 0 {
		t.Error("the node is forgotten before its directory is released")
	}
}
