package files

import (
	"reflect"
	"strings"
	"testing"

	"holdfast/fs/guest/volume"
)

func named(disk, name, layer string, change func(*volume.Description)) *Volume {
	v := &Volume{Volume: &volume.Volume{Description: volume.Description{Name: name, Layer: layer, Disks: []string{disk}}}}
	change(&v.Description)
	return v
}

func plain(*volume.Description) {}

func TestFindSource(t *testing.T) {
	f := &Found{disks: []string{"vda", "data", "sdz"}, Volumes: []*Volume{
		named("vda", "p1", "partition", func(d *volume.Description) {
			d.UUID, d.Partition = "ABCD-1234", &volume.Partition{UUID: "0011-01", Name: "EFI part"}
		}),
		named("vda", "p2", "partition", func(d *volume.Description) { d.Label = "a/b c" }),
		named("data", "disk", "disk", plain),
		named("sdz", "p1", "partition", plain),
		named("vda", "vg--x-my--root", "lvm linear", func(d *volume.Description) { d.MapperID = "LVM-abcd" }),
		named("vda", "md0", "md raid1", plain),
		named("vda", "md-data", "md raid1", plain),
		named("vda", "md0p1", "partition", plain),
	}}
	for source, want := range map[string]int{
		"UUID=abcd-1234": 0, `UUID="ABCD-1234"`: 0, "uuid=ABCD-1234": 0, "UUID=": -1, "UUID=other": -1, "PARTUUID=0011-01": 0, "PARTLABEL=EFI part": 0,
		"LABEL=a/b c": 1, `/dev/disk/by-label/a\x2fb\x20c`: 1, "/dev/disk/by-uuid/ABCD-1234": 0, "/dev/disk/by-partuuid/0011-01": 0,
		`/dev/disk/by-partlabel/EFI\x20part`: 0, "/dev/disk/by-id/dm-name-vg--x-my--root": 4, "/dev/disk/by-id/dm-uuid-LVM-abcd": 4,
		"/dev/disk/by-id/dm-uuid-": -1, "/dev/disk/by-path/pci-0:1": -1, "/dev/disk/by-id/": -1, "/dev/disk/by-": -1,
		"/dev/mapper/vg--x-my--root": 4, "/dev/vg-x/my-root": 4, "/dev/vg-x/other": -1, "/dev/md0": 5, "/dev/md/0": 5, "/dev/md/data": 6, "/dev/md0p1": 7,
		"/dev/vda1": 0, "/dev/sda2": 1, "/dev/xvda1": 0, "/dev/hda2": 1, "/dev/nvme0n1p2": 1, "/dev/mmcblk0p1": 0, "/dev/sdb": 2, "/dev/nvme1n1": 2,
		"/dev/data": 2, "/dev/sdz1": 3, "/dev/sdc1": 3, "/dev/sdd1": -1, "/dev/sd": -1, "/dev/sda": -1, "/dev/sda9": -1, "/dev/nvme": -1, "/dev/": -1, "": -1, "=": -1, "none": -1,
	} {
		got := -1
		for i, v := range f.Volumes {
			if v == f.find(source) {
				got = i
			}
		}
		if got != want {
			t.Errorf("%q is volume %d, want %d", source, got, want)
		}
	}
}

func TestParseTable(t *testing.T) {
	got := parseTable("#x\n\n one\na b\nc\\040d e\\011 ext4 \"x\",subvol=\"@\",subvol=/@home 0 0\n\\777 \\ \\04 x\n")
	want := []line{
		{"a", "b", "auto", []string{"defaults"}},
		{"c d", "e\t", "ext4", []string{`"x"`, `subvol="@"`, "subvol=/@home"}},
		{`\777`, `\`, `\04`, []string{"x"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if v, ok := got[1].option("subvol"); !ok || v != "/@home" {
		t.Errorf("subvol %q", v)
	}
}

func TestInOrder(t *testing.T) {
	for text, want := range map[string]string{
		"a /a/b x\nb / x\nc /a/ x\nd /c x\n":                                "b c a d",
		"/x/y /bind x bind\nb /bind/in x\nc /x x\nd / x":                    "d c /x/y b",
		"/b /a x bind\n/a /b x bind\n":                                      "/a /b",
		"/ / x bind\n/a/a /a x bind\n":                                      "/ /a/a",
		"one /a x\ntwo /a x\nthree /ab x\n/ab /aa x bind\n/aa/.. /z x bind": "one two three /ab /aa/..",
	} {
		var got []string
		for _, l := range inOrder(parseTable(text)) {
			got = append(got, l.source)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzTable(f *testing.F) {
	f.Add(table)
	f.Add("\\0 \\04 \\\n")
	found := &Found{disks: []string{"vda"}, Volumes: []*Volume{named("vda", "p1", "partition", plain)}}
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range inOrder(parseTable(text)) {
			found.find(l.source)
			l.onDisk()
			l.option("subvol")
		}
	})
}
