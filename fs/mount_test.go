package fs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/chunkstore/catalog"
	"holdfast/fs/image"
)

func names(t testing.TB, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestTreeShows(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 3<<20, 1)
	commit(t, s, "web", day, c)
	v := commit(t, s, "web", day.Add(time.Hour), c, newContent("a/b", 1<<20, 2))
	m := mountTest(t, s, Options{})

	if got := names(t, m.Dir()); !slices.Equal(got, []string{"README.txt", "web"}) {
		t.Fatalf("root holds %q", got)
	}
	if got := names(t, m.Dir()+"/web"); !slices.Equal(got, []string{"2026-11-21T02-00-00Z", "2026-11-21T03-00-00Z", "latest"}) {
		t.Fatalf("VM holds %q", got)
	}
	want := []string{"a%2Fb.qcow2", "a%2Fb.raw", "a%2Fb.vhd", "a%2Fb.vhdx", "a%2Fb.vmdk", "files", "vda.qcow2", "vda.raw", "vda.vhd", "vda.vhdx", "vda.vmdk", "version.json"}
	if got := names(t, m.Dir()+"/web/latest"); !slices.Equal(got, want) {
		t.Fatalf("version holds %q", got)
	}
	if link, err := os.Readlink(m.Dir() + "/web/latest"); err != nil || link != v.ID {
		t.Fatalf("latest is %q, %v, want %q", link, err, v.ID)
	}
	if b, err := os.ReadFile(m.Dir() + "/README.txt"); err != nil || string(b) != readme {
		t.Fatalf("README.txt: %q, %v", b, err)
	}
	b, err := os.ReadFile(m.Dir() + "/web/latest/version.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		VM    string
		Path  string
		ID    string
		Files []string
		Disks []struct {
			Name string
			Map  struct{ Size int64 }
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil || doc.VM != "web" || doc.ID != v.ID || doc.Path != "web/"+v.ID || len(doc.Files) != 10 || doc.Disks[0].Map.Size != 3<<20 {
		t.Fatalf("version.json: %v\n%s", err, b)
	}
}

func TestStatTells(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 5<<20+12345, 3)
	v := commit(t, s, "web", day, c)
	m := mountTest(t, s, Options{})
	before := s.gets.Load()
	var st unix.Stat_t
	if err := unix.Stat(rawPath(m, v, "vda"), &st); err != nil {
		t.Fatal(err)
	}
	var data int64
	for _, r := range c.runs {
		data += r[1] - r[0]
	}
	switch {
	case st.Size != int64(len(c.bytes)):
		t.Errorf("size %d, want %d", st.Size, len(c.bytes))
	case st.Blocks != (data+511)/512:
		t.Errorf("%d blocks, want %d", st.Blocks, (data+511)/512)
	case st.Mode != syscall.S_IFREG|0o444 || st.Nlink != 1:
		t.Errorf("mode %o, %d links", st.Mode, st.Nlink)
	case st.Mtim.Sec != day.Unix():
		t.Errorf("mtime %v, want %v", time.Unix(st.Mtim.Unix()), day)
	case st.Uid != uint32(os.Getuid()) || st.Gid != uint32(os.Getgid()):
		t.Errorf("owner %d:%d", st.Uid, st.Gid)
	}
	filepath.WalkDir(m.Dir(), func(path string, d os.DirEntry, err error) error {
		if err == nil {
			_, err = d.Info()
		}
		if err != nil {
			t.Error(err)
		}
		if d.Name() == filesName {
			return filepath.SkipDir // the guest's files are read from the disk
		}
		return nil
	})
	if got := s.gets.Load(); got != before {
		t.Errorf("walking and stat read %d chunks", got-before)
	}
	var fst unix.Statfs_t
	if err := unix.Statfs(m.Dir(), &fst); err != nil || fst.Blocks == 0 || fst.Bfree != 0 || fst.Namelen != 255 {
		t.Errorf("statfs: %+v, %v", fst, err)
	}
}

// The formats that can't hold a disk are absent; the sizes are what arithmetic
// says for a disk that would take days to read.
func TestHugeDisk(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 1<<20, 1)
	v := commit(t, s, "big", day, c)
	huge := *v
	huge.Time, huge.UUID = day.Add(time.Hour), uuid("huge")
	huge.Disks = []catalog.Disk{{Name: "vda", UUID: uuid("disk"), Format: "raw"}}
	huge.Disks[0].Map.Size = 64 << 40
	ses, err := s.Begin(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer ses.Close()
	if err := catalog.Commit(t.Context(), ses, &huge); err != nil {
		t.Fatal(err)
	}
	m := mountTest(t, s, Options{})
	list := names(t, VersionPath(m.Dir(), &huge))
	if !slices.Equal(list, []string{"files", "vda.qcow2", "vda.raw", "vda.vhdx", "vda.vmdk", "version.json"}) {
		t.Fatalf("a disk of 64 TiB shows %q", list)
	}
	f, err := os.Open(rawPath(m, &huge, "vda"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() != 64<<40 || st.Sys().(*syscall.Stat_t).Blocks != 0 {
		t.Fatalf("%v, %v", st, err)
	}
	if _, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA); err != unix.ENXIO {
		t.Errorf("SEEK_DATA in a hole of 64 TiB: %v", err)
	}
	b := make([]byte, 4096)
	if _, err := f.ReadAt(b, 64<<40-4096); err != nil || !bytes.Equal(b, make([]byte, 4096)) {
		t.Errorf("the last block: %v", err)
	}
}

func TestInodesAreStable(t *testing.T) {
	s := newStore(t)
	commit(t, s, "web", day, newContent("vda", 1<<20, 1))
	commit(t, s, "db", day, newContent("vda", 1<<20, 1), newContent("vdb", 1<<20, 1))
	walk := func(m *Mounted) map[string]uint64 {
		all := map[string]uint64{}
		seen := map[uint64]string{}
		filepath.WalkDir(m.Dir(), func(path string, d os.DirEntry, err error) error {
			if err != nil {
				t.Fatal(err)
			}
			st, err := d.Info()
			if err != nil {
				t.Fatal(err)
			}
			ino := st.Sys().(*syscall.Stat_t).Ino
			rel, _ := filepath.Rel(m.Dir(), path)
			if was, ok := seen[ino]; ok {
				t.Errorf("%s and %s have inode %d", was, rel, ino)
			}
			all[rel], seen[ino] = ino, rel
			return nil
		})
		return all
	}
	m1 := mountTest(t, s, Options{})
	first := walk(m1)
	if len(first) < 15 {
		t.Fatalf("only %d nodes", len(first))
	}
	second := walk(mountTest(t, s, Options{}))
	for path, ino := range first {
		if second[path] != ino {
			t.Errorf("%s: inode %d, then %d", path, ino, second[path])
		}
	}
	// Listings tell the same numbers as stat.
	for _, dir := range []string{"", "web", "web/2026-11-21T02-00-00Z"} {
		for name, ino := range direntInos(t, filepath.Join(m1.Dir(), dir)) {
			if want := first[filepath.Join(dir, name)]; ino != want {
				t.Errorf("%s/%s is listed with inode %d, stat says %d", dir, name, ino, want)
			}
		}
	}
}

// direntInos lists a directory with the inode numbers of its entries.
func direntInos(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	list := map[string]uint64{}
	buf := make([]byte, 8192)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return list
		}
		for b := buf[:n]; len(b) > 0; {
			ino, reclen := uint64(b[0])|uint64(b[1])<<8|uint64(b[2])<<16|uint64(b[3])<<24|uint64(b[4])<<32|uint64(b[5])<<40|uint64(b[6])<<48|uint64(b[7])<<56, int(b[16])|int(b[17])<<8
			name := string(b[19 : 19+bytes.IndexByte(b[19:reclen], 0)])
			if name != "." && name != ".." {
				list[name] = ino
			}
			b = b[reclen:]
		}
	}
}

// Whatever a name holds, the VM and the disk are there and hold their bytes.
func TestNamesRoundTrip(t *testing.T) {
	s := newStore(t)
	list := []string{
		"web", "Web", "WEB", "a/b", "a\x00b", ".", "..", ".hidden", "README.txt", "latest", "version.json", "files",
		"\xff\xfe", "%", "%2F", "%~", "new\nline", "é", "e\u0301", "x.raw",
		strings.Repeat("n", 255), strings.Repeat("é", 127), strings.Repeat("/", 255), strings.Repeat("/", 254) + "x",
	}
	byName := map[string]*content{}
	for i, name := range list {
		c := newContent(name, 64<<10+int64(i), uint64(i))
		byName[name] = c
		commit(t, s, name, day, c)
	}
	m := mountTest(t, s, Options{})
	for i := range 2 { // by path, then as listed
		for name, c := range byName {
			path := ImagePath(m.Dir(), &catalog.Version{VM: name, ID: "latest"}, name, image.Raw)
			if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, c.bytes) {
				t.Errorf("round %d: %q at %q: %d bytes, %v", i, name, path, len(b), err)
			}
		}
		if got := names(t, m.Dir()); len(got) != len(list)+1 {
			t.Errorf("%d names for %d VMs: %q", len(got)-1, len(list), got)
		}
	}
	for _, absent := range []string{"nobody", "%2E", "%2e", "README.TXT", "%41", "%", ".hidden", "web%", strings.Repeat("z", 256), "web/latest/vda.raw", "web/2026", "web/2026-11-21T02-00-00Z/file", "web/latest/files/vda", "web/latest/web.RAW"} {
		if absent == "%2E" {
			continue // it is a VM here
		}
		_, err := os.Lstat(filepath.Join(m.Dir(), absent))
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENAMETOOLONG) {
			t.Errorf("%q: %v", absent, err)
		}
	}
}

func TestNewVersionsAppear(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 1<<20, 1)
	commit(t, s, "web", day, c)
	m := mountTest(t, s, Options{})
	appears := func(v *catalog.Version) {
		t.Helper()
		if _, err := os.Stat(rawPath(m, v, "vda")); err != nil {
			t.Errorf("at once: %v", err)
		}
		for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			link, err := os.Readlink(filepath.Join(m.Dir(), Escape(v.VM), "latest"))
			if link == v.ID && slices.Contains(names(t, m.Dir()), v.VM) && slices.Contains(names(t, filepath.Join(m.Dir(), v.VM)), v.ID) {
				if st, err := os.Lstat(filepath.Join(m.Dir(), v.VM, "latest")); err != nil || st.Size() != int64(len(v.ID)) {
					t.Errorf("latest: %v, %v", st, err)
				}
				return
			}
			if time.Since(began) > 30*time.Second { // tests/ measures the promise of a second
				t.Errorf("after half a minute latest is %q, %v, want %q", link, err, v.ID)
				return
			}
		}
	}
	if _, err := os.Stat(m.Dir() + "/db"); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	names(t, m.Dir()+"/web")
	appears(commit(t, s, "web", day.Add(time.Hour), c))
	appears(commit(t, s, "web", day.Add(time.Hour), c)) // -02
	appears(commit(t, s, "db", day, c))
	old := commit(t, s, "web", day.Add(-time.Hour), c)
	if link, err := os.Readlink(m.Dir() + "/web/latest"); err != nil || link == old.ID {
		t.Errorf("an older version became the latest: %q, %v", link, err)
	}
	if _, err := os.Stat(rawPath(m, old, "vda")); err != nil {
		t.Error(err)
	}
}

func TestManyVersions(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 64<<10, 1)
	v := commit(t, s, "web", day, c)
	const count = 10000
	many := &bulk{}
	for i := range count {
		w := *v
		w.Time, w.UUID = day.Add(time.Duration(i)*time.Minute), uuid(fmt.Sprint(i))
		if err := catalog.Commit(t.Context(), many, &w); err != nil {
			t.Fatal(err)
		}
	}
	big := &manyRoots{testStore: s, bulk: many}
	gets, lists := s.gets.Load(), s.lists.Load()
	began := time.Now()
	m := mountTest(t, big, Options{})
	mounted := time.Since(began)
	if s.gets.Load() != gets || s.lists.Load() != lists || big.looked.Load() > 0 {
		t.Errorf("the mount read %d chunks and %d roots", s.gets.Load()-gets, big.looked.Load())
	}
	began = time.Now()
	list := names(t, m.Dir()+"/web")
	listed := time.Since(began)
	if len(list) != count+1 {
		t.Fatalf("%d names, want %d", len(list), count+1)
	}
	if st := m.Stats(); st.Lookups > 50 || st.Listings != 1 {
		t.Errorf("listing took %d look-ups, %d listings", st.Lookups, st.Listings)
	}
	big.looked.Store(0)
	if _, err := os.Readlink(m.Dir() + "/web/latest"); err != nil {
		t.Fatal(err)
	}
	if big.looked.Load() > 20 {
		t.Errorf("latest looked at %d versions", big.looked.Load())
	}
	began = time.Now()
	for _, name := range list {
		if _, err := os.Lstat(m.Dir() + "/web/" + name); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d versions: mounted in %v, listed in %v, stat of each in %v", count, mounted, listed, time.Since(began))
	if mounted > time.Second || listed > 3*time.Second { // ten times and three times what is promised: the machine is shared
		t.Errorf("mounted in %v, listed in %v", mounted, listed)
	}
}

// Everything that would write fails with EROFS.
func TestWritesAreRefused(t *testing.T) {
	s := newStore(t)
	v := commit(t, s, "web", day, newContent("vda", 1<<20, 1))
	m := mountTest(t, s, Options{})
	raw, dir, link := rawPath(m, v, "vda"), VersionPath(m.Dir(), v), m.Dir()+"/web/latest"
	open := func(path string, flags int) error {
		fd, err := unix.Open(path, flags, 0o644)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	times := []unix.Timespec{{Sec: 1}, {Sec: 1}}
	for what, err := range map[string]error{
		"open rw":     open(raw, unix.O_RDWR),
		"open w":      open(raw, unix.O_WRONLY),
		"open trunc":  open(raw, unix.O_RDONLY|unix.O_TRUNC),
		"open readme": open(m.Dir()+"/README.txt", unix.O_RDWR),
		"create":      open(dir+"/new", unix.O_CREAT|unix.O_WRONLY),
		"create root": open(m.Dir()+"/new", unix.O_CREAT|unix.O_WRONLY),
		"tmpfile":     open(dir, unix.O_TMPFILE|unix.O_RDWR),
		"truncate":    unix.Truncate(raw, 0),
		"unlink":      unix.Unlink(raw),
		"unlink link": unix.Unlink(link),
		"rmdir":       unix.Rmdir(dir),
		"rmdir vm":    unix.Rmdir(m.Dir() + "/web"),
		"rename":      unix.Rename(raw, raw+"x"),
		"rename vm":   unix.Rename(m.Dir()+"/web", m.Dir()+"/x"),
		"mkdir":       unix.Mkdir(dir+"/x", 0o755),
		"mknod":       unix.Mknod(dir+"/x", unix.S_IFIFO|0o644, 0),
		"symlink":     unix.Symlink("a", dir+"/x"),
		"link":        unix.Link(raw, dir+"/x"),
		"chmod":       unix.Chmod(raw, 0o777),
		"chown":       unix.Chown(raw, 1, 1),
		"utimes":      unix.UtimesNanoAt(unix.AT_FDCWD, raw, times, 0),
		"setxattr":    unix.Setxattr(raw, "user.a", []byte("b"), 0),
		"removexattr": unix.Removexattr(raw, "user.a"),
		"access w":    unix.Access(raw, unix.W_OK),
	} {
		if err != unix.EROFS {
			t.Errorf("%s: %v, want EROFS", what, err)
		}
	}
	// And where a remount lets writes through to us, we refuse them.
	if err := unix.Mount("", m.Dir(), "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		t.Logf("remount rw: %v", err)
		return
	}
	for what, err := range map[string]error{
		"open rw":    open(raw, unix.O_RDWR),
		"open trunc": open(raw, unix.O_RDONLY|unix.O_TRUNC),
		"create":     open(dir+"/new", unix.O_CREAT|unix.O_WRONLY),
		"tmpfile":    open(dir, unix.O_TMPFILE|unix.O_RDWR),
		"truncate":   unix.Truncate(raw, 0),
		"unlink":     unix.Unlink(raw),
		"rmdir":      unix.Rmdir(dir),
		"rename":     unix.Rename(raw, raw+"x"),
		"mkdir":      unix.Mkdir(dir+"/x", 0o755),
		"mknod":      unix.Mknod(dir+"/x", unix.S_IFIFO|0o644, 0),
		"symlink":    unix.Symlink("a", dir+"/x"),
		"link":       unix.Link(raw, dir+"/x"),
		"chmod":      unix.Chmod(raw, 0o777),
		"chown":      unix.Chown(raw, 1, 1),
		"utimes":     unix.UtimesNanoAt(unix.AT_FDCWD, raw, times, 0),
	} {
		if err != unix.EROFS {
			t.Errorf("after a remount rw: %s: %v, want EROFS", what, err)
		}
	}
	if _, err := os.Stat(raw); err != nil {
		t.Error(err)
	}
}
