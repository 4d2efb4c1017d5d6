package xfs

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

var open = guesttest.Opener(Open)

// mkfs is a mkfs.xfs that makes small filesystems as well.
func mkfs(options ...string) []string {
	return append([]string{"mkfs.xfs", "--unsupported", "-q", "-f"}, options...)
}

// kinds are the ways to make a filesystem that the tests cover.
var kinds = []struct {
	name string
	size int64
	mkfs []string
	many int // names in the large directory; 0 for the default
}{
	{"default", 320 << 20, mkfs("-L", "a label"), 6000},
	{"1k", 128 << 20, mkfs("-b", "size=1k", "-i", "size=512"), 0},
	{"2k, directory blocks of 16k", 128 << 20, mkfs("-b", "size=2k", "-n", "size=16k"), 0},
	{"64k", 256 << 20, mkfs("-b", "size=64k"), 0},
	{"sectors of 4k, inodes of 2k", 128 << 20, mkfs("-s", "size=4k", "-i", "size=2048"), 0},
	{"many AGs", 200 << 20, mkfs("-d", "agcount=11", "-i", "nrext64=1"), 0},
	{"everything", 128 << 20, mkfs("-m", "rmapbt=1,reflink=1,finobt=1,bigtime=1,inobtcount=1", "-i", "nrext64=1,sparse=1", "-d", "agcount=2"), 0},
	{"little", 128 << 20, mkfs("-m", "rmapbt=0,reflink=0,finobt=0,bigtime=0,inobtcount=0", "-i", "nrext64=0,sparse=0", "-n", "size=64k"), 0},
	{"another uuid", 128 << 20, mkfs("-m", "uuid=11111111-2222-3333-4444-555555555555", "-l", "sunit=64"), 0},
}

// TestCleanImages compares filesystems of every kind with the kernel's mount,
// in all that can be seen, and their free space with xfs_db's list of it.
func TestCleanImages(t *testing.T) {
	for i, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			image := guesttest.Mkfs(t, kind.size, kind.mkfs...)
			guesttest.Mounted(t, image, func(dir string) {
				guesttest.PopulateTree(smallDevices{t}, dir, guesttest.Tree{Seed: uint64(i), Many: kind.many})
				reflink(t, dir)
			})
			if kind.name == "another uuid" {
				guesttest.Run(t, "xfs_admin", "-U", "generate", image)
				guesttest.Run(t, "xfs_repair", "-L", image) // writes the log anew
			}
			fs := guesttest.OpenImage(t, image, open)
			if st := fs.State(); st.Health != guest.Clean || st.Reason != "" || st.Type != "xfs" || st.Size > kind.size || st.Used < 1<<20 || st.Used > st.Size {
				t.Errorf("state %+v", st)
			}
			compareFree(t, fs, image)
			dir, _ := guesttest.Mount(t, image, "ro")
			guesttest.CompareTree(t, fs, dir)
		})
	}
}

// smallDevices lets Populate go on where XFS, whose device numbers have 14 and
// 18 bits, can't make a device with a minor number of 20.
type smallDevices struct{ testing.TB }

func (t smallDevices) Fatalf(format string, args ...any) {
	t.Helper()
	if message := fmt.Sprintf(format, args...); message != "populate: invalid argument" {
		t.Fatal(message)
	}
}

// reflink shares a file's blocks with another and changes some of them.
func reflink(t *testing.T, dir string) {
	t.Helper()
	if err := exec.Command("cp", "--reflink=always", dir+"/zeros", dir+"/shared").Run(); err != nil {
		t.Logf("left out: reflink: %v", err)
		return
	}
	fd, err := unix.Open(dir+"/shared", unix.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for off := int64(0); off < 1<<20; off += 100_000 {
		if _, err := unix.Pwrite(fd, []byte("changed"), off); err != nil {
			t.Fatal(err)
		}
	}
}

// freeByXfsDB lists free extents from the same B+trees, and block by block those
// of the AGFL, which are not free to us.
func freeByXfsDB(t testing.TB, fs guest.Filesystem, image string) map[guest.Range]bool {
	t.Helper()
	sb := fs.(*FS).sb
	all := map[guest.Range]bool{}
	for line := range strings.Lines(guesttest.Run(t, "xfs_db", "-r", "-c", "freesp -d", image)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			break // the histogram
		}
		var n [3]int64
		var failed error
		for i := range n {
			var err error
			if n[i], err = strconv.ParseInt(fields[i], 10, 64); err != nil {
				failed = err
			}
		}
		if failed == nil {
			all[guest.Range{Offset: sb.groupStart(uint32(n[0])) + n[1]*sb.blockSize, Length: n[2] * sb.blockSize}] = true
		}
	}
	return all
}

// compareFree holds free ranges against xfs_db.
func compareFree(t *testing.T, fs guest.Filesystem, image string) {
	t.Helper()
	want := freeByXfsDB(t, fs, image)
	got := 0
	err := fs.Free(t.Context(), func(r guest.Range) bool {
		got++
		if !want[r] {
			t.Errorf("free: %+v is not in xfs_db's list", r)
		}
		return !t.Failed()
	})
	if err != nil || got == 0 {
		t.Errorf("free: %d ranges, %v", got, err)
	}
	lists := 0
	for number := range fs.(*FS).sb.groups {
		b, err := fs.(*FS).groupHeader(t.Context(), number, agfSector, agfMagic, agfUUID, agfSum)
		if err != nil {
			t.Fatal(err)
		}
		lists += int(be.Uint32(b[48:]))
	}
	if len(want) < got || len(want) > got+lists {
		t.Errorf("free: %d ranges, xfs_db has %d with %d in free lists", got, len(want), lists)
	}
}

// smallImage makes an image that is quick to walk.
func smallImage(t testing.TB, options ...string) string {
	image := guesttest.Mkfs(t, 32<<20, mkfs(append([]string{"-b", "size=1k", "-d", "agcount=2"}, options...)...)...)
	guesttest.Mounted(t, image, func(dir string) { guesttest.PopulateFew(t, dir, 1) })
	return image
}

func TestCrashImages(t *testing.T) {
	for i, c := range []guesttest.Crash{
		{Size: 64 << 20, Mkfs: mkfs("-m", "rmapbt=1", "-i", "nrext64=1")},
		{Size: 64 << 20, Mkfs: mkfs("-b", "size=1k", "-d", "agcount=3"), Options: []string{"logbsize=256k"}},
		{Size: 64 << 20, Mkfs: mkfs("-l", "sunit=64"), Options: []string{"logbsize=64k"}},
		{Size: 96 << 20, Mkfs: mkfs("-m", "bigtime=0,reflink=0", "-n", "size=8k", "-s", "size=4k"), Ops: 3000},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			c.Seed = uint64(i)
			replayed := 0
			guesttest.CrashImages(t, c, guesttest.Rounds(t, 2), func(t testing.TB, snapshot, recovered string) {
				fs := guesttest.OpenImage(t, snapshot, open)
				st := fs.State()
				t.Logf("%v %d %s", st.Health, st.Replayed, st.Reason)
				if st.Health == guest.NotReplayed {
					t.Errorf("state %+v", st)
				}
				replayed += st.Replayed
				guesttest.CompareTree(t, fs, recovered)
				again := guesttest.Copy(t, snapshot)
				guesttest.Mounted(t, again, func(string) {}, "nouuid") // beside the one above
				freeAfterRecovery(t, fs, again)
			})
			if replayed == 0 {
				t.Error("nothing was ever replayed")
			}
		})
	}
}
