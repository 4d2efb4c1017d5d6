package part

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// listing is what sfdisk -J tells.
type listing struct {
	Table struct {
		Label      string
		ID         string
		Sectorsize int64
		Partitions []struct {
			Node        string
			Start, Size int64
			Type        string
			UUID        string
			Name        string
			Bootable    bool
		}
	} `json:"partitiontable"`
}

// table makes an image of size bytes with a table made by sfdisk from script.
func table(t testing.TB, size int64, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	blank(t, path, size)
	sfdisk(t, path, script)
	return path
}

func blank(t testing.TB, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

func sfdisk(t testing.TB, path, script string) {
	t.Helper()
	cmd := exec.Command("sfdisk", "-q", "--no-reread", "--no-tell-kernel", path)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
}

// compare compares what Read finds with what sfdisk tells of node.
func compare(t *testing.T, path, node string, want Kind) *Table {
	t.Helper()
	var l listing
	if err := json.Unmarshal([]byte(guesttest.Run(t, "sfdisk", "-J", node)), &l); err != nil {
		t.Fatal(err)
	}
	got, err := Read(t.Context(), guesttest.OpenFile(t, path), Options{})
	if err != nil {
		t.Fatal(err)
	}
	sector := max(512, l.Table.Sectorsize)
	if got.Kind != want || got.Sector != sector || len(got.Partitions) != len(l.Table.Partitions) || len(got.Partitions) == 0 {
		t.Fatalf("got %+v\nwant %s %+v", got, want, l)
	}
	if id := strings.ToLower(strings.TrimPrefix(l.Table.ID, "0x")); got.UUID != id {
		t.Errorf("disk id %s, sfdisk tells %s", got.UUID, id)
	}
	for i, w := range l.Table.Partitions {
		g := got.Partitions[i]
		kind := strings.ToLower(w.Type)
		if want == MBR {
			var n int
			fmt.Sscanf(w.Type, "%x", &n)
			kind = fmt.Sprintf("0x%02x", n)
		}
		if number := fmt.Sprint(g.Number); !strings.HasSuffix(w.Node, number) || g.Start != w.Start*sector || g.Size != w.Size*sector ||
			g.Type != kind || g.Name != w.Name || want != MBR && g.UUID != strings.ToLower(w.UUID) || g.Boot != w.Bootable && want == MBR {
			t.Errorf("partition %d\ngot  %+v\nwant %+v", i, g, w)
		}
	}
	return got
}

const gptScript = `label: gpt
start=2048, size=4096, type=U, name="EFI – système"
start=8192, size=10000, type=L, name="root"
4: start=20000, size=1, type=L
9: start=30000, size=2000, type=S, name="01234567890123456789012345678901234"
`

const mbrScript = `label: dos
start=2048, size=4096, type=7, bootable
start=10000, size=100000, type=f
start=6144, size=100, type=83
start=12048, size=1000, type=83
start=20000, size=1, type=82
start=30000, size=2000, type=8e
start=90000, size=20000, type=fd
`

func TestGPTEqualsSfdisk(t *testing.T) {
	path := table(t, 64<<20, gptScript)
	compare(t, path, path, GPT)
}

func TestMBREqualsSfdisk(t *testing.T) {
	path := table(t, 64<<20, mbrScript)
	got := compare(t, path, path, MBR)
	if !got.Partitions[1].Container {
		t.Error("the extended partition is not told")
	}
}

func TestLargeSectorsEqualSgdisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	blank(t, path, 64<<20)
	loop := strings.TrimSpace(guesttest.Run(t, "losetup", "-b", "4096", "-f", "--show", path))
	t.Cleanup(func() { guesttest.Run(t, "losetup", "-d", loop) })
	guesttest.Run(t, "sgdisk", "-n", "1:256:511", "-n", "2:512:0", "-t", "2:8e00", "-c", "2:data", loop)
	if got := compare(t, path, loop, GPT); got.Partitions[1].Name != "data" {
		t.Errorf("name %q", got.Partitions[1].Name)
	}
	// The twin alone.
	poke(t, path, 4096, make([]byte, 4096))
	got, err := Read(t.Context(), guesttest.OpenFile(t, path), Options{})
	if err != nil || got.Kind != GPT || got.Sector != 4096 || len(got.Partitions) != 2 || len(got.Notes) != 1 {
		t.Errorf("without the primary header: %+v, %v", got, err)
	}
}

func TestHybridEqualsSgdisk(t *testing.T) {
	path := table(t, 64<<20, gptScript)
	guesttest.Run(t, "sgdisk", "-h", "1:2", path)
	content := contentOf(t, path)
	got, err := Read(t.Context(), volumeOf(content), Options{})
	if err != nil || got.Kind != Hybrid || len(got.Partitions) != 4 || len(got.Notes) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	// An entry that the GPT does not have is told.
	binary.LittleEndian.PutUint32(content[446+16+8:], 12345)
	if got, _ = Read(t.Context(), volumeOf(content), Options{}); len(got.Notes) != 1 {
		t.Errorf("notes %q", got.Notes)
	}
}

// The backup is used when anything of the primary is wrong, and wherever the
// disk's end has gone to.
func TestBackupOfGPT(t *testing.T) {
	path := table(t, 16<<20, "label: gpt\nstart=2048, size=4096, type=L\n")
	whole := contentOf(t, path)
	want, _ := Read(t.Context(), volumeOf(whole), Options{})
	grown := append(bytes.Clone(whole), make([]byte, 1<<20)...)
	for name, at := range map[string]int{"signature": 512, "sum": 512 + 16, "own place": 512 + 24, "disk id": 512 + 56, "entries": 1024} {
		for _, image := range [][]byte{whole, grown} {
			damaged := bytes.Clone(image)
			damaged[at] ^= 1
			got, err := Read(t.Context(), volumeOf(damaged), Options{})
			if err != nil || len(got.Partitions) != 1 || got.Partitions[0] != want.Partitions[0] || got.UUID != want.UUID {
				t.Errorf("%s damaged (%d bytes): %+v, %v", name, len(image), got, err)
			} else if len(got.Notes) != 1 {
				t.Errorf("%s damaged: notes %q", name, got.Notes)
			}
			if len(image) == len(whole) {
				damaged[len(damaged)-512] ^= 1
				if got, _ := Read(t.Context(), volumeOf(damaged), Options{}); got.Kind != None || len(got.Notes) != 1 {
					t.Errorf("%s damaged, and the backup: %+v", name, got)
				}
			}
		}
	}
}

// A sector that can't be read is as good as a damaged one.
func TestUnreadablePrimary(t *testing.T) {
	whole := contentOf(t, table(t, 16<<20, "label: gpt\nstart=2048, size=4096, type=L\n"))
	got, err := Read(t.Context(), holed{volumeOf(whole), 512, 1024}, Options{})
	if err != nil || len(got.Partitions) != 1 || len(got.Notes) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Read(t.Context(), holed{volumeOf(whole), 0, 512}, Options{}); !errors.Is(err, errHole) {
		t.Errorf("error %v with an unreadable first sector", err)
	}
}

var errHole = errors.New("hole")

type holed struct {
	guest.Volume
	from, to int64
}

func (h holed) ReadAt(p []byte, off int64) (int, error) {
	if off < h.to && off+int64(len(p)) > h.from {
		return 0, errHole
	}
	return h.Volume.ReadAt(p, off)
}

func TestNoTable(t *testing.T) {
	dir := t.TempDir()
	for _, mkfs := range [][]string{
		{"mkfs.ext4", "-q"}, {"mkfs.fat", "-F", "16"}, {"mkfs.fat", "-F", "12"}, {"mkfs.fat", "-F", "32"}, {"mkswap", "-q"}, {"true"},
	} {
		path := filepath.Join(dir, "disk")
		os.Remove(path)
		blank(t, path, 40<<20)
		guesttest.Run(t, mkfs[0], append(mkfs[1:], path)...)
		got, err := Read(t.Context(), guesttest.OpenFile(t, path), Options{})
		if err != nil || got.Kind != None || len(got.Partitions) != 0 {
			t.Errorf("%s: %+v, %v", mkfs, got, err)
		}
	}
	for _, size := range []int{0, 1, 511, 512, 513, 1024} {
		if got, err := Read(t.Context(), volumeOf(make([]byte, size)), Options{}); err != nil || got.Kind != None {
			t.Errorf("%d bytes: %+v, %v", size, got, err)
		}
	}
}

// A chain of logical partitions that leads back to itself, or anywhere, ends.
func TestLogicalLoop(t *testing.T) {
	whole := contentOf(t, table(t, 64<<20, mbrScript))
	first := int(binary.LittleEndian.Uint32(whole[446+16+8:])) * 512
	for _, link := range []uint32{0, 1, 2048, 0xffffffff, 99999} {
		b := bytes.Clone(whole)
		binary.LittleEndian.PutUint32(b[first+446+16+8:], link)
		got, err := Read(t.Context(), volumeOf(b), Options{})
		if err != nil || len(got.Partitions) < 4 || len(got.Partitions) > 7 || len(got.Notes) == 0 {
			t.Errorf("link to %d: %+v, %v", link, got, err)
		}
	}
}

func TestTruncated(t *testing.T) {
	for _, script := range []string{gptScript, mbrScript} {
		whole := contentOf(t, table(t, 64<<20, script))
		for size := range 20 << 10 {
			if _, err := Read(t.Context(), volumeOf(whole[:size]), Options{}); err != nil {
				t.Fatalf("cut off at %d: %v", size, err)
			}
		}
		got, err := Read(t.Context(), volumeOf(whole[:10<<20]), Options{})
		if err != nil || len(got.Partitions) == 0 || len(got.Notes) == 0 {
			t.Errorf("half a disk: %+v, %v", got, err)
		}
	}
}

func TestMutated(t *testing.T) {
	for _, script := range []string{gptScript, mbrScript} {
		whole := contentOf(t, table(t, 16<<20, strings.Replace(strings.Replace(script, "size=100000", "size=20000", 1), "start=90000, size=20000", "start=29000, size=100", 1)))
		rnd := rand.New(rand.NewPCG(3, 4))
		found := 0
		for range guesttest.Rounds(t, 3000) {
			undo := map[int]byte{}
			for range 1 + rnd.IntN(4) {
				at := []int{rnd.IntN(512), 446 + rnd.IntN(66), 512 + rnd.IntN(92), 1024 + rnd.IntN(512), 10000*512 + 440 + rnd.IntN(72)}[rnd.IntN(5)]
				if _, ok := undo[at]; !ok {
					undo[at] = whole[at]
				}
				whole[at] = byte(rnd.Uint32())
			}
			if rnd.IntN(2) == 0 { // get past the sums
				for at := 512; at < 604; at++ {
					if _, ok := undo[at]; !ok {
						undo[at] = whole[at]
					}
				}
				seal(whole)
			}
			got, err := Read(t.Context(), volumeOf(whole), Options{})
			if err != nil {
				t.Fatal(err)
			}
			found += len(got.Partitions)
			check(t, got, int64(len(whole)))
			for at, b := range undo {
				whole[at] = b
			}
		}
		if found == 0 {
			t.Error("no mutant had a partition")
		}
	}
}

// check holds a table to what Read promises.
func check(t *testing.T, got *Table, disk int64) {
	if len(got.Partitions) > maxPartitions {
		t.Fatalf("%d partitions", len(got.Partitions))
	}
	for _, p := range got.Partitions {
		if p.Number < 1 || p.Start < 0 || p.Start >= disk || p.Size <= 0 || p.Start+p.Size < 0 {
			t.Fatalf("partition %+v", p)
		}
	}
}

// seal makes the sums of a primary GPT right.
func seal(b []byte) {
	le := binary.LittleEndian
	at, n := le.Uint64(b[512+72:]), uint64(le.Uint32(b[512+80:]))*uint64(le.Uint32(b[512+84:]))
	if at < 1<<20 && n < 1<<20 && at*512+n < uint64(len(b)) {
		le.PutUint32(b[512+88:], crc32.ChecksumIEEE(b[at*512:at*512+n]))
	}
	le.PutUint32(b[512+16:], 0)
	if length := le.Uint32(b[512+12:]); length <= 512 {
		le.PutUint32(b[512+16:], crc32.ChecksumIEEE(b[512:512+length]))
	}
}

func FuzzRead(f *testing.F) {
	for _, script := range []string{"label: gpt\nstart=64, size=4, type=L\n", "label: dos\nstart=4, size=4\nstart=20, size=40, type=5\nstart=24, size=4\nstart=40, size=4\n"} {
		path := filepath.Join(f.TempDir(), "disk")
		blank(f, path, 64<<10)
		sfdisk(f, path, script)
		content := contentOf(f, path)
		f.Add(content)
		f.Add(content[:32<<10])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 2048 {
			b = bytes.Clone(b)
			seal(b)
		}
		got, err := Read(context.Background(), volumeOf(b), Options{})
		if err != nil {
			t.Fatal(err)
		}
		check(t, got, int64(len(b)))
	})
}

func contentOf(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func poke(t *testing.T, path string, at int64, b []byte) {
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

func volumeOf(b []byte) guest.Volume {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}
