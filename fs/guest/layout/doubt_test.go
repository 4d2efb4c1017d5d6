package layout

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/volume"
)

// TestSleepInAFile: a guest that sleeps in a swap file knows more than its
// disks as well, also of those that were looked at before.
func TestSleepInAFile(t *testing.T) {
	image := guesttest.Mkfs(t, 64<<20, "mkfs.ext4", "-q", "-F")
	guesttest.Mounted(t, image, func(dir string) {
		guesttest.Run(t, "sh", "-c", `cd "$1" && head -c 20M /dev/zero >swap && chmod 600 swap && mkswap -q swap && sync -f swap`, "sh", dir)
	})
	awake, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(awake, []byte("SWAPSPACE2"))
	if at < 0 {
		t.Fatal("no swap file")
	}
	asleep := bytes.Clone(awake)
	copy(asleep[at:], "S1SUSPEND\x00")
	ice := bytes.Clone(awake)
	copy(ice[at-4086:], "\xed\xc3\x02\xe9\x98\x56\xe5\x0c")
	for name, b := range map[string][]byte{"awake": awake, "asleep": asleep, "TuxOnIce": ice} {
		l, err := Scan(t.Context(), []volume.Disk{{Name: "before", Volume: bytes.NewReader(awake)}, {Name: "a", Volume: bytes.NewReader(b)}}, all)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for _, disk := range []string{"before", "a"} {
			out := len(l.Out(nil, disk, 0, int64(len(b))))
			if (out == 0) != (name != "awake") {
				t.Errorf("%s: %d ranges of %s are out", name, out, disk)
			}
			if len(l.Cuts(nil, disk, 0, int64(len(b)))) == 0 {
				t.Errorf("%s: no cuts of %s", name, disk)
			}
		}
		if n := strings.Join(l.Notices("before"), " "); strings.Contains(n, "sleep") != (name != "awake") {
			t.Errorf("%s: notices %q", name, n)
		}
	}
}

// TestTuxOnIce leaves the mark of swap in its place.
func TestTuxOnIce(t *testing.T) {
	b, err := os.ReadFile(guesttest.Mkfs(t, 8<<20, "mkswap", "-q"))
	if err != nil {
		t.Fatal(err)
	}
	copy(b, "\xed\xc3\x02\xe9\x98\x56\xe5\x0c")
	if got := scanOne(t, bytes.NewReader(b), all).Out(nil, "a", 0, int64(len(b))); len(got) > 0 {
		t.Errorf("a sleeping guest's memory is out: %v", got)
	}
}

// TestFATIsKept: nothing proves what a FAT says is free.
func TestFATIsKept(t *testing.T) {
	v := guesttest.OpenFile(t, guesttest.Mkfs(t, 32<<20, "mkfs.vfat", "-F", "16"))
	l := scanOne(t, v, all)
	if out, n := l.Out(nil, "a", 0, v.Size()), l.Notices("a"); len(out) > 0 || len(n) > 0 {
		t.Errorf("out %v, notices %q", out, n)
	}
}

// TestPageFilesInDoubt: page files of a volume that is in doubt are captured,
// whatever else is left out.
func TestPageFilesInDoubt(t *testing.T) {
	image := guesttest.Mkfs(t, 32<<20, "mkntfs", "-q", "-F", "-f")
	data := t.TempDir() + "/data"
	guesttest.Run(t, "sh", "-c", `head -c 3000000 /dev/urandom >"$1"`, "sh", data)
	guesttest.Run(t, "ntfscp", "-q", "-f", image, data, "pagefile.sys")
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	for name, doubt := range map[string]func(b []byte){
		"none":          func([]byte) {},
		"shadow copies": func(b []byte) { copy(b[0x1e00:], shadowed) },
		"an older mark": func(b []byte) { copy(b[32768:], "\x01CD001") },
	} {
		b := bytes.Clone(content)
		doubt(b)
		for _, o := range []Options{{Swap: true}, all} {
			got := scanOne(t, bytes.NewReader(b), o).Out(nil, "a", 0, int64(len(b)))
			if (len(got) > 0) != (name == "none") {
				t.Errorf("%s: %d ranges are out", name, len(got))
			}
		}
	}
}

const shadowed = "\x6b\x87\x08\x38\x76\xc1\x48\x4e\xb7\xae\x04\x04\x6e\x6c\xc7\x52\x02\x00\x00\x00\x01\x00\x00\x00" +
	"\x00\x1e\x00\x00\x00\x00\x00\x00\x00\x1e\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00"

// TestTwoOwners: where something else lies in a partition as well, nothing of it
// is out.
func TestTwoOwners(t *testing.T) {
	const mib = 1 << 20
	fs, err := os.ReadFile(disk(t, images[0].mkfs, 0))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, append(append(make([]byte, mib), fs...), make([]byte, 40*mib)...), 0o600); err != nil {
		t.Fatal(err)
	}
	guesttest.Run(t, "sh", "-c", `printf 'label: dos\nstart=2048,size=131072,type=83\nstart=133120,type=5\nstart=135168,type=83\n' | sfdisk -q "$1"`, "sh", path)
	plain, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, owner := range map[string]func(b []byte){
		"none":            func([]byte) {},
		"firmware RAID":   func(b []byte) { copy(b[len(b)-1024:], "Intel Raid ISM Cfg Sig. 1.1") },
		"all of the disk": func(b []byte) { copy(b[32768:], "\x01CD001") },
		"a link of the chain": func(b []byte) {
			const at = 33 * mib / 512
			copy(b[33*mib:], b[65*mib:][:512])
			le.PutUint32(b[446+16+8:], at)
			le.PutUint32(b[33*mib+446+8:], 135168-at)
		},
	} {
		b := bytes.Clone(plain)
		owner(b)
		out := scanOne(t, bytes.NewReader(b), all).Out(nil, "a", 0, int64(len(b)))
		if (len(out) > 0) != (name == "none") {
			t.Errorf("%s: %d ranges are out", name, len(out))
		}
	}
}

// TestGPT: the table's own sectors are no second owner of its partitions, but an
// entry of the MBR that cuts them otherwise is.
func TestGPT(t *testing.T) {
	const mib = 1 << 20
	fs, err := os.ReadFile(disk(t, images[0].mkfs, 0))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, append(append(make([]byte, mib), fs...), make([]byte, mib)...), 0o600); err != nil {
		t.Fatal(err)
	}
	guesttest.Run(t, "sh", "-c", `printf 'label: gpt\nstart=2048,size=131072\n' | sfdisk -q "$1"`, "sh", path)
	plain, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		start, count uint32 // of an entry in the MBR
		alone        bool
	}{{0, 0, true}, {2048, 131072, true}, {2048, 4096, false}, {40000, 4096, false}} {
		b := bytes.Clone(plain)
		if c.count > 0 {
			b[446+16+4] = 0x83
			le.PutUint32(b[446+16+8:], c.start)
			le.PutUint32(b[446+16+12:], c.count)
		}
		out := scanOne(t, bytes.NewReader(b), all).Out(nil, "a", 0, int64(len(b)))
		if (len(out) > 0) != c.alone {
			t.Errorf("%+v: %d ranges are out", c, len(out))
		}
	}
}

// TestAllTogether: volumes over each other don't read more than their disks, and
// those beyond keep what they have.
func TestAllTogether(t *testing.T) {
	v := guesttest.OpenFile(t, disk(t, images[0].mkfs, 0))
	for _, much := range []bool{false, true} {
		s := &scan{Layout: &Layout{names: []string{"a"}, pages: newPages(1<<20, "")}, options: all, meter: new(meter), disks: []volume.Disk{{Name: "a", Volume: v}}}
		s.options.Patience, s.options.grace = time.Hour, time.Hour
		if much {
			s.meter.read.Store(1<<30 + v.Size())
		}
		s.disks[0].Volume = metered{v, s.meter}
		s.meter.allow(1 << 30)
		found, err := volume.Find(t.Context(), s.disks)
		if err != nil {
			t.Fatal(err)
		}
		s.until = time.Now().Add(s.total(s.options.Patience))
		if err := s.look(t.Context(), found.Volumes[0]); err != nil {
			t.Fatal(err)
		}
		if out := s.Out(nil, "a", 0, v.Size()); (len(out) == 0) != much {
			t.Errorf("%d ranges are out, too much was read: %v", len(out), much)
		}
	}
}
