package catalog

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/disk"
)

var ctx = context.Background()

func newStore(t *testing.T) (*chunkstore.Store, chunkstore.Session) {
	t.Helper()
	fsys := vfs.NewMem()
	if _, err := chunkstore.Create("/store", chunkstore.CreateOptions{FS: fsys}); err != nil {
		t.Fatal(err)
	}
	s, err := chunkstore.Open("/store", chunkstore.Options{FS: fsys})
	if err != nil {
		t.Fatal(err)
	}
	ses, err := s.Begin(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ses.Close(); s.Close() })
	return s, ses
}

func version(vm string, at time.Time, disks ...string) *Version {
	v := &Version{VM: vm, Time: at, Captured: at, Cut: "grid", UUID: UUID{1, 2}}
	for _, d := range disks {
		v.Disks = append(v.Disks, Disk{Name: d, Map: disk.Map{Size: 512}, Source: "/img/" + d})
	}
	return v
}

func mustCommit(t *testing.T, ses chunkstore.Session, v *Version) string {
	t.Helper()
	if err := Commit(ctx, ses, v); err != nil {
		t.Fatal(err)
	}
	return v.ID
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// oddNames are names that a careless encoding would mix up.
var oddNames = []string{
	"web", "web\x00", "web\x00\x01", "web\x00\xff", "web\x01", "w", "\x00", "\xff\xfe", "a/b", "..", "web@home", "Web", "ü", strings.Repeat("n", MaxName),
}

func TestVersionsOfOddlyNamedVMsStayApart(t *testing.T) {
	s, ses := newStore(t)
	for i, vm := range oddNames {
		for k := range i%3 + 1 {
			mustCommit(t, ses, version(vm, noon.Add(time.Duration(k)*time.Hour), "a\xffb", "c/d"))
		}
	}
	vms, err := VMs(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(oddNames)
	slices.Sort(want)
	slices.Sort(vms)
	if !slices.Equal(vms, want) {
		t.Errorf("VMs %q, want %q", vms, want)
	}
	for i, vm := range oddNames {
		n := 0
		err := Versions(ctx, s, vm, func(v *Version, err error) {
			if err != nil || v.VM != vm || v.Disks[0].Name != "a\xffb" || v.Disks[1].Name != "c/d" {
				t.Errorf("%q: %+v, %v", vm, v, err)
			}
			n++
		})
		if err != nil || n != i%3+1 {
			t.Errorf("%q has %d versions, want %d, %v", vm, n, i%3+1, err)
		}
	}
}

func TestVersionRoundTrip(t *testing.T) {
	s, ses := newStore(t)
	v := version("web", noon.Add(123456789), "vda", "vdb")
	v.Host, v.Program = "host", "1.0"
	v.Counts = Counts{LogicalBytes: 1, ReadBytes: 2, HoleBytes: 3, ZeroBytes: 4, NewBytes: 5, StoredBytes: 6, NewChunks: 7, Chunks: 8, Duration: 9}
	v.Disks[1].Notices = []string{"notice"}
	id := mustCommit(t, ses, v)
	got, err := Get(ctx, s, "web", id)
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Fatalf("got %+v, %v\nwant %+v", got, err, v)
	}
}

func TestVersionsOfOneSecond(t *testing.T) {
	s, ses := newStore(t)
	var want []string
	for i := range maxPerSecond {
		want = append(want, mustCommit(t, ses, version("web", noon, "vda")))
		if i == 0 && want[0] != "2026-11-21T12-00-00Z" || i == 1 && want[1] != "2026-11-21T12-00-00Z-02" {
			t.Fatalf("ids %q", want)
		}
	}
	if err := Commit(ctx, ses, version("web", noon, "vda")); err == nil || !strings.Contains(err.Error(), "--at") {
		t.Fatalf("version %d of a second: %v", maxPerSecond+1, err)
	}
	ids, err := IDs(ctx, s, "web")
	if err != nil || !slices.Equal(ids, want) {
		t.Fatalf("ids %q, want %q, %v", ids, want, err)
	}
	if v, err := Latest(ctx, s, "web"); err != nil || v.ID != want[len(want)-1] {
		t.Fatalf("latest: %v, %v", v, err)
	}
}

func TestResolve(t *testing.T) {
	s, ses := newStore(t)
	day := func(d, h int) time.Time { return time.Date(2026, 11, d, h, 0, 0, 0, time.Local) }
	id := func(d, h int) string { return makeID(day(d, h), 1) }
	for _, at := range []time.Time{day(19, 2), day(20, 2), day(20, 14), day(21, 2)} {
		mustCommit(t, ses, version("web", at, "vda"))
	}
	mustCommit(t, ses, version("web@home", day(1, 1), "vda"))
	for ref, want := range map[string]string{
		"web":                     id(21, 2),
		"web@":                    id(21, 2),
		"web@latest":              id(21, 2),
		"web@" + id(20, 2):        id(20, 2),
		"web@2026-11-20":          id(20, 14), // the whole day
		"web@2026-11-20 02:00":    id(20, 2),
		"web@2026-11-20 13:59":    id(20, 2),
		"web@2026-11-20T14:00:00": id(20, 14),
		"web@" + day(20, 14).UTC().Format(time.RFC3339):                          id(20, 14),
		"web@" + day(20, 14).In(time.FixedZone("", 2*3600)).Format(time.RFC3339): id(20, 14),
		"web@" + makeID(day(20, 3), 1):                                           id(20, 2), // the form of an id, at or before
		"web@2030-01-01":                                                         id(21, 2),
		"web@home":                                                               id(1, 1),
		"web@home@latest":                                                        id(1, 1),
	} {
		if v, err := Resolve(ctx, s, ref); err != nil || v.ID != want {
			t.Errorf("%s: %v, %v, want %s", ref, v, err, want)
		}
	}
	for ref, want := range map[string]error{
		"nope": ErrNoVM, "nope@latest": ErrNoVM, "web@2026-11-18": ErrNoVersion, "web@yesterday": ErrNoVersion, "": ErrNoVM,
	} {
		if v, err := Resolve(ctx, s, ref); !errors.Is(err, want) {
			t.Errorf("%q: %v, %v, want %v", ref, v, err, want)
		}
	}
}

func TestBadVersionsAreRefused(t *testing.T) {
	_, ses := newStore(t)
	many := make([]string, MaxDisks+1)
	for i := range many {
		many[i] = fmt.Sprint("d", i)
	}
	long := version("web", noon, many[:MaxDisks]...)
	for i := range long.Disks {
		long.Disks[i].Source = strings.Repeat("s", 1000)
	}
	for name, v := range map[string]*Version{
		"no disks":           version("web", noon),
		"too many disks":     version("web", noon, many...),
		"no name":            version("", noon, "a"),
		"long name":          version(strings.Repeat("n", MaxName+1), noon, "a"),
		"no disk name":       version("web", noon, ""),
		"same names":         version("web", noon, "a", "a"),
		"year 10000":         version("web", noon.AddDate(9000, 0, 0), "a"),
		"manifest too large": long,
	} {
		if err := Commit(ctx, ses, v); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestDamagedManifestHidesNoOtherVersion(t *testing.T) {
	s, ses := newStore(t)
	mustCommit(t, ses, version("web", noon, "vda"))
	if err := ses.Commit(ctx, rootName("web", "2026-11-21T13-00-00Z"), []byte("{")); err != nil {
		t.Fatal(err)
	}
	good, bad := 0, 0
	if err := Versions(ctx, s, "web", func(v *Version, err error) {
		if err != nil {
			bad++
		} else {
			good++
		}
	}); err != nil || good != 1 || bad != 1 {
		t.Fatalf("%d good, %d bad, %v", good, bad, err)
	}
}

func FuzzVersion(f *testing.F) {
	v := version("web", noon, "vda", "b")
	v.ID = makeID(noon, 1)
	b, err := v.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	for i := 0; i < len(b); i += 11 {
		f.Add(b[:i])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		if err != nil {
			return
		}
		if err := v.Validate(); err != nil {
			t.Fatalf("decoded what is not valid: %v", err)
		}
	})
}

func FuzzNames(f *testing.F) {
	for _, n := range oddNames {
		f.Add(n, "2026-11-21T12-00-00Z-02")
	}
	f.Fuzz(func(t *testing.T, vm, id string) {
		if strings.Contains(id, "\x00") {
			return
		}
		gotVM, gotID, err := parseRootName(rootName(vm, id))
		if err != nil || gotVM != vm || gotID != id {
			t.Fatalf("%q %q came back as %q %q, %v", vm, id, gotVM, gotID, err)
		}
		if at, err := idTime(id); err == nil && makeID(at, 1) != id[:len(idLayout)] {
			t.Fatalf("id %q has time %v", id, at)
		}
	})
}
