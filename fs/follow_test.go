package fs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"holdfast/chunkstore/pack"
	"holdfast/fs/guest/guesttest"
)

const (
	followTestFiles = 15     // one page of entries: of more, some kernels ask no inodes
	followTestBytes = 30_011 // of a file; all together they are less than two windows
)

// followWorld is a mount with a volume that has a directory of files.
type followWorld struct {
	*testing.T
	store *testStore
	m     *Mounted
	disk  *content
	dir   string
	names []string          // in the mount's order
	files map[string][]byte // by name
}

func newFollowWorld(t *testing.T) *followWorld {
	w := &followWorld{T: t, store: newStore(t), files: map[string][]byte{}}
	rnd := rand.NewChaCha8([32]byte{1})
	image := guesttest.Mkfs(t, 16<<20, "mkfs.ext4", "-q", "-F")
	guesttest.Mounted(t, image, func(dir string) {
		for i := range followTestFiles {
			b := make([]byte, followTestBytes)
			rnd.Read(b)
			name := fmt.Sprintf("file%03d", i)
			if err := errors.Join(os.MkdirAll(dir+"/dir", 0o755), os.WriteFile(filepath.Join(dir, "dir", name), b, 0o644)); err != nil {
				t.Fatal(err)
			}
			w.files[name] = b
		}
	})
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	w.disk = &content{name: "vda", bytes: b, runs: [][2]int64{{0, int64(len(b))}}}
	v := commit(t, w.store, "web", day, w.disk)
	w.m = mountTest(t, w.store, Options{})
	w.dir = filepath.Join(w.m.Dir(), "web", v.ID, "files/vda/disk/dir")
	return w
}

// list lists the directory, as who goes through it does first.
func (w *followWorld) list() {
	w.names = names(w, w.dir)
	if len(w.names) != followTestFiles {
		w.Fatalf("%d files: %q", len(w.names), w.names)
	}
}

func (w *followWorld) read(name string) error {
	b, err := os.ReadFile(filepath.Join(w.dir, name))
	if err == nil && !bytes.Equal(b, w.files[name]) {
		err = errors.New("other bytes than the guest's")
	}
	return err
}

func (w *followWorld) mustRead(names ...string) {
	w.Helper()
	for _, name := range names {
		if err := w.read(name); err != nil {
			w.Errorf("%s: %v", name, err)
		}
	}
}

// TestReadAheadOfADirectory: a look into a directory reads no file, nor does who
// opens two of its files; behind the third the others are there before they are
// asked for, and cost no request.
func TestReadAheadOfADirectory(t *testing.T) {
	w := newFollowWorld(t)
	w.list()
	w.mustRead(w.names[:trailBegin-1]...)
	if st := w.m.Stats(); st.FilesAhead != 0 || st.Pushed != 0 {
		t.Fatalf("%d files and %d bytes were read ahead without a trail", st.FilesAhead, st.Pushed)
	}
	w.mustRead(w.names[trailBegin-1])
	const window = (trailFirst + followTestBytes - 1) / followTestBytes
	waitFor(t, "a window to be read ahead", func() bool { return w.m.Stats().FilesAhead == window })
	before := w.m.Stats()
	if before.Pushed == 0 || before.Pushed > window*followTestBytes {
		t.Errorf("%d bytes pushed of %d files of %d", before.Pushed, window, followTestBytes)
	}
	w.mustRead(w.names[trailBegin : trailBegin+window]...)
	if st := w.m.Stats(); st.Reads-before.Reads >= window/2 { // the kernel may have dropped pages
		t.Errorf("%d reads for %d files that were read ahead", st.Reads-before.Reads, window)
	}
	w.mustRead(w.names[trailBegin+window:]...)
}

// TestReadAheadOfDamage: what can't be read ahead is an error of who reads it, and
// of nobody else.
func TestReadAheadOfDamage(t *testing.T) {
	w := newFollowWorld(t)
	w.list()
	hurt := w.names[followTestFiles/2]
	at := int64(bytes.Index(w.disk.bytes, w.files[hurt][:4096]))
	if at < 0 {
		t.Fatal("the file's bytes are not on the disk")
	}
	chunk := w.disk.bytes[at/pack.MaxChunk*pack.MaxChunk:][:pack.MaxChunk]
	w.store.damage(w.disk.ids[at/pack.MaxChunk], pack.Corrupt)
	w.mustRead(w.names[:trailBegin]...)
	waitFor(t, "files to be read ahead", func() bool { return w.m.Stats().FilesAhead > 0 })
	for _, name := range w.names[trailBegin:] {
		touched := false // it lies in that chunk, a part of it at least
		for off := 0; off < followTestBytes; off += 4096 {
			touched = touched || bytes.Contains(chunk, w.files[name][off:min(off+4096, followTestBytes)])
		}
		switch err := w.read(name); {
		case touched && !errors.Is(err, syscall.EIO):
			t.Errorf("%s lies in a damaged chunk: %v, want %v", name, err, syscall.EIO)
		case !touched && err != nil:
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.read(hurt); !errors.Is(err, syscall.EIO) {
		t.Errorf("%s, a second time: %v", hurt, err)
	}
}

// TestNoReadAhead: who wants nothing pushed gets nothing read ahead, and a listing
// that ends early or is empty is none.
func TestNoReadAhead(t *testing.T) {
	var s seen
	s.end(nil)
	s.end(nil)
	tr, err := newTree(newStore(t), Options{NoPush: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	if tr.follow != nil {
		t.Error("there is a reader ahead")
	}
}
