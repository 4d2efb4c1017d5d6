package ntfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/blockcache"
	"holdfast/fs/guest/guesttest"
)

// plainImage has a few files, some of them with clusters.
func plainImage(t testing.TB, args ...string) string {
	t.Helper()
	image := mkntfs(t, 16<<20, args...)
	mounted(t, image, func(dir string) {
		must(t, os.Mkdir(dir+"/dir", 0o755))
		for i, n := range []int{10, 5000, 100_000} {
			must(t, os.WriteFile(dir+"/dir/f"+string(rune('0'+i)), bytes.Repeat([]byte("content "), n/8), 0o644))
		}
	})
	return image
}

// restartPageOf makes a page of $LogFile.
func restartPageOf(lsn uint64, client, flags uint16) []byte {
	b := make([]byte, minPage)
	copy(b, restartMagic)
	le.PutUint16(b[4:], 30)
	le.PutUint16(b[6:], minPage/strideLen+1)
	le.PutUint32(b[16:], minPage)
	le.PutUint32(b[20:], minPage)
	le.PutUint16(b[24:], 48)
	le.PutUint64(b[48:], lsn)
	le.PutUint16(b[48+12:], client)
	le.PutUint16(b[48+14:], flags)
	le.PutUint16(b[30:], 7)
	protect(b)
	return b
}

// TestLogState tells clean and dirty logs apart.
func TestLogState(t *testing.T) {
	image := plainImage(t)
	blank := bytes.Repeat([]byte{0xff}, minPage)
	torn := restartPageOf(9, noClient, 0)
	torn[511]++
	for _, c := range []struct {
		name          string
		first, second []byte
		health        guest.Health
		reason        string
	}{
		{"empty", blank, blank, guest.Clean, ""},
		{"no client", restartPageOf(5, noClient, 0), restartPageOf(4, 0, 0), guest.Clean, ""},
		{"clean", restartPageOf(5, 0, restartClean), restartPageOf(4, 0, 0), guest.Clean, ""},
		{"open", restartPageOf(5, 0, 0), restartPageOf(4, noClient, 0), guest.NotReplayed, "was open"},
		{"the second is newer", restartPageOf(5, noClient, 0), restartPageOf(6, 0, 0), guest.NotReplayed, "was open"},
		{"the first is torn", torn, restartPageOf(6, 0, 0), guest.NotReplayed, "was open"},
		{"both are torn", torn, torn, guest.NotReplayed, "no restart page"},
		{"garbage", make([]byte, minPage), make([]byte, minPage), guest.NotReplayed, "no restart page"},
	} {
		fs := openFS(t, image)
		x, err := fs.file(t.Context(), recordLog)
		must(t, err)
		s, err := fs.stream(t.Context(), x, attrData, "")
		must(t, err)
		must(t, fs.eachRun(t.Context(), s, 0, fs.g.clustersOf(3*minPage), func(r run) bool {
			patch(t, image, fs.g.place(r.cluster), 3*minPage, func(b []byte) {
				copy(b, bytes.Repeat([]byte{0xff}, len(b)))
				copy(b, c.first)
				copy(b[minPage:], c.second)
			})
			return false // the log lies in one run
		}))
		fs = openFS(t, image)
		if st := fs.State(); st.Health != c.health || !strings.Contains(st.Reason, c.reason) || c.reason == "" && st.Reason != "" {
			t.Errorf("%s: %+v", c.name, st)
		}
		err = fs.Free(t.Context(), func(guest.Range) bool { return true })
		if c.health == guest.Clean && err != nil || c.health != guest.Clean && !errors.Is(err, guest.ErrUnsupported) {
			t.Errorf("%s: free: %v", c.name, err)
		}
		if n, err := fs.ReadAt(t.Context(), lookup(t, fs, "dir/f2"), make([]byte, 100), 0); n != 100 {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestHibernated tells of a Windows that sleeps.
func TestHibernated(t *testing.T) {
	for head, asleep := range map[string]bool{"hibr": true, "HIBR": true, "wake": false, "\x00\x00\x00\x00": false, "": false} {
		image := plainImage(t)
		mounted(t, image, func(dir string) {
			content := head
			if head != "" {
				content += strings.Repeat("\x00", 8192)
			}
			must(t, os.WriteFile(dir+"/HIBERFIL.SYS", []byte(content), 0o644))
		})
		st := openFS(t, image).State()
		if got := st.Health == guest.NotReplayed && strings.Contains(st.Reason, "hiberfil.sys"); got != asleep {
			t.Errorf("%q: %+v", head, st)
		}
	}
}

// TestVolumeFlags reads label and version, and says when chkdsk is due.
func TestVolumeFlags(t *testing.T) {
	image := plainImage(t, "-L", "Größe 😀")
	if st := openFS(t, image).State(); st.Label != "Größe 😀" || st.Reason != "" || len(st.UUID) != 16 {
		t.Errorf("%+v", st)
	}
	edit(t, image, recordVolume, func(b []byte) { attributeAt(t, b, attrVolumeInfo)[residentHead+10] |= 1 })
	fs := openFS(t, image)
	if st := fs.State(); !strings.Contains(st.Reason, "dirty") {
		t.Errorf("%+v", st)
	}
	wantError(t, "free", fs.Free(t.Context(), func(guest.Range) bool { return true }), guest.ErrUnsupported, "dirty")
}

// TestShadowCopies: what was deleted since a shadow copy was made is its own.
func TestShadowCopies(t *testing.T) {
	for _, c := range []struct {
		name     string
		kind     uint32
		catalog  uint64
		shadowed bool
	}{{"a catalog", 1, 0x28ac000, true}, {"none any more", 1, 0, false}, {"of another sort", 7, 0, true}} {
		image := plainImage(t)
		patch(t, image, 0x1e00, 512, func(b []byte) {
			copy(b, "\x6b\x87\x08\x38\x76\xc1\x48\x4e\xb7\xae\x04\x04\x6e\x6c\xc7\x52")
			le.PutUint32(b[16:], 2)
			le.PutUint32(b[20:], c.kind)
			le.PutUint64(b[48:], c.catalog)
		})
		err := openFS(t, image).Free(t.Context(), func(guest.Range) bool { return true })
		if c.shadowed != errors.Is(err, guest.ErrUnsupported) || !c.shadowed && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestBootSector opens a volume by the copy of its boot sector.
func TestBootSector(t *testing.T) {
	for _, args := range [][]string{{"-c", "4096"}, {"-s", "4096", "-c", "4096"}} {
		image := plainImage(t, args...)
		whole, err := os.ReadFile(image)
		must(t, err)
		for name, change := range map[string]func(b []byte){
			"blank":    func(b []byte) { clear(b) },
			"no $MFT":  func(b []byte) { le.PutUint64(b[48:], 1<<60) },
			"clusters": func(b []byte) { b[13] = 3 },
		} {
			patch(t, image, 0, bootLen, change)
			fs := openFS(t, image)
			if st := fs.State(); !strings.Contains(st.Reason, "backup") {
				t.Errorf("%s: %+v", name, st)
			}
			lookup(t, fs, "dir/f1")
			must(t, os.WriteFile(image, whole, 0o600))
		}
		patch(t, image, 0, bootLen, func(b []byte) { b[3] = 'X' })
		if _, err := Open(t.Context(), guesttest.OpenFile(t, image)); !errors.Is(err, guest.ErrNotMine) {
			t.Errorf("another filesystem: %v", err)
		}
	}
}

// TestTornRecords fails for the file whose record is torn, and reads the first
// records from their copy.
func TestTornRecords(t *testing.T) {
	image := plainImage(t)
	fs := openFS(t, image)
	torn := lookup(t, fs, "dir/f1")
	tear := func(n uint64) {
		patch(t, image, placeOf(t, image, n), 1024, func(b []byte) { b[1023]++ })
	}
	tear(uint64(torn))
	fs = openFS(t, image)
	_, err := fs.Stat(t.Context(), torn)
	wantError(t, "stat", err, guest.ErrCorrupt, "torn")
	_, err = fs.ReadAt(t.Context(), torn, make([]byte, 1), 0)
	wantError(t, "read", err, guest.ErrCorrupt, "torn")
	wantError(t, "free", fs.Free(t.Context(), func(guest.Range) bool { return true }), guest.ErrUnsupported, "torn")
	files := 0
	must(t, fs.Files(t.Context(), func(n guest.Node, _ int64, _ guest.Extent) bool {
		files++
		if n == torn {
			t.Error("the torn file has extents")
		}
		return true
	}))
	if files == 0 {
		t.Error("no other file has extents")
	}
	for n := range uint64(mirrorRecords) {
		tear(n)
	}
	fs = openFS(t, image)
	if n, err := fs.ReadAt(t.Context(), lookup(t, fs, "dir/f2"), make([]byte, 100), 0); n != 100 {
		t.Errorf("with $MFTMirr: %v", err)
	}
}

// TestFreeIsProved does not tell of free space when a file's clusters are among
// it, as after a crash of a driver that keeps no log.
func TestFreeIsProved(t *testing.T) {
	image := plainImage(t)
	fs := openFS(t, image)
	free := int64(0)
	must(t, fs.Free(t.Context(), func(r guest.Range) bool { free += r.Length; return true }))
	if st := fs.State(); free == 0 || st.Used+free != st.Size {
		t.Errorf("%d bytes free: %+v", free, st)
	}
	x, err := fs.file(t.Context(), uint64(lookup(t, fs, "dir/f2")))
	must(t, err)
	s, err := fs.stream(t.Context(), x, attrData, "")
	must(t, err)
	bitmap, err := fs.bitmap(t.Context())
	must(t, err)
	var cluster, at int64
	must(t, fs.eachRun(t.Context(), s, 0, 1, func(r run) bool { cluster = r.cluster; return false }))
	must(t, fs.eachRun(t.Context(), bitmap, 0, 1, func(r run) bool { at = fs.g.place(r.cluster); return false }))
	patch(t, image, at+cluster/8, 1, func(b []byte) { b[0] &^= 1 << (cluster % 8) })
	wantError(t, "free", openFS(t, image).Free(t.Context(), func(guest.Range) bool { return true }), guest.ErrUnsupported, "do not agree")
}

// TestInitialised reads zeros behind what was ever written, as ntfs-3g does, and
// refuses what it can't read.
func TestInitialised(t *testing.T) {
	for _, written := range []uint64{0, 1, 4095, 4096, 4097, 50_001, 99_999, 100_000} {
		image := plainImage(t)
		edit(t, image, uint64(lookup(t, openFS(t, image), "dir/f2")), func(b []byte) {
			le.PutUint64(attributeAt(t, b, attrData)[56:], written)
		})
		fs := compare(t, image)
		end := int64(0)
		must(t, fs.Extents(t.Context(), lookup(t, fs, "dir/f2"), 0, func(e guest.Extent) bool {
			if !e.Hole {
				end = e.Offset + e.Length
			}
			return true
		}))
		if end != int64(written) {
			t.Errorf("data up to %d, not %d", end, written)
		}
	}
}

// TestNotReadable lists files whose content can't be read, and says why.
func TestNotReadable(t *testing.T) {
	for says, change := range map[string]func(a []byte){
		"EFS":      func(a []byte) { le.PutUint16(a[12:], flagEncrypted) },
		"method 2": func(a []byte) { le.PutUint16(a[12:], 2) },
	} {
		image := plainImage(t)
		edit(t, image, uint64(lookup(t, openFS(t, image), "dir/f2")), func(b []byte) { change(attributeAt(t, b, attrData)) })
		isUnsupported(t, openFS(t, image), "dir/f2", says)
	}
	image := plainImage(t)
	mounted(t, image, func(dir string) {
		setReparse(t, dir+"/dir/f2", append(le.AppendUint32(nil, tagDedup), 4, 0, 0, 0, 1, 2, 3, 4))
	})
	isUnsupported(t, openFS(t, image), "dir/f2", "deduplicated")
}

// TestNotNTFS says ErrNotMine of what is none.
func TestNotNTFS(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 4096, 1 << 20} {
		_, err := Open(t.Context(), memoryVolume{bytes.NewReader(make([]byte, size))})
		wantError(t, "zeros", err, guest.ErrNotMine, "")
	}
}

// memoryVolume is a volume in memory.
type memoryVolume struct{ *bytes.Reader }

func (v memoryVolume) Size() int64 { return v.Reader.Size() }

// TestConcurrent walks one volume from several goroutines, some of which give
// up.
func TestConcurrent(t *testing.T) {
	fs := openFS(t, smallImage(t, "-c", "512"))
	done := make(chan error)
	for i := range 8 {
		go func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%2 == 1 {
				cancel()
			}
			err := guesttest.Walk(ctx, fs)
			if i%2 == 1 && errors.Is(err, context.Canceled) {
				err = nil
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestWithoutUpcase finds names one by one when the table of capitals is lost.
func TestWithoutUpcase(t *testing.T) {
	image := smallImage(t, "-c", "4096")
	mounted(t, image, func(dir string) { must(t, os.WriteFile(dir+"/Zeta", nil, 0o644)) }) // behind names in small letters
	patch(t, image, placeOf(t, image, recordUpcase), 1024, func(b []byte) { b[510]++ })
	fs := openFS(t, image)
	if st := fs.State(); !strings.Contains(st.Reason, "$UpCase") {
		t.Errorf("%+v", st)
	}
	lookup(t, fs, "Zeta")
	lookup(t, fs, "many/07-"+strings.Repeat("x", 107))
	_, err := fs.Lookup(t.Context(), fs.Root(), "absent")
	wantError(t, "an absent name", err, guest.ErrNotExist, "")
}

// TestReadErrors gives a volume's errors to the caller, never as damage or the
// end of a file, and reads well again when the volume does.
func TestReadErrors(t *testing.T) {
	image := plainImage(t)
	for _, short := range []bool{false, true} {
		v := &guesttest.Failing{Volume: guesttest.OpenFile(t, image), Short: short}
		want := guesttest.ErrDisk
		if short {
			want = io.ErrUnexpectedEOF
		}
		v.Broken.Store(true)
		_, err := Open(t.Context(), v)
		wantError(t, "open", err, want, "")
		v.Broken.Store(false)
		fs, err := Open(t.Context(), v)
		must(t, err)
		n := lookup(t, fs, "dir/f2")
		fs.cache, fs.blocks = blockcache.New(cacheBytes), blockcache.New(indexBytes)
		v.Broken.Store(true)
		p := make([]byte, 20_000)
		_, err = fs.ReadAt(t.Context(), n, p, 0)
		wantError(t, "read", err, want, "")
		if errors.Is(err, io.EOF) || errors.Is(err, guest.ErrCorrupt) {
			t.Errorf("read: %v", err)
		}
		for i := range fs.recent {
			fs.recent[i].Store(nil)
		}
		_, err = fs.Stat(t.Context(), n)
		wantError(t, "stat", err, want, "")
		wantError(t, "list", fs.ReadDir(t.Context(), fs.Root(), 0, func(guest.Entry) bool { return true }), want, "")
		wantError(t, "free", fs.Free(t.Context(), func(guest.Range) bool { return true }), want, "")
		wantError(t, "files", fs.Files(t.Context(), func(guest.Node, int64, guest.Extent) bool { return true }), want, "")
		v.Broken.Store(false)
		if m, err := fs.ReadAt(t.Context(), n, p, 0); m != len(p) || err != nil {
			t.Errorf("read again: %d, %v", m, err)
		}
	}
}
