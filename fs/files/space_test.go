package files

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"holdfast/fs/guest"
)

const rootUUID, homeUUID = "11111111-2222-3333-4444-555555555555", "AAAAAAAA-bbbb-cccc-dddd-eeeeeeeeeeee"

const table = `# a comment
UUID="11111111-2222-3333-4444-555555555555" / ext4 defaults 0 1
/dev/sda1	/boot ext2 noatime 0 2
# a deeper line before the one above it
LABEL=my\040data /home/data ext4
uuid=aaaaaaaa-BBBB-cccc-dddd-eeeeeeeeeeee /home auto
/home/alice /export none bind
/dev/nowhere/volume /missing ext4 defaults
//server/share /share cifs credentials=/etc/x
/dev/vdb2 /ondemand ext4 noauto
tmpfs /tmp tmpfs
/dev/sda2 none swap sw
/dev/vdb1 /gone ext4
/dev/vdb1 /link/under ext4
/dev/vdb1 /etc/hostname ext4
`

func twoDisks(t testing.TB) *Space {
	root := tree{"etc/fstab": table, "etc/hostname": "guest\n", "boot/under": "", "home/": "", "missing/empty": "", "export/": "",
		"share/": "", "ondemand/": "", "tmp/": "", "srv/under/": "", "link": "->/srv/../srv", "loop": "->loop", "up": "->../../../etc/hostname",
		"down": "->home/alice/file", "file": "x"}
	return space(t,
		gptDisk(t, "vda", partition{"boot", "", tree{"vmlinuz": "kernel"}}, partition{"root", rootUUID, root}),
		gptDisk(t, "second", partition{"my data", "", tree{"payload": "big"}}, partition{"home", homeUUID, tree{"alice/file": "hello", "data/": "", "back": "->../etc/hostname"}}))
}

// Everything lies where the guest sees it, also over disks.
func TestSpace(t *testing.T) {
	s := twoDisks(t)
	for path, want := range map[string]string{
		"/etc/hostname": "guest\n", "etc/hostname": "guest\n", "/boot/vmlinuz": "kernel", "/home/alice/file": "hello",
		"/home/data/payload": "big", "/export/file": "hello", "/link/under/payload": "big", "/srv/under/payload": "big",
		"/up": "guest\n", "/down": "hello", "/home/back": "guest\n", "/home/../home/./alice//file": "hello", "/../../etc/hostname": "guest\n",
	} {
		if got := read(s, path); got != want {
			t.Errorf("%s holds %q, want %q", path, got, want)
		}
	}
	if got := names(t, s, "/missing"); got != "empty" {
		t.Errorf("/missing holds %q", got)
	}
	if got := names(t, s, "/boot"); got != "vmlinuz" {
		t.Errorf("/boot holds %q", got)
	}
	for path, want := range map[string]error{"/loop": syscall.ELOOP, "/nothing": guest.ErrNotExist, "/file/x": syscall.ENOTDIR,
		strings.Repeat("/etc/..", 600): syscall.ENAMETOOLONG} {
		if _, err := s.Resolve(context.Background(), path, true); !errors.Is(err, want) {
			t.Errorf("%.20s: %v, want %v", path, err, want)
		}
	}
	if p, err := s.Resolve(context.Background(), "/loop", false); err != nil || p.Node == 0 {
		t.Errorf("a link by itself: %v, %v", p, err)
	}
}

// What is not there is named, with the reason.
func TestSpaceTellsItsMounts(t *testing.T) {
	s := twoDisks(t)
	want := []string{
		"/ vda/p2 ", "/boot vda/p1 ", "/home second/p2 ", "/home/data second/p1 ", "/export second/p2 ", "/missing - no volume of this version is that",
		"/share - a filesystem of another machine (cifs)", "/ondemand - mounted on demand only (noauto)",
		"/gone second/p1 mount point: /gone", "/link/under second/p1 ", "/etc/hostname second/p1 only directories",
	}
	mounts := s.describe(func(disk, volume string) string { return disk + "/" + volume })
	for i, m := range mounts {
		vol := m.Volume
		if vol == "" {
			vol = "-"
		}
		got := fmt.Sprintf("%s %s %s", m.Path, vol, m.Problem)
		if i >= len(want) || !strings.HasPrefix(got, want[i]) || strings.HasSuffix(want[i], " ") && got != want[i] {
			t.Errorf("mount %d: %q", i, got)
		}
	}
	if len(mounts) != len(want) {
		t.Errorf("%d mounts, want %d", len(mounts), len(want))
	}
}

// Binding directories into themselves, each other and over the root ends.
func TestSpaceWithoutEnd(t *testing.T) {
	var lines strings.Builder
	lines.WriteString("/dev/sda1 / ext4\n/ /a none bind\n/a /b none bind\n/b/a /a none rbind\n/ / none bind\n/a /a none bind\n")
	for range 600 {
		lines.WriteString("/a /a/a/a none bind\n")
	}
	s := space(t, gptDisk(t, "vda", partition{"", "", tree{"etc/fstab": lines.String(), "a/a/a/a/": "", "b/": ""}}))
	if got := read(s, "/etc/fstab"); !strings.HasPrefix(got, "/dev/sda1") {
		t.Errorf("got %.80q", got)
	}
	seen, deepest := 0, 0
	var down func(p Place, depth int)
	down = func(p Place, depth int) {
		deepest = max(deepest, depth)
		if seen++; depth == 20 || seen > 20000 {
			return
		}
		err := s.ReadDir(context.Background(), p, 0, func(e Entry) bool {
			if e.Type == guest.Directory {
				down(e.Place, depth+1)
			}
			return true
		})
		if err != nil {
			t.Error(err)
		}
	}
	down(s.Root(), 0)
	if len(s.mounts) > maxLines+1 {
		t.Errorf("%d mounts", len(s.mounts))
	}
	if seen > 1000 || len(s.mounts) < 100 {
		t.Errorf("%d directories, %d deep, %d mounts", seen, deepest, len(s.mounts))
	}
}

// The root is the volume whose fstab names it; the other is told.
func TestSpaceOfTwoRoots(t *testing.T) {
	other := partition{"other", "", tree{"etc/fstab": "UUID=" + rootUUID + " / ext4\n", "which": "other"}}
	right := partition{"right", rootUUID, tree{"etc/fstab": "UUID=" + rootUUID + " / ext4\n", "which": "right"}}
	s := space(t, gptDisk(t, "vda", other, right))
	if got := read(s, "/which"); got != "right" || len(s.Notes) != 1 {
		t.Errorf("the root is %q, notes %q", got, s.Notes)
	}
	s = space(t, gptDisk(t, "vda", partition{"data", "", tree{"x": ""}}))
	if s.System != "" || names(t, s, "/") != "" {
		t.Errorf("a disk without a system has the root %+v", s)
	}
}

// An fstab that is a link, out of the guest and within.
func TestSpaceOfLinkedTable(t *testing.T) {
	s := space(t, gptDisk(t, "vda", partition{"", "", tree{"etc/fstab": "->../../../../usr/fstab", "usr/fstab": "/dev/sda1 / ext4\n", "in": "yes"}}))
	if got := read(s, "/in"); got != "yes" {
		t.Errorf("got %q", got)
	}
	s = space(t, gptDisk(t, "vda", partition{"", "", tree{"etc/fstab": "->/etc/fstab"}}))
	if s.System != "" {
		t.Error("a loop of links is no fstab")
	}
}
