package heal

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestNamesOfAnyBytesTravel: names that are not UTF-8 are the same names on the
// other side of the owner's socket, and those that are look as before.
func TestNamesOfAnyBytesTravel(t *testing.T) {
	for _, n := range []string{"", "web", "für", "latin\xe4", "\xff", "\xff\xfe\x00/", "\ufffd", "a\xc3"} {
		for _, v := range []any{
			&Options{VM: n, Deep: true, Rate: 7, OlderThan: 9, From: []LiveSource{{Disk: n, Path: n}}},
			&HurtReport{
				Chunks:    []HurtChunk{{ChunkView{ID: "1", Kind: "corrupt"}, []Use{{n, "v", n, "data", 1, 2}, {"x", "v", "y", "data", 3, 4}}}},
				Packs:     []HurtPack{},
				Files:     []HurtFile{{VM: n, Version: "v", Disk: n, Volume: n, Path: n, Node: 5, Offset: 6, Length: 7}},
				Manifests: []string{"x@v", n + "@v"},
			},
			&Report{VM: n, Packs: 3, Findings: []Finding{{Kind: FoundVersion, VM: n, Version: "v"}}, Left: HurtReport{Manifests: []string{n}}},
			&VerifyReport{VM: n, State: "valid", Comparison: Comparison{Compared: 9, Differ: []Range{{n, 1, 2}}, Lost: []HurtRange{{Disk: n, Offset: 3, Length: 4, Kind: "corrupt"}}}},
			&ReplicatedVersion{VM: n, Version: "v", Chunks: 4},
		} {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatalf("%T, %q: %v", v, n, err)
			}
			back := reflect.New(reflect.TypeOf(v).Elem())
			if err := json.Unmarshal(b, back.Interface()); err != nil {
				t.Fatalf("%T, %q: %v\n%s", v, n, err, b)
			}
			if !reflect.DeepEqual(back.Interface(), v) {
				t.Errorf("%T, %q:\n got %+v\nwant %+v", v, n, back.Interface(), v)
			}
			if has := strings.Contains(string(b), `_bytes":"`) || strings.Contains(string(b), `_bytes":[`); has != (raw(n) != nil) {
				t.Errorf("%T, %q: bytes beside the names: %v\n%s", v, n, has, b)
			}
		}
	}
}

// TestScrubOfAnyName: a scrub that was asked for across the socket finds a VM
// of any name.
func TestScrubOfAnyName(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	w.put(t, mem)
	s := openWorld(t, mem)
	defer s.Close()
	const name = "gäst \xe4\xff"
	w.capture(t, s, name, 30, []byte(strings.Repeat("what it holds ", 9000)))
	b, err := json.Marshal(Options{VM: name})
	if err != nil {
		t.Fatal(err)
	}
	var o Options
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatal(err)
	}
	if rep, err := Scrub(context.Background(), s, o); err != nil || rep.Packs == 0 || rep.VM != name {
		t.Fatalf("scrub of %q: %v, %+v", o.VM, err, rep)
	}
}
