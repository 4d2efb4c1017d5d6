package volume

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// lvmTool runs LVM on loop devices without device-mapper.
func lvmTool(t testing.TB, loops []string) func(tool string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	var filter string
	for _, l := range loops {
		filter += fmt.Sprintf("%q,", "a|^"+l+"$|")
	}
	conf := fmt.Sprintf("devices { filter=[%s\"r|.*|\"] use_devicesfile=0 }\nglobal { locking_dir=%q event_activation=0 }\nactivation { udev_sync=0 udev_rules=0 monitoring=0 }\nbackup { backup=0 archive=0 }\n",
		filter, filepath.Join(dir, "lock"))
	if err := os.WriteFile(filepath.Join(dir, "lvm.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(tool string, args ...string) {
		t.Helper()
		cmd := exec.Command(tool, append(args, "--driverloaded", "n", "-q")...)
		cmd.Env = append(os.Environ(), "LVM_SYSTEM_DIR="+dir, "LVM_SUPPRESS_FD_WARNINGS=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
		}
	}
}

func attach(t testing.TB, path string, off, size int64) string {
	t.Helper()
	loop := strings.TrimSpace(guesttest.Run(t, "losetup", "-f", "--show", "-o", fmt.Sprint(off), "--sizelimit", fmt.Sprint(size), path))
	t.Cleanup(func() { guesttest.Run(t, "losetup", "-d", loop) })
	return loop
}

// A group over a partition and a whole disk.
func TestFindLVM(t *testing.T) {
	first, second := image(t, 40<<20), image(t, 32<<20)
	sfdisk(t, first, "label: dos\nstart=2048, size=4096, type=83\nstart=8192, size=65536, type=8e\n")
	loops := []string{attach(t, first, 8192*512, 32<<20), attach(t, second, 0, 32<<20)}
	run := lvmTool(t, loops)
	run("pvcreate", loops...)
	run("vgcreate", append([]string{"-s", "1M", "vg-x"}, loops...)...)
	run("lvcreate", "-an", "-Zn", "-Wn", "-l", "4", "-i", "2", "-n", "fast", "vg-x")
	run("lvcreate", "-an", "-Zn", "-Wn", "-l", "40", "-n", "my-root", "vg-x")
	l := find(t, first, second)
	want := `disk0 p1 [partition]  "" empty @1048576+2097152
disk0 p2 [partition] lvm-pv "" member @4194304+33554432
disk1 disk [disk] lvm-pv "" member @0+33554432
disk0,disk1 vg--x-fast [lvm striped]  "" empty @-1+4194304
disk0,disk1 vg--x-my--root [lvm linear]  "" empty @-1+41943040`
	got := strings.ReplaceAll(summary(l), "disk1,disk0", "disk0,disk1")
	if got != want {
		t.Fatalf("got\n%s\nwant\n%s\nnotes %q", got, want, l.Notes)
	}
	if of := l.Volumes[1].Of; len(of) != 1 || of[0] != "vg-x" {
		t.Errorf("member of %q", of)
	}
	// A filesystem written through the runs is read through the volume.
	fs, err := os.ReadFile(mkfs(t, 40<<20, "mkfs.ext4 -q -L lvroot"))
	if err != nil {
		t.Fatal(err)
	}
	err = l.Volumes[4].EachRun(0, 40<<20, func(r Run) bool {
		poke(t, []string{first, second}[int(r.Disk[4]-'0')], r.DiskOffset, fs[r.Offset:][:r.Length])
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	v := find(t, first, second).Volumes[4]
	b := make([]byte, 40<<20)
	if _, err := v.ReadAt(b, 0); err != nil || !bytes.Equal(b, fs) || v.Type != "ext4" || v.Label != "lvroot" || v.State != OK {
		t.Errorf("%v: %+v", err, v.Description)
	}
	// What else has the disk may need what the group's volumes don't.
	poke(t, second, 32768, []byte("\x01CD001"))
	find(t, first, second).Volumes[4].EachRun(0, 40<<20, func(r Run) bool {
		if r.Shared != (r.Disk == "disk1") {
			t.Errorf("beside another format: %+v", r)
		}
		return true
	})
	if v := find(t, first).Volumes[3]; v.State != Incomplete || v.Reason == "" {
		t.Errorf("without the second disk: %+v", v.Description)
	}
}

// mdMember writes a superblock of version 1.2 or 0.90 on a RAID 1 member.
func mdMember(t *testing.T, path string, off, size int64, old bool, number uint32) {
	b := make([]byte, 4096)
	put := func(at int, v uint32) { le.PutUint32(b[at:], v) }
	put(0, 0xa92b4efc)
	at := int64(4096)
	var sum uint64
	if old {
		at = size&^(64<<10-1) - 64<<10
		put(8, 90)
		put(20, 0x77)
		put(28, 1)
		put(32, uint32(at>>10))
		put(36, 2)
		put(40, 2)
		put(44, 5)
		for k := range uint32(2) {
			put(int(4*(128+32*k)), k)
			put(int(4*(128+32*k+3)), k)
			put(int(4*(128+32*k+4)), 6)
		}
		copy(b[4*992:], b[4*(128+32*number):][:128])
		for k := 0; k < 4096; k += 4 {
			sum += uint64(le.Uint32(b[k:]))
		}
		put(4*38, uint32(sum)+uint32(sum>>32))
	} else {
		put(4, 1)
		copy(b[16:], "0123456789abcdef")
		copy(b[32:], "host:0")
		put(72, 1)
		le.PutUint64(b[80:], uint64(size-1<<20)/512)
		put(92, 2)
		le.PutUint64(b[128:], 2048)
		le.PutUint64(b[136:], uint64(size-1<<20)/512)
		le.PutUint64(b[144:], 8)
		put(160, number)
		put(220, 2)
		le.PutUint16(b[258:], 1)
		for k := 0; k < 260; k += 4 {
			sum += uint64(le.Uint32(b[k:]))
		}
		put(216, uint32(sum)+uint32(sum>>32))
	}
	poke(t, path, off+at, b)
}

// RAID 1 over two whole disks, with partitions in it; and over one alone.
func TestFindMD(t *testing.T) {
	a, b := image(t, 16<<20), image(t, 16<<20)
	inner := image(t, 15<<20)
	sfdisk(t, inner, "label: dos\nstart=2048, size=8192, type=83\n")
	put(t, inner, 2048*512, mkfs(t, 4<<20, "mkfs.ext4 -q -L mirrored"))
	for i, p := range []string{a, b} {
		put(t, p, 1<<20, inner)
		mdMember(t, p, 0, 16<<20, false, uint32(i))
	}
	l := find(t, a, b)
	want := `disk0 disk [disk] md-member "host:0" member @0+16777216
disk1 disk [disk] md-member "host:0" member @0+16777216
disk0,disk1 md0p1 [partition] ext4 "mirrored" ok @2097152+4194304`
	if got := summary(l); got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
	if runs, _ := l.Volumes[2].Runs(0, 4<<20); len(runs) != 2 || runs[1].Disk != "disk1" || runs[1].Copy != 1 {
		t.Errorf("runs %+v", runs)
	}
	l = find(t, b)
	if v := l.Volumes[1]; v.Name != "md0p1" || v.State != Degraded || v.Reason == "" || v.Label != "mirrored" {
		t.Errorf("one disk: %+v", v.Description)
	}
}

// A superblock of version 0.90 at the disk's end belongs to the partition that
// ends there.
func TestOldSuperblockAtTheEnd(t *testing.T) {
	p := image(t, 16<<20)
	sfdisk(t, p, "label: dos\nstart=2048, size=30720, type=fd\n")
	mdMember(t, p, 1<<20, 15<<20, true, 0)
	if got := summary(find(t, p)); !strings.HasPrefix(got, `disk0 p1 [partition] md-member "5" member`) || !strings.Contains(got, "\ndisk0 md5 [md raid1]") {
		t.Errorf("got\n%s", got)
	}
}

// Partitions of a disk of 4096-byte sectors with an MBR, which does not say so.
func TestLargeSectorMBR(t *testing.T) {
	p := image(t, 64<<20)
	sector := make([]byte, 512)
	sector[446+4] = 0x83
	le.PutUint32(sector[446+8:], 256)
	le.PutUint32(sector[446+12:], 20<<20/4096)
	sector[510], sector[511] = 0x55, 0xaa
	poke(t, p, 0, sector)
	put(t, p, 1<<20, mkfs(t, 20<<20, "mkfs.ext4 -q -L four"))
	l := find(t, p)
	if v := l.Volumes[0]; v.Label != "four" || v.Offset != 1<<20 || l.Tables[0].Sector != 4096 {
		t.Errorf("%+v, %+v", v.Description, l.Tables)
	}
}

func TestDynamicDisk(t *testing.T) {
	p := image(t, 16<<20)
	sfdisk(t, p, "label: dos\nstart=63, size=20000, type=42\n")
	head := make([]byte, 512)
	copy(head, "PRIVHEAD")
	copy(head[0xb0:], "group-guid")
	copy(head[0xf0:], "Dg0")
	poke(t, p, 6*512, head)
	if v := find(t, p).Volumes[0]; v.Type != "ldm" || v.State != Unsupported || v.Label != "Dg0" || v.UUID != "group-guid" {
		t.Errorf("%+v", v.Description)
	}
}

// Partitions that overlap, and the CD around them, are marked as shared.
func TestHybridCD(t *testing.T) {
	p := image(t, 4<<20)
	sector := make([]byte, 512)
	for i, e := range [][3]uint32{{0, 8000, 0x17}, {4000, 1000, 0xef}} {
		le.PutUint32(sector[446+16*i+8:], e[0])
		le.PutUint32(sector[446+16*i+12:], e[1])
		sector[446+16*i+4] = byte(e[2])
	}
	sector[510], sector[511] = 0x55, 0xaa
	iso(t, p)
	poke(t, p, 0, sector)
	l := find(t, p)
	if len(l.Volumes) != 3 || l.Volumes[2].Name != "disk" || l.Volumes[2].Type != "iso9660" {
		t.Fatalf("%s", summary(l))
	}
	for _, v := range l.Volumes {
		if runs, _ := v.Runs(0, 100); len(runs) != 1 || !runs[0].Shared {
			t.Errorf("%s: %+v", v.Name, runs)
		}
	}
}

func TestBtrfsOfTwoDisks(t *testing.T) {
	a, b := image(t, 120<<20), image(t, 120<<20)
	loops := []string{attach(t, a, 0, 120<<20), attach(t, b, 0, 120<<20)}
	guesttest.Run(t, "mkfs.btrfs", "-q", "-L", "both", loops[0], loops[1])
	exec.Command("sync").Run()
	l := find(t, a, b)
	if len(l.Volumes) != 2 || len(l.Volumes[0].Peers) != 2 || l.Volumes[0].State != OK || l.Volumes[1].State != Member {
		t.Fatalf("%s %+v", summary(l), l.Volumes[0])
	}
	l = find(t, b)
	if len(l.Volumes) != 1 || l.Volumes[0].State != Incomplete || l.Volumes[0].Reason != "1 of its 2 devices are here" {
		t.Fatalf("%s %+v", summary(l), l.Volumes[0])
	}
}

type fakeFS struct{ guest.Filesystem }

func TestOpen(t *testing.T) {
	l := find(t, mkfs(t, 20<<20, "mkfs.ext4 -q"), mkfs(t, 1<<20, "mkswap -q"))
	no := func(context.Context, *Volume) (guest.Filesystem, error) { return nil, guest.ErrNotMine }
	yes := Plain(func(_ context.Context, v guest.Volume) (fakeFS, error) { return fakeFS{}, nil })
	bad := Plain(func(_ context.Context, v guest.Volume) (fakeFS, error) { return fakeFS{}, guest.Corrupt("x") })
	if fs, err := Open(t.Context(), l.Volumes[0], []Opener{no, yes}); err != nil || fs != (fakeFS{}) {
		t.Errorf("%v, %v", fs, err)
	}
	if fs, err := Open(t.Context(), l.Volumes[0], []Opener{no, bad, yes}); fs != nil || !errors.Is(err, guest.ErrCorrupt) {
		t.Errorf("%v, %v", fs, err)
	}
	for _, v := range l.Volumes {
		if _, err := Open(t.Context(), v, []Opener{no}); !errors.Is(err, guest.ErrUnsupported) {
			t.Errorf("%s: %v", v.Type, err)
		}
	}
	if _, err := Open(t.Context(), l.Volumes[1], []Opener{yes}); !errors.Is(err, guest.ErrUnsupported) {
		t.Errorf("swap: %v", err)
	}
}

func memory(b []byte) guest.Volume { return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))) }

// try finds volumes and reads a little of each.
func try(t testing.TB, b []byte) int {
	start := time.Now()
	l, err := Find(context.Background(), []Disk{{"d", memory(b)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range l.Volumes {
		p := make([]byte, 100)
		v.ReadAt(p, 0)
		v.ReadAt(p, v.Size()-50)
		v.Runs(v.Size()/2, 4096)
	}
	if d := time.Since(start); d > time.Minute {
		t.Fatalf("took %v", d)
	}
	return len(l.Volumes)
}

// Heads of all formats with changed bytes, cut off anywhere.
func TestMutated(t *testing.T) {
	var seeds [][]byte
	for _, command := range []string{"mkfs.ext4 -q", "mkfs.fat -F 16 -n A", "mkswap -q"} {
		b, err := os.ReadFile(mkfs(t, 10<<20, command))
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, b[:1<<20])
	}
	gpt := image(t, 1<<20)
	sfdisk(t, gpt, "label: gpt\nfirst-lba: 34\nstart=40, size=100\nstart=200, size=100\n")
	b, err := os.ReadFile(gpt)
	if err != nil {
		t.Fatal(err)
	}
	seeds = append(seeds, b)
	marks := []string{"NTFS    ", "EXFAT   ", "XFSB", "_BHRfS_M", "LABELONE", "LUKS\xba\xbe\x00\x02", "NXSB", "H+", "BD", "hsqs", "\x55\xaa", "-FVE-FS-", "FILE", "BD"}
	places := []int{0, 3, 32, 510, 512, 1024, 1080, 4096, 65536, 65600, 32769, 446, 450, 11, 13, 14, 36, 48, 64, 88, 96, 108, 109}
	rnd := rand.New(rand.NewPCG(11, 12))
	volumes := 0
	for range guesttest.Rounds(t, 1500) {
		b := bytes.Clone(seeds[rnd.IntN(len(seeds))][:128<<10])
		for range 1 + rnd.IntN(6) {
			at := places[rnd.IntN(len(places))]
			switch rnd.IntN(3) {
			case 0:
				copy(b[at:], marks[rnd.IntN(len(marks))])
			case 1:
				binary.LittleEndian.PutUint64(b[at:], []uint64{0, 1, 0xff, 1 << 31, 1<<63 - 1, 1<<64 - 1}[rnd.IntN(6)])
			case 2:
				b[at+rnd.IntN(64)] = byte(rnd.Uint32())
			}
		}
		if rnd.IntN(4) == 0 {
			b = b[:rnd.IntN(len(b))]
		}
		volumes += try(t, b)
	}
	if volumes == 0 {
		t.Error("no volumes")
	}
	for _, s := range seeds {
		for size := range 2048 {
			try(t, s[:size])
		}
	}
}

func FuzzFind(f *testing.F) {
	for _, command := range []string{"mkfs.ext4 -q", "mkfs.fat -F 12", "mkswap -q"} {
		b, err := os.ReadFile(mkfs(f, 2<<20, command))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:68<<10])
	}
	f.Add([]byte("\xeb\x3c\x90NTFS    \x00\x02\x08"))
	f.Add([]byte("\xeb\x3c\x90EXFAT   "))
	f.Fuzz(func(t *testing.T, b []byte) { try(t, b) })
}
