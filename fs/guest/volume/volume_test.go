package volume

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"holdfast/fs/guest/guesttest"
)

// image makes a sparse file.
func image(t testing.TB, size int64) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "disk")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func poke(t testing.TB, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// blkid gives what blkid tells of an image, by key.
func blkid(t testing.TB, path string) map[string]string {
	t.Helper()
	out, err := exec.Command("blkid", "-p", "-o", "export", path).CombinedOutput()
	if err != nil {
		t.Fatalf("blkid: %v %s", err, out)
	}
	tags := map[string]string{}
	for _, line := range strings.Split(string(out), "\n") {
		if k, v, ok := strings.Cut(line, "="); ok {
			tags[k] = strings.ReplaceAll(v, `\ `, " ")
		}
	}
	return tags
}

// blkidTypes are blkid's names where ours differ.
var blkidTypes = map[string]string{
	"fat12": "vfat", "fat16": "vfat", "fat32": "vfat", "luks1": "crypto_LUKS", "luks2": "crypto_LUKS", "bitlocker": "BitLocker",
	"refs": "ReFS", "zfs": "zfs_member", "ufs1": "ufs", "ufs2": "ufs", "hibernation": "swsuspend",
	"isw-raid": "isw_raid_member", "ddf-raid": "ddf_raid_member",
}

// sameAsBlkid compares Probe with blkid; it gives what Probe finds.
func sameAsBlkid(t *testing.T, path string) Format {
	t.Helper()
	got, err := Probe(t.Context(), guesttest.OpenFile(t, path))
	if err != nil {
		t.Fatal(err)
	}
	want := blkid(t, path)
	kind := blkidTypes[got.Type]
	if kind == "" {
		kind = got.Type
	}
	if kind != want["TYPE"] || got.Label != want["LABEL"] || got.UUID != want["UUID"] {
		t.Errorf("got %+v\nblkid tells %q", got, want)
	}
	return got
}

func TestProbeEqualsBlkid(t *testing.T) {
	for _, c := range []struct {
		kind string
		size int64
		mkfs string
	}{
		{"ext2", 20 << 20, "mkfs.ext2 -q -L Wurzel"},
		{"ext3", 20 << 20, "mkfs.ext3 -q -L 0123456789abcdef"},
		{"ext4", 20 << 20, "mkfs.ext4 -q -L root"},
		{"ext4", 20 << 20, "mkfs.ext4 -q -b 1024 -O ^has_journal"},
		{"jbd", 20 << 20, "mke2fs -q -O journal_dev"},
		{"xfs", 320 << 20, "mkfs.xfs -q -L data"},
		{"btrfs", 120 << 20, "mkfs.btrfs -q -L pool"},
		{"swap", 2 << 20, "mkswap -q -L swap"},
		{"swap", 2 << 20, "mkswap -q -p 65536"},
		{"fat12", 2 << 20, "mkfs.fat -F 12 -n BOOT"},
		{"fat16", 20 << 20, "mkfs.fat -F 16"},
		{"fat32", 80 << 20, "mkfs.fat -F 32 -n EFI_SYSTEM -S 512"},
	} {
		t.Run(c.mkfs, func(t *testing.T) {
			path := image(t, c.size)
			args := append(strings.Fields(c.mkfs), path)
			guesttest.Run(t, args[0], args[1:]...)
			got := sameAsBlkid(t, path)
			if got.Type != c.kind || got.Also != "" {
				t.Errorf("%+v", got)
			}
			if c.kind != "jbd" && (got.Size <= 0 || got.Size > c.size || got.Size < c.size*9/10 || got.Used > got.Size) {
				t.Errorf("size %d, used %d of %d", got.Size, got.Used, c.size)
			}
		})
	}
}

// header writes fields of a made-up superblock.
func header(fields map[int64]string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		for at, b := range fields {
			poke(t, path, at, []byte(b))
		}
	}
}

func num(order interface {
	AppendUint32([]byte, uint32) []byte
	AppendUint64([]byte, uint64) []byte
}, width int, n uint64) string {
	if width == 4 {
		return string(order.AppendUint32(nil, uint32(n)))
	}
	return string(order.AppendUint64(nil, n))
}

const someUUID = "\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x01"

// Formats without a tool on this machine: headers by the formats' documents,
// judged by blkid.
func TestNamedOnlyEqualsBlkid(t *testing.T) {
	l, b := binary.LittleEndian, binary.BigEndian
	const size = 16 << 20
	id := "01234567-89ab-cdef-0123-456789abcdef"
	rings := map[int64]string{}
	for i := range int64(8) {
		rings[128<<10+1024*i] = num(l, 8, 0x00bab10c)
	}
	pair := func(name string, kind uint32, value string) string {
		padded := name + strings.Repeat("\x00", (4-len(name)%4)%4)
		s := num(b, 4, uint64(len(name))) + padded + num(b, 4, uint64(kind)) + num(b, 4, 1) + value
		return num(b, 4, uint64(len(s)+8)) + num(b, 4, uint64(len(s)+8)) + s
	}
	rings[16<<10] = "\x01\x01\x00\x00" + num(b, 4, 0) + num(b, 4, 1) + pair("version", 8, num(b, 8, 5000)) + pair("name", 9, num(b, 4, 4)+"tank") +
		pair("pool_guid", 8, num(b, 8, 1234567890123)) + num(b, 8, 0)
	for name, make := range map[string]func(*testing.T, string){
		"luks1": header(map[int64]string{0: "LUKS\xba\xbe\x00\x01", 168: id}),
		"luks2": header(map[int64]string{0: "LUKS\xba\xbe\x00\x02", 24: "secret", 168: id, 8: num(b, 8, 16384)}),
		"bcache": header(map[int64]string{4096 + 8: num(l, 8, 8), 4096 + 16: num(l, 8, 1), 4096 + 24: "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", 4096 + 40: someUUID,
			4096 + 72: "cached"}),
		"drbd":        header(map[int64]string{size - 4096 + 60: num(b, 4, 0x8374026b), size - 4096 + 40: num(b, 8, 0x1122334455667788)}),
		"refs":        header(map[int64]string{3: "ReFS\x00\x00\x00\x00", 16: "FSRS"}),
		"apfs":        header(map[int64]string{24: "\x01\x00\x00\x80", 32: "NXSB" + num(l, 4, 4096), 40: num(l, 8, size/4096), 72: someUUID}),
		"zfs":         header(rings),
		"jfs":         header(map[int64]string{32768: "JFS1", 32768 + 16: num(l, 4, 4096) + "\x0c\x00\x03\x00" + num(l, 4, 512) + "\x09\x00", 32768 + 136: someUUID, 32768 + 152: "journaled"}),
		"reiserfs":    header(map[int64]string{65536 + 44: "\x00\x10", 65536 + 52: "ReIsEr2Fs", 65536 + 84: someUUID, 65536 + 100: "reiser"}),
		"f2fs":        header(map[int64]string{1024: num(l, 4, 0xf2f52010) + "\x01\x00\x0f\x00", 1024 + 16: num(l, 4, 12), 1024 + 108: someUUID, 1024 + 124: "f\x002\x00"}),
		"squashfs":    header(map[int64]string{0: "hsqs", 28: "\x04\x00", 40: num(l, 8, 4096)}),
		"ufs2":        header(map[int64]string{65536 + 1372: num(l, 4, 0x19540119), 65536 + 680: "slice", 65536 + 144: num(l, 4, 0x11223344) + num(l, 4, 0x55667788)}),
		"vmfs":        nil,
		"hibernation": header(map[int64]string{4086: "S1SUSPEND\x00", 1024: num(l, 4, 1) + num(l, 4, 100), 1036: someUUID, 1052: "sleep"}),
	} {
		if make == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			path := image(t, size)
			make(t, path)
			if name == "refs" || name == "bcache" || name == "ufs2" || name == "zfs" || name == "reiserfs" {
				// blkid checks more, or tells less: the type alone is compared where it does.
				got, err := Probe(t.Context(), guesttest.OpenFile(t, path))
				if err != nil || got.Type != name || got.Refused == "" {
					t.Errorf("%+v, %v", got, err)
				}
				if name == "zfs" && (got.Label != "tank" || got.UUID != "1234567890123") {
					t.Errorf("%+v", got)
				}
				return
			}
			if got := sameAsBlkid(t, path); got.Type != name || got.Refused == "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// iso writes the primary volume descriptor of a CD image.
func iso(t *testing.T, path string) {
	d := make([]byte, 2048)
	copy(d, "\x01CD001\x01")
	copy(d[8:], bytes.Repeat([]byte{' '}, 64))
	copy(d[40:], "DEBIAN_CD")
	le.PutUint32(d[80:], 1000)
	le.PutUint16(d[128:], 2048)
	copy(d[813:], "2025112122100000\x002026112122100001\x00")
	poke(t, path, 32768, d)
	poke(t, path, 32768+2048, []byte("\xffCD001\x01"))
}

func TestISO(t *testing.T) {
	path := image(t, 4<<20)
	iso(t, path)
	if got := sameAsBlkid(t, path); got.Type != "iso9660" || got.Size != 1000*2048 || got.Refused == "" {
		t.Errorf("%+v", got)
	}
}

// sfdisk makes a partition table.
func sfdisk(t testing.TB, path, script string) {
	t.Helper()
	cmd := exec.Command("sfdisk", "-q", "--no-reread", "--no-tell-kernel", path)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
}

// put writes a file's content at an offset of another.
func put(t testing.TB, path string, at int64, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	poke(t, path, at, b)
}

func find(t testing.TB, paths ...string) *Layout {
	t.Helper()
	var disks []Disk
	for i, p := range paths {
		disks = append(disks, Disk{fmt.Sprintf("disk%d", i), guesttest.OpenFile(t, p)})
	}
	l, err := Find(t.Context(), disks)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// summary is one line a volume: what a test compares.
func summary(l *Layout) string {
	var lines []string
	for _, v := range l.Volumes {
		lines = append(lines, fmt.Sprintf("%s %s [%s] %s %q %s @%d+%d", strings.Join(v.Disks(), ","), v.Name, v.Layer, v.Type, v.Label, v.State, v.Offset, v.Size()))
	}
	return strings.Join(lines, "\n")
}

func mkfs(t testing.TB, size int64, command string) string {
	path := image(t, size)
	args := append(strings.Fields(command), path)
	guesttest.Run(t, args[0], args[1:]...)
	return path
}

func TestFindPartitions(t *testing.T) {
	disk := image(t, 64<<20)
	sfdisk(t, disk, "label: gpt\nstart=2048, size=4096, type=U, name=efi\nstart=8192, size=40960, type=L\nstart=60000, size=4096, type=S\nstart=70000, size=100, type=L\n")
	put(t, disk, 2048*512, mkfs(t, 2<<20, "mkfs.fat -F 12 -n EFI"))
	put(t, disk, 8192*512, mkfs(t, 20<<20, "mkfs.ext4 -q -L root"))
	put(t, disk, 60000*512, mkfs(t, 2<<20, "mkswap -q"))
	whole := mkfs(t, 20<<20, "mkfs.ext4 -q -L data")
	l := find(t, disk, whole)
	want := `disk0 p1 [partition] fat12 "EFI" ok @1048576+2097152
disk0 p2 [partition] ext4 "root" ok @4194304+20971520
disk0 p3 [partition] swap "" swap @30720000+2097152
disk0 p4 [partition]  "" empty @35840000+51200
disk1 disk [disk] ext4 "data" ok @0+20971520`
	if got := summary(l); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if len(l.Tables) != 1 || l.Tables[0].Kind != "gpt" || l.Tables[0].On != "disk0" {
		t.Errorf("%+v", l.Tables)
	}
	b, err := json.Marshal(l)
	if err != nil || !bytes.Contains(b, []byte(`"name":"p1","layer":"partition","type":"fat12","label":"EFI"`)) {
		t.Errorf("%s, %v", b, err)
	}
	runs, err := l.Volumes[1].Runs(1000, 5000)
	if err != nil || len(runs) != 1 || runs[0] != (Run{Offset: 1000, Length: 5000, Disk: "disk0", DiskOffset: 8192*512 + 1000}) {
		t.Errorf("%+v, %v", runs, err)
	}
}
