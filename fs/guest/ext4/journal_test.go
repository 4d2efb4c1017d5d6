package ext4

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// debugfs runs its commands on an image.
func debugfs(t *testing.T, image string, commands ...string) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "commands")
	if err := os.WriteFile(script, []byte(strings.Join(commands, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return guesttest.Run(t, "debugfs", "-w", "-f", script, image)
}

// TestWrittenJournals replays journals that debugfs has written in each
// version of checksums: blocks that begin like the journal's own, that are
// written twice, revoked, and written again after that. The kernel's recovery
// of a copy says what the blocks hold.
func TestWrittenJournals(t *testing.T) {
	for _, c := range []struct{ features, open, found string }{
		{"^metadata_csum,^64bit", "jo", "journal_incompat_revoke"},
		{"^metadata_csum,^64bit", "jo -c", "journal_checksum"},
		{"metadata_csum,64bit", "jo -c -v 2", "journal_checksum_v2"},
		{"metadata_csum,^64bit", "jo -c -v 2", "journal_checksum_v2"},
		{"metadata_csum,64bit", "jo -c -v 3", "journal_checksum_v3"},
		{"metadata_csum,^64bit", "jo -c -v 3", "journal_checksum_v3"},
	} {
		t.Run(c.open+" "+c.features, func(t *testing.T) {
			image := guesttest.Mkfs(t, 16<<20, "mkfs.ext4", "-q", "-F", "-b", "1024", "-O", c.features)
			content := filepath.Join(t.TempDir(), "content")
			blocks := bytes.Repeat([]byte("abcdefgh"), 3*128)
			be.PutUint32(blocks[1024:], journalMagic)
			if err := os.WriteFile(content, blocks, 0o600); err != nil {
				t.Fatal(err)
			}
			commands := []string{c.open, "jw -b 5000,5001,5002 " + content, "jw -b 6000,5001,6002 " + content, "jw -r 5002,6000,7000",
				"jw -b 6000,7001,7000 " + content, "jc"}
			transactions, written := 4, 6
			if c.open == "jo -c" {
				// debugfs sums a revocation wrongly, and the kernel refuses it.
				commands = slices.Delete(commands, 3, 4)
				transactions, written = 3, 7
			}
			debugfs(t, image, commands...)
			if out := guesttest.Run(t, "dumpe2fs", "-h", image); !strings.Contains(out, c.found) {
				t.Fatalf("debugfs made another journal:\n%s", out)
			}
			checkWritten(t, image, transactions, written)
		})
	}
}

// checkWritten compares blocks with those after the kernel's recovery.
func checkWritten(t *testing.T, image string, transactions, written int) {
	t.Helper()
	fs, err := Open(t.Context(), guesttest.OpenFile(t, image))
	if err != nil {
		t.Fatal(err)
	}
	if fs.state.Health != guest.Replayed || fs.state.Replayed != transactions {
		t.Errorf("state %+v", fs.state)
	}
	recovered := guesttest.Copy(t, image)
	guesttest.Mounted(t, recovered, func(string) {})
	want, err := os.ReadFile(recovered)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for _, block := range []int64{5000, 5001, 5002, 6000, 6001, 6002, 7000, 7001, 7002} {
		got := make([]byte, 1024)
		if err := fs.readBytes(t.Context(), got, block*1024); err != nil || !bytes.Equal(got, want[block*1024:][:1024]) {
			t.Errorf("block %d: %v, %.8q, the kernel says %.8q", block, err, got, want[block*1024:][:8])
		}
		if got[0] != 0 {
			changed++
		}
	}
	if changed != written {
		t.Errorf("%d blocks were written, want %d", changed, written)
	}
}

// TestExternalJournal says why a journal elsewhere is not replayed.
func TestExternalJournal(t *testing.T) {
	image := guesttest.Mkfs(t, 16<<20, "mkfs.ext4", "-q", "-F", "-O", "^metadata_csum,^resize_inode")
	debugfs(t, image, "ssv journal_inum 0", "ssv journal_dev 2049", "feature needs_recovery")
	fs := guesttest.OpenImage(t, image, open)
	if st := fs.State(); st.Health != guest.NotReplayed || !strings.Contains(st.Reason, "another device") {
		t.Errorf("state %+v", st)
	}
	if err := fs.Free(t.Context(), func(guest.Range) bool { return true }); err == nil {
		t.Error("free space in spite of a journal that was not replayed")
	}
}

// TestOverlay looks for each block around copied ones.
func TestOverlay(t *testing.T) {
	l := log{
		copies: []taggedCopy{{copied{home: 5, place: 1}, 0}, {copied{home: 7, place: 2}, 0}, {copied{home: 5, place: 3}, 1}, {copied{home: 9, place: 4}, 1}, {copied{home: 9, place: 5}, 3}},
		// 7 is gone in its own transaction, 9 was written again, 5 was not.
		revoked: []revocation{{7, 0}, {9, 2}, {5, 1}, {11, 0}, {9, 0}},
	}
	o := l.overlay()
	if len(o) != 1 || o[0].home != 9 || o[0].place != 5 {
		t.Fatalf("overlay %+v", o)
	}
	for block, want := range map[uint64]bool{0: true, 8: true, 9: true, 10: false} {
		if got := o.next(block); (got != nil) != want {
			t.Errorf("behind block %d: %+v", block, got)
		}
	}
}

// TestFastMap puts and cuts ranges against a map of single blocks.
func TestFastMap(t *testing.T) {
	var c fastInode
	want := map[uint64]uint64{}
	put := func(start, count, place uint64) {
		c.put(run{start: start, count: count, place: place})
		for i := range count {
			want[start+i] = place + i
		}
	}
	cut := func(from, to uint64) {
		c.cut(from, to)
		for i := from; i < to; i++ {
			delete(want, i)
		}
	}
	for i, step := range []func(){
		func() { put(10, 10, 100) }, func() { put(0, 5, 200) }, func() { put(12, 3, 300) }, func() { cut(14, 17) }, func() { put(4, 7, 400) },
		func() { cut(0, 1) }, func() { cut(50, 60) }, func() { put(30, 1, 500) }, func() { put(0, 40, 600) }, func() { cut(39, 40) }, func() { cut(0, 100) },
	} {
		step()
		for block := range uint64(70) {
			r := c.mapBlock(block)
			if place, mapped := want[block]; r.hole == mapped || mapped && r.place != place || r.count == 0 || r.start != block {
				t.Fatalf("step %d: block %d: %+v, want %d", i, block, r, place)
			}
		}
		if !slices.IsSortedFunc(c.runs, func(a, b run) int { return int(a.start) - int(b.start) }) {
			t.Fatalf("step %d: %s", i, fmt.Sprint(c.runs))
		}
	}
}
