package restore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
	"holdfast/fs/image"
)

// TestSkipDamaged leaves out one chunk of each sort, in every way of writing,
// and checks each byte and each range that is told.
func TestSkipDamaged(t *testing.T) {
	s := newStore(t)
	b := diskBytes(21, 13<<20+777)
	d := s.put(t, b)
	parts := partsOf(t, s, d)
	for name, hurt := range map[string]disk.Part{
		"data": parts[pack.KindData][len(parts[pack.KindData])/2], "last data": parts[pack.KindData][len(parts[pack.KindData])-1],
		"region map": parts[pack.KindRegionMap][1], "disk map": parts[pack.KindDiskMap][0],
	} {
		want := bytes.Clone(b)
		clear(want[hurt.Off : hurt.Off+hurt.Len])
		for _, p := range parts[pack.KindData] { // a chunk may be used twice
			if p.ID == hurt.ID {
				clear(want[p.Off : p.Off+p.Len])
			}
		}
		for _, over := range []string{"new file", "the same disk", "ones", "longer"} {
			t.Run(name+", "+over, func(t *testing.T) {
				s.hurt = hurt.ID
				defer func() { s.hurt = pack.ID{} }()
				out := filepath.Join(t.TempDir(), "out.raw")
				before := map[string][]byte{"the same disk": b, "ones": bytes.Repeat([]byte{1}, len(b)), "longer": append(bytes.Clone(b), "tail"...)}[over]
				if before != nil {
					if err := os.WriteFile(out, before, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				var told []Skipped
				res := mustRun(t, s, Options{Disk: d, Out: out, Overwrite: before != nil, Skip: func(l []Skipped) error { told = l; return nil }})
				if len(told) != len(res.Skipped) || (len(told) == 0) != bytes.Equal(want, b) && over == "new file" {
					t.Fatalf("told %+v, returned %+v", told, res.Skipped)
				}
				if before == nil || over == "ones" {
					sameFile(t, out, want)
				}
				checkSkipped(t, out, b, told, hurt.ID)
			})
		}
	}
}

// checkSkipped: what is told is zeros, all else is as it was stored.
func checkSkipped(t *testing.T, out string, b []byte, told []Skipped, id pack.ID) {
	t.Helper()
	want := bytes.Clone(b)
	end := int64(0)
	for _, r := range told {
		if r.Offset < end || r.Length < 1 || r.Chunk != id.String() || r.Kind != "corrupt" {
			t.Fatalf("told %+v behind %d, want chunk %v", r, end, id)
		}
		end = r.Offset + r.Length
		clear(want[r.Offset:end])
	}
	sameFile(t, out, want)
}

func partsOf(t *testing.T, s *countingStore, d catalog.Disk) map[pack.Kind][]disk.Part {
	t.Helper()
	r, err := disk.Open(nil, disk.NewMaps(s, 0), d.Map)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[pack.Kind][]disk.Part{}
	err = r.Parts(context.Background(), func(p disk.Part) (bool, error) {
		parts[p.Kind] = append(parts[p.Kind], p)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

// TestSkipDamagedFormats: damaged data is zeros in every format, judged by qemu.
func TestSkipDamagedFormats(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	b := diskBytes(22, 9<<20)
	d := s.put(t, b)
	parts := partsOf(t, s, d)
	hurt := parts[pack.KindData][7]
	s.hurt = hurt.ID
	raw := filepath.Join(dir, "want")
	want := bytes.Clone(b)
	clear(want[hurt.Off : hurt.Off+hurt.Len])
	if err := os.WriteFile(raw, want, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range image.Formats() {
		out := filepath.Join(dir, "out"+f.Ext())
		res := mustRun(t, s, Options{Disk: d, Format: f, Out: out, Skip: func([]Skipped) error { return nil }})
		if len(res.Skipped) != 1 || res.Skipped[0].Offset != hurt.Off || res.Skipped[0].Length != hurt.Len {
			t.Errorf("%s: left out %+v, want %d at %d", f, res.Skipped, hurt.Len, hurt.Off)
		}
		driver := string(f)
		if f == image.VHD {
			driver = "vpc"
		}
		if msg, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", driver, raw, out).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", f, err, msg)
		}
	}
}

// TestSkipFailsWithItsMap: an image whose map can't be written gets no name.
func TestSkipFailsWithItsMap(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	d := s.put(t, diskBytes(23, 5<<20))
	s.hurt = s.ids(t, d, pack.KindData)[0]
	full := errors.New("no space left on device")
	_, err := Run(context.Background(), s, Options{Disk: d, Out: filepath.Join(dir, "out"), Skip: func([]Skipped) error { return full }})
	if !errors.Is(err, full) {
		t.Fatalf("restore whose map can't be written: %v", err)
	}
	noLeftovers(t, dir)
}
