package md

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/volume/mapped"
)

const chunk = 64 << 10

// place tells where a byte of an array lies: member, and offset in its data.
type place func(off int64) (member int, at int64)

// lies compares an array's bytes with where they should lie.
func (s spec) lies(t *testing.T, d *mapped.Device, at place) {
	t.Helper()
	b := make([]byte, d.Size())
	if n, err := d.ReadAt(b, 0); n != len(b) || err != nil && err != io.EOF {
		t.Fatalf("read %d of %d: %v", n, len(b), err)
	}
	for off := int64(0); off < d.Size(); off += 512 {
		member, in := at(off)
		_, data, _ := s.place(member)
		if got := binary.BigEndian.Uint64(b[off:]); got != word(member, data+in) {
			t.Fatalf("byte %d comes from member %d at %d, not %d at %d", off, int(got>>56)-1, got<<8>>8, member, data+in)
		}
	}
}

func TestLevels(t *testing.T) {
	stripes := func(n int64) place {
		return func(off int64) (int, int64) {
			c := off / chunk
			return int(c % n), c/n*chunk + off%chunk
		}
	}
	for _, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		for _, c := range []struct {
			name string
			spec spec
			at   place
		}{
			{"raid0", spec{level: 0, disks: 3, chunk: chunk}, stripes(3)},
			{"raid1", spec{level: 1, disks: 2}, func(off int64) (int, int64) { return 0, off }},
			{"raid10", spec{level: 10, disks: 4, chunk: chunk, layout: 0x102}, func(off int64) (int, int64) {
				c := off / chunk
				return int(c % 2 * 2), c/2*chunk + off%chunk
			}},
			{"raid10", spec{level: 10, disks: 4, chunk: chunk, layout: 0x201}, stripes(4)},
			{"linear", spec{level: -1, disks: 2, chunk: chunk}, nil},
		} {
			c.spec.version = version
			t.Run(version+" "+c.name, func(t *testing.T) { level(t, c.name, c.spec, c.at) })
		}
	}
}

func level(t *testing.T, name string, s spec, at place) {
	members, content := s.members(t)
	a := array(t, members)
	if a.Condition != mapped.Whole || a.Level != name {
		t.Fatalf("%+v", a)
	}
	if at == nil {
		_, _, length := s.place(0)
		length = length / chunk * chunk
		at = func(off int64) (int, int64) { return int(off / length), off % length }
	}
	s.lies(t, a.Device, at)

	got := examine(t, content["0"])
	if got["Raid Level"] != name || got["Raid Devices"] != fmt.Sprint(s.disks) || !strings.HasSuffix(got["Checksum"], "correct") {
		t.Errorf("mdadm tells %q", got)
	}
	if id := members[0].UUID; got["Array UUID"] != id && !strings.HasPrefix(got["UUID"], id) {
		t.Errorf("UUID %s, mdadm tells %q", id, got)
	}
	if s.version != "0.90" {
		data := fmt.Sprintf("%d sectors", members[0].data.Offset/512)
		if s.version == "1.0" {
			data = "" // it is 0, and mdadm does not say so
		}
		if got["Name"] != a.Name || got["Data Offset"] != data ||
			got["Super Offset"] != fmt.Sprintf("%d sectors", members[0].At/512) {
			t.Errorf("%+v, mdadm tells %q", members[0].Super, got)
		}
	}
	if size, _, ok := strings.Cut(got["Array Size"], " "); ok {
		unit := int64(1024)
		if strings.Contains(got["Array Size"], "sectors") {
			unit = 512
		}
		if fmt.Sprint(a.Device.Size()/unit) != size {
			t.Errorf("size %d, mdadm tells %s", a.Device.Size(), got["Array Size"])
		}
	} else if s.level > 0 {
		t.Errorf("mdadm tells no size: %q", got)
	}
}

func TestDegraded(t *testing.T) {
	second := func(off int64) (int, int64) { return 1, off }
	mirror := spec{version: "1.2", level: 1, disks: 2}
	members, _ := mirror.members(t, 0)
	a := array(t, members)
	if a.Condition != mapped.Degraded {
		t.Errorf("%+v", a)
	}
	mirror.lies(t, a.Device, second)

	// The first member fell behind, is being rebuilt, or has failed.
	for _, s := range []spec{
		{version: "1.2", level: 1, disks: 2, events: []uint64{5, 9}},
		{version: "1.2", level: 1, disks: 2, features: []uint32{featRecovery, 0}},
		{version: "1.2", level: 1, disks: 2, roles: []uint16{faulty, 1}},
		{version: "0.90", level: 1, disks: 2, events: []uint64{5, 9}},
	} {
		members, _ := s.members(t)
		a := array(t, members)
		if a.Condition != mapped.Degraded || !strings.Contains(a.Reason, "not used") {
			t.Errorf("%+v: %+v", s, a)
		}
		s.lies(t, a.Device, second)
	}

	ten := spec{version: "1.2", level: 10, disks: 4, chunk: chunk, layout: 0x102}
	members, _ = ten.members(t, 0, 3)
	if a = array(t, members); a.Condition != mapped.Degraded {
		t.Errorf("%+v", a)
	}
	ten.lies(t, a.Device, func(off int64) (int, int64) {
		c := off / chunk
		return int(c%2) + 1, c/2*chunk + off%chunk
	})
	for _, without := range [][]int{{0, 1}, {2, 3}} {
		members, _ = ten.members(t, without...)
		if a = array(t, members); a.Condition != mapped.Incomplete || a.Device.Refused() == nil {
			t.Errorf("without %v: %+v", without, a)
		}
	}
	zero := spec{version: "1.2", level: 0, disks: 2, chunk: chunk}
	members, _ = zero.members(t, 1)
	if a = array(t, members); a.Condition != mapped.Incomplete {
		t.Errorf("%+v", a)
	}
}

// A RAID 0 of members of three sizes has three zones; the two layouts differ
// behind the first.
func TestZones(t *testing.T) {
	for layout := uint32(0); layout <= 2; layout++ {
		features := []uint32{featLayout0, featLayout0, featLayout0}
		if layout == 0 {
			features = nil
		}
		s := spec{version: "1.2", level: 0, disks: 3, chunk: chunk, layout: layout, features: features, sizes: []int64{3 << 20, 6<<20 + chunk, 4<<20 + chunk}}
		members, _ := s.members(t)
		a := array(t, members)
		if layout == 0 {
			if a.Condition != mapped.Unsupported {
				t.Errorf("no layout: %+v", a)
			}
			continue
		}
		if a.Condition != mapped.Whole {
			t.Fatalf("%+v", a)
		}
		// In chunks: 32 rows of three, 17 rows of two, 16 of member 1.
		s.lies(t, a.Device, func(off int64) (int, int64) {
			c, in := off/chunk, off%chunk
			switch {
			case c < 96:
				return int(c % 3), c/3*chunk + in
			case c < 96+34:
				turn := c
				if layout == 2 {
					turn -= 96
				}
				return 1 + int(turn%2), (32+(c-96)/2)*chunk + in
			}
			return 1, (49+c-130)*chunk + in
		})
		if a.Device.Size() != (96+34+32)*chunk {
			t.Errorf("%d chunks", a.Device.Size()/chunk)
		}
	}
}

func TestNamedOnly(t *testing.T) {
	for _, s := range []spec{
		{version: "1.2", level: 5, disks: 3, chunk: chunk, layout: 2},
		{version: "1.2", level: 6, disks: 4, chunk: chunk, layout: 2},
		{version: "1.2", level: 1, disks: 2, features: []uint32{featReshape, featReshape}},
		{version: "1.2", level: 1, disks: 2, features: []uint32{1 << 20, 1 << 20}},
		{version: "1.2", level: 10, disks: 4, chunk: chunk, layout: 0x20201},
	} {
		members, _ := s.members(t)
		a := array(t, members)
		if a.Condition != mapped.Unsupported || !strings.Contains(a.Reason, levelName(s.level)) || a.Device.Size() == 0 {
			t.Errorf("%+v", a)
		}
		if _, err := a.Device.ReadAt(make([]byte, 1), 0); !errors.Is(err, guest.ErrUnsupported) {
			t.Errorf("read: %v", err)
		}
	}
}

func TestNoSuperblock(t *testing.T) {
	for _, size := range []int64{0, 1, 511, 4096, 8191, 65536, 131072, 1 << 20} {
		b := make([]byte, size)
		if _, err := Probe(t.Context(), mapped.Disk("d", io.NewSectionReader(bytes.NewReader(b), 0, size))); !errors.Is(err, guest.ErrNotMine) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	whole := spec{version: "1.2", level: 1, disks: 2}.member(0)
	for size := int64(4096); size < 8192; size++ {
		Probe(t.Context(), mapped.Disk("d", io.NewSectionReader(bytes.NewReader(whole[:size]), 0, size)))
	}
}

// Superblocks with changed bytes and right sums.
func TestMutated(t *testing.T) {
	specs := []spec{
		{version: "1.2", level: 0, disks: 3, chunk: chunk},
		{version: "1.2", level: 1, disks: 2},
		{version: "1.2", level: 10, disks: 4, chunk: chunk, layout: 0x102},
		{version: "1.2", level: -1, disks: 2},
	}
	rnd := rand.New(rand.NewPCG(9, 10))
	odd := []byte{0, 1, 2, 0x7f, 0x80, 0xff}
	readable := 0
	for _, s := range specs {
		var images [][]byte
		for i := range s.disks {
			images = append(images, s.member(i))
		}
		for range guesttest.Rounds(t, 1500) {
			at, value, all := 4096+rnd.IntN(300), odd[rnd.IntN(len(odd))], rnd.IntN(2) == 0
			var saved [][]byte
			for i, b := range images {
				saved = append(saved, bytes.Clone(b[4096:4096+512]))
				if all || i == 0 {
					b[at] = value
				}
				seal(b[4096:])
			}
			readable += use(t, images)
			for i, b := range images {
				copy(b[4096:], saved[i])
			}
		}
	}
	if readable == 0 {
		t.Error("no mutant could be read")
	}
}

// seal makes the sum of a superblock right.
func seal(b []byte) {
	if n := binary.LittleEndian.Uint32(b[220:]); n <= maxRoles && int(256+2*n) <= len(b) {
		binary.LittleEndian.PutUint32(b[216:], sum1(b[:256+2*n]))
	}
}

// use assembles what it can and reads a little of it.
func use(t testing.TB, images [][]byte) (readable int) {
	var members []Member
	for i, b := range images {
		d := mapped.Disk(fmt.Sprint(i), io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))))
		if s, err := Probe(context.Background(), d); err == nil {
			members = append(members, Member{s, d})
		}
	}
	arrays, err := Assemble(context.Background(), members)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range arrays {
		p := make([]byte, 3000)
		for _, off := range []int64{0, a.Device.Size() / 2, a.Device.Size() - 1} {
			if n, _ := a.Device.ReadAt(p, off); n > 0 {
				readable++
			}
			a.Device.Runs(off, 1<<20)
		}
		a.Device.Solid()
	}
	return readable
}

func FuzzSuper(f *testing.F) {
	for _, s := range []spec{
		{version: "1.2", level: 0, disks: 2, chunk: chunk, sizes: []int64{2 << 20, 2 << 20}},
		{version: "1.2", level: 10, disks: 4, chunk: chunk, layout: 0x201, sizes: []int64{2 << 20, 2 << 20, 2 << 20, 2 << 20}},
	} {
		f.Add(s.member(0)[4096:4096+512], s.member(1)[4096:4096+512])
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var images [][]byte
		for _, super := range [][]byte{a, b} {
			image := make([]byte, 2<<20)
			copy(image[4096:], super[:min(len(super), 4096)])
			seal(image[4096:8192])
			images = append(images, image)
		}
		use(t, images)
	})
}
