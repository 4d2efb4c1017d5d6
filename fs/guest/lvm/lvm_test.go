package lvm

import (
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"holdfast/fs/guest/volume/mapped"
)

// peRange reads what lvs prints of a segment: "/dev/loop0:3-9 /dev/loop1:0-6".
func (w *world) peRange(s string) (disks []int, extents []int64) {
	for _, f := range strings.Fields(s) {
		dev, pes, _ := strings.Cut(f, ":")
		first, _, _ := strings.Cut(pes, "-")
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			w.t.Fatal(err)
		}
		for i, l := range w.loops {
			if l == dev {
				disks, extents = append(disks, i), append(extents, n)
			}
		}
	}
	return disks, extents
}

func TestLinearAndStriped(t *testing.T) {
	w := newWorld(t)
	create := func(args ...string) {
		w.run("lvcreate", append([]string{"-q", "-an", "-Zn", "-Wn"}, append(args, "vg0")...)...)
	}
	create("-l", "20", "-n", "root")
	create("-l", "24", "-i", "3", "-I", "8k", "-n", "str")
	create("-l", "8", "--type", "raid0", "-i", "2", "-I", "16k", "-n", "r0")
	w.run("lvextend", "-q", "-l", "+7", "vg0/root")
	g := w.assemble(0, 1, 2)
	if g.Name != "vg0" || len(g.Notes) != 0 || len(g.Volumes) != 3 {
		t.Fatalf("%+v", g)
	}
	for _, line := range strings.Split(strings.TrimSpace(w.run("lvs", "-a", "--noheadings", "--separator", ";", "--units", "b", "--nosuffix",
		"-o", "lv_name,lv_uuid,lv_size,segtype,seg_start_pe,seg_size_pe,stripesize,seg_pe_ranges", "vg0")), "\n") {
		f := strings.Split(strings.TrimSpace(line), ";")
		if strings.HasPrefix(f[0], "[") || f[3] == "raid0" {
			continue
		}
		v := find(t, g, f[0])
		if v.UUID != f[1] || fmt.Sprint(v.Device.Size()) != f[2] || v.Condition != mapped.Whole || v.Kind != f[3] {
			t.Errorf("%+v, lvs tells %q", v, f)
		}
		start, _ := strconv.ParseInt(f[4], 10, 64)
		count, _ := strconv.ParseInt(f[5], 10, 64)
		chunk, _ := strconv.ParseInt(f[6], 10, 64)
		disks, extents := w.peRange(f[7])
		chunk = max(chunk, 512)
		n := int64(len(disks))
		seg, err := mapped.Slice(v.Device, start*extentSize, count*extentSize)
		if err != nil {
			t.Fatal(err)
		}
		lies(t, Volume{Name: v.Name, Device: seg}, func(off int64) (int, int64) {
			c := off / chunk
			return disks[c%n], peStart + extents[c%n]*extentSize + c/n*chunk + off%chunk
		})
	}
	legs := map[string]string{}
	for _, line := range strings.Split(w.run("lvs", "-a", "--noheadings", "-o", "lv_name,seg_pe_ranges", "vg0"), "\n") {
		if f := strings.Fields(line); len(f) == 2 {
			legs[strings.Trim(f[0], "[]")] = f[1]
		}
	}
	lies(t, find(t, g, "r0"), func(off int64) (int, int64) {
		c := off / (16 << 10)
		disks, extents := w.peRange(legs[fmt.Sprint("r0_rimage_", c%2)])
		return disks[0], peStart + extents[0]*extentSize + c/2*(16<<10) + off%(16<<10)
	})

	// Without a disk: what lies on it is told, the rest is there.
	part := w.assemble(0, 1)
	if v := find(t, part, "root"); v.Condition != mapped.Whole {
		t.Errorf("root without disk 2: %v %s", v.Condition, v.Reason)
	}
	if v := find(t, part, "str"); v.Condition != mapped.Incomplete || !strings.Contains(v.Reason, "missing") {
		t.Errorf("str without disk 2: %v %s", v.Condition, v.Reason)
	}
	if len(part.Notes) != 1 {
		t.Errorf("notes %q", part.Notes)
	}
}

// lv writes a volume for restore, made of one segment.
func lv(name, id, status, segment string) string {
	return fmt.Sprintf("\n%s {\nid = \"%s\"\nstatus = [\"READ\", \"WRITE\"%s]\nflags = []\nsegment_count = 1\nsegment1 {\nstart_extent = 0\n%s\n}\n}\n",
		name, strings.Repeat(id, 6)+strings.Repeat("-"+strings.Repeat(id, 4), 5)+"-"+strings.Repeat(id, 6), status, segment)
}

const visible = `, "VISIBLE"`

func linear(name, id, pv string, extent, count int) string {
	return lv(name, id, "", fmt.Sprintf("extent_count = %d\ntype = \"striped\"\nstripe_count = 1\nstripes = [ \"%s\", %d ]", count, pv, extent))
}

func raidVolumes() string {
	s := lv("r1", "a", visible, "extent_count = 4\ntype = \"raid1\"\ndevice_count = 2\nregion_size = 64\nraids = [ \"r1_rmeta_0\", \"r1_rimage_0\", \"r1_rmeta_1\", \"r1_rimage_1\" ]")
	for i := range 2 {
		s += linear(fmt.Sprint("r1_rmeta_", i), string(rune('b'+i)), fmt.Sprint("pv", i), 0, 1)
		s += linear(fmt.Sprint("r1_rimage_", i), string(rune('d'+i)), fmt.Sprint("pv", i), 1, 4)
	}
	var raids []string
	for i := range 4 {
		pv := fmt.Sprint("pv", i%3)
		s += linear(fmt.Sprint("rt_rmeta_", i), string(rune('f'+i)), pv, 10+i, 1)
		s += linear(fmt.Sprint("rt_rimage_", i), string(rune('j'+i)), pv, 20+4*i, 4)
		raids = append(raids, fmt.Sprintf("%q, %q", fmt.Sprint("rt_rmeta_", i), fmt.Sprint("rt_rimage_", i)))
	}
	s += lv("rt", "n", visible, "extent_count = 8\ntype = \"raid10\"\ndevice_count = 4\nstripe_size = 32\nregion_size = 64\nraids = [ "+strings.Join(raids, ", ")+" ]")
	s += lv("mi", "o", visible, "extent_count = 2\ntype = \"mirror\"\nmirror_count = 2\nregion_size = 64\nmirrors = [ \"mi_mimage_0\", 0, \"mi_mimage_1\", 0 ]")
	s += linear("mi_mimage_0", "p", "pv2", 60, 2) + linear("mi_mimage_1", "q", "pv1", 60, 2)
	s += lv("base", "r", visible, "extent_count = 3\ntype = \"striped\"\nstripe_count = 1\nstripes = [ \"pv0\", 70 ]")
	s += lv("snap", "s", visible, "extent_count = 2\ntype = \"striped\"\nstripe_count = 1\nstripes = [ \"pv0\", 75 ]")
	s += lv("snapshot0", "t", visible, "extent_count = 3\ntype = \"snapshot\"\nchunk_size = 8\norigin = \"base\"\ncow_store = \"snap\"")
	return s
}

// super writes dm-raid's superblock for a leg.
func super(events, failed, recovery uint64) []byte {
	b := make([]byte, 512)
	le := binary.LittleEndian
	copy(b, "DmRd")
	le.PutUint64(b[16:], events)
	le.PutUint64(b[24:], failed)
	le.PutUint64(b[32:], recovery)
	return b
}

func TestMirrors(t *testing.T) {
	w := newWorld(t)
	w.restore(raidVolumes())
	if out := w.run("lvs", "--noheadings", "-o", "lv_name,segtype,origin", "vg0"); !strings.Contains(out, "raid1") || !strings.Contains(out, "base") {
		t.Fatalf("lvs: %s", out)
	}
	g := w.assemble(0, 1, 2)
	at := func(disk, extent int) func(int64) (int, int64) {
		return func(off int64) (int, int64) { return disk, peStart + int64(extent)*extentSize + off }
	}
	lies(t, find(t, g, "r1"), at(0, 1))
	lies(t, find(t, g, "mi"), at(2, 60))
	lies(t, find(t, g, "base"), at(0, 70))
	ten := func(skip int) func(int64) (int, int64) {
		return func(off int64) (int, int64) {
			const chunk = 16 << 10
			c := off / chunk
			leg := int(c%2) * 2
			if leg == skip {
				leg++
			}
			return leg % 3, peStart + int64(20+4*leg)*extentSize + c/2*chunk + off%chunk
		}
	}
	lies(t, find(t, g, "rt"), ten(-1))
	if runs, err := find(t, g, "r1").Device.Runs(0, 1<<20); err != nil || len(runs) != 2 || runs[1].Copy != 1 || runs[1].Disk != "1" {
		t.Errorf("runs of a mirror: %+v, %v", runs, err)
	}
	if runs, _ := find(t, g, "base").Device.Runs(0, 1<<20); len(runs) != 1 || !runs[0].Shared {
		t.Errorf("runs of a snapshot's origin are not shared: %+v", runs)
	}
	if v := find(t, g, "snap"); v.Condition != mapped.Unsupported || v.Kind != "snapshot" {
		t.Errorf("snapshot: %+v", v)
	}
	if len(g.Volumes) != 5 {
		t.Errorf("%d volumes", len(g.Volumes))
	}

	// Superblocks tell which legs are good.
	good := super(9, 0, math.MaxUint64)
	leg := func(i int, b []byte) { w.write(i, peStart, b) }
	for name, bad := range map[string][]byte{"old": super(7, 0, math.MaxUint64), "rebuilt": super(9, 0, 100), "none": make([]byte, 512)} {
		leg(0, bad)
		leg(1, good)
		v := find(t, w.assemble(0, 1, 2), "r1")
		lies(t, v, at(1, 1))
		if v.Condition != mapped.Degraded {
			t.Errorf("%s: %v %s", name, v.Condition, v.Reason)
		}
	}
	leg(0, good)
	leg(1, super(9, 1, math.MaxUint64))
	if v := find(t, w.assemble(1, 2), "r1"); v.Condition != mapped.Incomplete && v.Condition != mapped.Degraded {
		t.Errorf("one leg failed, the other gone: %v %s", v.Condition, v.Reason)
	}
	leg(0, good)
	leg(1, good)
	v := find(t, w.assemble(1, 2), "r1")
	if v.Condition != mapped.Degraded {
		t.Errorf("one leg gone: %v %s", v.Condition, v.Reason)
	}
	lies(t, v, at(1, 1))
	// Legs 0 and 3 of rt lie on disk 0.
	v = find(t, w.assemble(1, 2), "rt")
	if v.Condition != mapped.Degraded {
		t.Errorf("RAID 10 without a disk: %v %s", v.Condition, v.Reason)
	}
	lies(t, v, ten(0))
}

func thinVolumes() string {
	thin := func(name, id string, device, extents int) string {
		return lv(name, id, visible, fmt.Sprintf("extent_count = %d\ntype = \"thin\"\nthin_pool = \"pool\"\ntransaction_id = 1\ndevice_id = %d", extents, device))
	}
	return lv("pool", "a", visible, "extent_count = 200\ntype = \"thin-pool\"\nmetadata = \"pool_tmeta\"\npool = \"pool_tdata\"\ntransaction_id = 5\nchunk_size = 128\ndiscards = \"passdown\"\nzero_new_blocks = 1") +
		linear("pool_tmeta", "b", "pv2", 5, 16) + linear("pool_tdata", "c", "pv1", 11, 200) +
		thin("t1", "d", 1, 100) + thin("t2", "e", 2, 100) + thin("t3", "f", 3, 4000000) + thin("t4", "g", 4, 200)
}

// xmlPool is testdata/thin.xml.
type xmlPool struct {
	Devices []struct {
		ID      int `xml:"dev_id,attr"`
		Singles []struct {
			From int64 `xml:"origin_block,attr"`
			To   int64 `xml:"data_block,attr"`
		} `xml:"single_mapping"`
		Ranges []struct {
			From   int64 `xml:"origin_begin,attr"`
			To     int64 `xml:"data_begin,attr"`
			Length int64 `xml:"length,attr"`
		} `xml:"range_mapping"`
	} `xml:"device"`
}

func TestThin(t *testing.T) {
	w := newWorld(t)
	w.restore(thinVolumes())
	w.write(2, peStart+5*extentSize, thinMeta(t))
	b, err := os.ReadFile("testdata/thin.xml")
	if err != nil {
		t.Fatal(err)
	}
	var pool xmlPool
	if err := xml.Unmarshal(b, &pool); err != nil || len(pool.Devices) != 4 {
		t.Fatalf("%v: %+v", err, pool)
	}
	g := w.assemble(0, 1, 2)
	const block = 64 << 10
	for _, d := range pool.Devices {
		blocks := map[int64]int64{}
		for _, s := range d.Singles {
			blocks[s.From] = s.To
		}
		for _, r := range d.Ranges {
			for i := range r.Length {
				blocks[r.From+i] = r.To + i
			}
		}
		v := find(t, g, fmt.Sprint("t", d.ID))
		if v.Condition != mapped.Whole {
			t.Fatalf("%+v", v)
		}
		place := func(off int64) (int, int64) {
			to, ok := blocks[off/block]
			if !ok {
				return -1, 0
			}
			return 1, peStart + 11*extentSize + to*block + off%block
		}
		lies(t, v, place)
		seen := int64(0)
		if err := v.Device.EachRun(0, v.Device.Size(), func(r mapped.Run) bool {
			for at := int64(0); at < r.Length; at += block {
				disk, want := place(r.Offset + at)
				if disk != 1 || r.DiskOffset+at != want || r.Disk != "1" {
					t.Fatalf("t%d: run %+v, want disk %d at %d", d.ID, r, disk, want)
				}
				// Blocks 50 of t1 and 100 of t2 came after the snapshot.
				first := (r.Offset + at) / block
				alone := d.ID == 1 && first == 50 || d.ID == 2 && first == 100 || d.ID > 2
				if r.Shared == alone {
					t.Errorf("t%d block %d: shared %v", d.ID, first, r.Shared)
				}
				seen++
			}
			return true
		}); err != nil || seen != int64(len(blocks)) {
			t.Fatalf("t%d: %d of %d blocks, %v", d.ID, seen, len(blocks), err)
		}
	}
	if v := find(t, g, "pool"); !v.Internal {
		t.Errorf("pool: %+v", v)
	}
	// Damaged metadata are an error where they are needed, not zeros.
	w.write(2, peStart+5*extentSize+100, []byte{0xff})
	if v := find(t, w.assemble(0, 1, 2), "t1"); v.Condition != mapped.Damaged {
		t.Errorf("damaged superblock: %+v", v)
	}
}

// LVM itself reads a text that goes over the ring's end, written as we read it.
func TestWrappedTextEqualsLVM(t *testing.T) {
	w := newWorld(t)
	w.run("lvcreate", "-q", "-an", "-Zn", "-Wn", "-l", "20", "-n", "root", "vg0")
	for n, image := range w.images {
		f, err := os.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, peStart)
		_, err = f.ReadAt(b, 0)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		le := binary.LittleEndian
		h := b[4096 : 4096+512]
		size, off, length := le.Uint64(h[32:]), le.Uint64(h[40:]), le.Uint64(h[48:])
		text := append([]byte(nil), b[4096+off:4096+off+length]...)
		moved := size - length/3
		k := copy(b[4096+moved:4096+size], text)
		copy(b[4096+512:], text[k:])
		le.PutUint64(h[40:], moved)
		le.PutUint32(h, checksum(h[4:]))
		w.write(n, 0, b)
	}
	if out := w.run("lvs", "--noheadings", "-o", "lv_name", "vg0"); strings.TrimSpace(out) != "root" {
		t.Errorf("lvs: %q", out)
	}
	if g := w.assemble(0, 1, 2); len(g.Volumes) != 1 || g.Volumes[0].Name != "root" {
		t.Errorf("%+v", g)
	}
}
