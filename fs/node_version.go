package fs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/fs/image"
)

// versionNode is MNT/<vm>/<id>: version.json and the images. What is in it
// follows from the manifest alone and never changes. The manifest is fetched
// again when somebody looks inside later: ls -l of a VM makes a node of each of its
// versions, and the kernel keeps those for long.
type versionNode struct {
	node
	vm, id string
	at     time.Time

	mu   sync.Mutex // guards what follows
	list []versionEntry
	v    *catalog.Version // while the tree remembers it from the look-up
}

// versionEntry is one name in a directory whose names follow from a version.
type versionEntry struct {
	name string
	id   fusefs.StableAttr // with its mode
	// enter answers a look-up of the name: it sets out and returns the node.
	enter func(ctx context.Context, out *fuse.EntryOut) (*fusefs.Inode, error)
}

var (
	_ fusefs.NodeLookuper       = (*versionNode)(nil)
	_ fusefs.NodeOpendirHandler = (*versionNode)(nil)
	_ fusefs.NodeGetattrer      = (*versionNode)(nil)
	_ fusefs.NodeStatfser       = (*versionNode)(nil)
)

func newVersionNode(t *tree, v *catalog.Version) *versionNode {
	n := &versionNode{node: node{t: t}, vm: v.VM, id: v.ID, at: v.Time, v: v}
	t.recent.add(n)
	return n
}

// manifest returns what the node was made of.
func (n *versionNode) manifest(ctx context.Context) (v *catalog.Version, err error) {
	n.mu.Lock()
	v = n.v
	n.mu.Unlock()
	if v != nil {
		return v, nil
	}
	return catalog.Get(ctx, n.t.store, n.vm, n.id)
}

// forget drops the manifest.
func (n *versionNode) forget() {
	n.mu.Lock()
	n.v = nil
	n.mu.Unlock()
}

// recent are the versions that were looked up last: ls -lR looks at all of a VM's,
// and then into each of them. Their manifests are in memory, about 1.5 KiB each.
type recent struct {
	mu   sync.Mutex // guards what follows
	ring [1024]*versionNode
	next int
}

func (r *recent) add(n *versionNode) {
	r.mu.Lock()
	old := r.ring[r.next]
	r.ring[r.next] = n
	r.next = (r.next + 1) % len(r.ring)
	r.mu.Unlock()
	if old != nil {
		old.forget()
	}
}

// entries returns the version's names.
func (n *versionNode) entries(ctx context.Context) (list []versionEntry, err error) {
	n.mu.Lock()
	list = n.list
	n.mu.Unlock()
	if list != nil {
		return list, nil
	}
	err = patiently(ctx, func(ctx context.Context) error {
		v, err := n.manifest(ctx)
		if err == nil {
			list = n.entriesOf(v)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list, n.v = list, nil
	return list, nil
}

func (n *versionNode) entriesOf(v *catalog.Version) (list []versionEntry) {
	for i := range v.Disks {
		d := &v.Disks[i]
		data, err := disk.Open(n.t.chunks, n.t.maps, d.Map)
		for _, f := range image.Formats() {
			if image.Supports(f, d.Map.Size, d.Map.Grains) {
				list = append(list, n.imageEntry(v, d, f, data, err))
			}
		}
	}
	return append(list, n.manifestEntry(v, list), n.filesEntry(v))
}

func (n *versionNode) filesEntry(v *catalog.Version) versionEntry {
	id := n.t.identifyIn(v, dirMode, filesName)
	return versionEntry{filesName, id, func(ctx context.Context, out *fuse.EntryOut) (*fusefs.Inode, error) {
		n.t.fill(&out.Attr, dirMode, 0, 0, v.Time)
		return n.NewInode(ctx, &filesNode{node: node{t: n.t}, v: v, found: new(foundOnce)}, id), nil
	}}
}

// Getattr implements fusefs.NodeGetattrer.
func (n *versionNode) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.t.count.getattrs.Add(1)
	n.t.fill(&out.Attr, dirMode, 0, 0, n.at)
	out.SetTimeout(forLong)
	return 0
}

// Lookup implements fusefs.NodeLookuper.
func (n *versionNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	n.t.count.lookups.Add(1)
	ch, err := n.find(ctx, name, out)
	if err != nil {
		return nil, n.t.errno(ctx, place{op: "look up " + name, vm: n.vm, version: n.id}, err)
	}
	keep(out, forLong)
	return ch, 0
}

func (n *versionNode) find(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, error) {
	list, err := n.entries(ctx)
	return enterNamed(ctx, list, err, name, out)
}

// enterNamed enters the entry of a name, unless the list could not be had.
func enterNamed(ctx context.Context, list []versionEntry, err error, name string, out *fuse.EntryOut) (*fusefs.Inode, error) {
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(e versionEntry) bool { return e.name == name })
	if i < 0 {
		return nil, errNoName
	}
	return list[i].enter(ctx, out)
}

// OpendirHandle implements fusefs.NodeOpendirHandler. The kernel may keep the
// listing.
func (n *versionNode) OpendirHandle(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return n.opendir(n.names), fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE, 0
}

func (n *versionNode) names(ctx context.Context) ([]fuse.DirEntry, syscall.Errno) {
	n.t.count.listings.Add(1)
	entries, err := n.entries(ctx)
	if err != nil {
		return nil, n.t.errno(ctx, place{op: "list", vm: n.vm, version: n.id}, err)
	}
	return dirEntries(entries), 0
}

func dirEntries(entries []versionEntry) []fuse.DirEntry {
	list := make([]fuse.DirEntry, len(entries))
	for i, e := range entries {
		list[i] = fuse.DirEntry{Name: e.name, Mode: e.id.Mode, Ino: e.id.Ino, Off: uint64(firstEntry + i)}
	}
	return list
}

// identifyIn names what is in a version.
func (t *tree) identifyIn(v *catalog.Version, mode uint32, kind string, parts ...string) fusefs.StableAttr {
	id := t.identify(append([]string{kind, v.VM, v.ID, string(v.UUID[:])}, parts...)...)
	id.Mode = mode & syscall.S_IFMT
	return id
}

// imageEntry is an image of a disk that data reads; failed is why there is no data.
func (n *versionNode) imageEntry(v *catalog.Version, d *catalog.Disk, f image.Format, data *disk.Reader, failed error) versionEntry {
	id := n.t.identifyIn(v, fileMode, "image", d.Name, string(d.UUID[:]), string(f))
	return versionEntry{FileName(d.Name, f.Ext()), id, func(ctx context.Context, out *fuse.EntryOut) (*fusefs.Inode, error) {
		if failed != nil {
			return nil, fmt.Errorf("disk %q: %w", d.Name, failed)
		}
		img, err := newImageNode(n.t, v, d, f, data)
		if err != nil {
			return nil, err
		}
		img.fill(&out.Attr)
		return n.NewInode(ctx, img, id), nil
	}}
}

func (n *versionNode) manifestEntry(v *catalog.Version, images []versionEntry) versionEntry {
	id := n.t.identifyIn(v, fileMode, "version.json")
	var names []string
	for _, e := range images {
		names = append(names, e.name)
	}
	return versionEntry{versionName, id, func(ctx context.Context, out *fuse.EntryOut) (*fusefs.Inode, error) {
		text := &textNode{node: node{t: n.t}, at: v.Time, text: func() ([]byte, error) { return manifestText(v, names) }}
		if err := describe(v, names, func(made []byte) { text.size = len(made) }); err != nil {
			return nil, err
		}
		return text.enter(ctx, &n.Inode, id, out), nil
	}}
}

// manifestText returns version.json, to be kept.
func manifestText(v *catalog.Version, images []string) (text []byte, err error) {
	err = describe(v, images, func(made []byte) { text = slices.Clone(made) })
	return text, err
}

// describe makes version.json and calls use with it, which must not keep it. JSON can't
// carry every name, so the path of the version and the names of its images stand there as the
// tree writes them.
func describe(v *catalog.Version, images []string, use func([]byte)) error {
	doc := struct {
		VM    string   `json:"vm"`
		Path  string   `json:"path"`
		Files []string `json:"files"`
		*catalog.Version
	}{v.VM, VersionPath("", v), images, v}
	w := jsonWriters.Get().(*jsonWriter)
	w.buf.Reset()
	if err := w.enc.Encode(doc); err != nil {
		return err // the encoder keeps it, too
	}
	use(w.buf.Bytes())
	jsonWriters.Put(w)
	return nil
}

// jsonWriter is an encoder with its buffers. A listing describes each version it meets.
type jsonWriter struct {
	buf bytes.Buffer
	enc *json.Encoder // to buf
}

var jsonWriters = sync.Pool{New: func() any {
	w := new(jsonWriter)
	w.enc = json.NewEncoder(&w.buf)
	w.enc.SetIndent("", "  ")
	return w
}}
