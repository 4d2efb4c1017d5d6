package regf

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// script makes keys with values of every kind, and one with so many keys.
func script(keys int) string {
	var b strings.Builder
	b.WriteString("add MountedDevices\ncd MountedDevices\nsetval 5\n")
	b.WriteString("\\DosDevices\\C:\nhex:3:78,56,34,12,00,00,10,00,00,00,00,00\n")
	b.WriteString("\\DosDevices\\D:\nhex:3:44,4d,49,4f,3a,49,44,3a,01,02,03,04,05,06,07,08,09,0a,0b,0c,0d,0e,0f,10\n")
	b.WriteString("in itself\nhex:3:01,02,03\nempty\nhex:3:\nnumber\ndword:12345678\ncd \\\n")
	b.WriteString("add Many\ncd Many\n")
	for i := range keys {
		fmt.Fprintf(&b, "add Key%d\n", i)
	}
	b.WriteString("cd Key33\nadd Deeper\ncd Deeper\nsetval 1\nthere\nstring:found it\n")
	return b.String()
}

// judged is what hivexml tells of a hive: the values of each key by its path.
func judged(t *testing.T, path string) map[string]map[string]string {
	t.Helper()
	out, err := exec.Command("hivexml", path).Output()
	if err != nil {
		t.Fatalf("hivexml: %v", err)
	}
	type node struct {
		Name   string `xml:"name,attr"`
		Values []struct {
			Key      string `xml:"key,attr"`
			Type     string `xml:"type,attr"`
			Encoding string `xml:"encoding,attr"`
			Value    string `xml:"value,attr"`
		} `xml:"value"`
		Nodes []node `xml:"node"`
	}
	var doc struct {
		Root node `xml:"node"`
	}
	if err := xml.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]string{}
	var add func(path string, n node)
	add = func(path string, n node) {
		all[path] = map[string]string{}
		for _, v := range n.Values {
			text := v.Value
			if v.Encoding == "base64" {
				b, err := base64.StdEncoding.DecodeString(text)
				if err != nil {
					t.Fatal(err)
				}
				text = string(b)
			}
			all[path][v.Key] = text
		}
		for _, c := range n.Nodes {
			add(path+"\\"+c.Name, c)
		}
	}
	add("", doc.Root)
	return all
}

// values reads a key; numbers and strings are made what hivexml says of them.
func values(ctx context.Context, h *Hive, path ...string) (map[string]string, error) {
	k, err := h.Find(ctx, path...)
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	err = k.Values(ctx, func(v Value) bool {
		switch {
		case v.Type == DWord && len(v.Data) == 4:
			got[v.Name] = fmt.Sprint(binary.LittleEndian.Uint32(v.Data))
		case v.Type == String:
			text, _ := nameOf(v.Data, uint16(len(v.Data)), false)
			got[v.Name] = strings.TrimRight(text, "\x00")
		default:
			got[v.Name] = string(v.Data)
		}
		return true
	})
	return got, err
}

func open(t testing.TB, b []byte) *Hive {
	t.Helper()
	h, err := Open(t.Context(), memory(b))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

type memory []byte

func (m memory) Size() int64 { return int64(len(m)) }
func (m memory) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(p, m[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func content(t testing.TB, keys int) ([]byte, string) {
	t.Helper()
	path := guesttest.Hive(t, script(keys))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b, path
}

func TestHivexAgrees(t *testing.T) {
	b, path := content(t, 600)
	h := open(t, b)
	all := judged(t, path)
	if len(all) != 604 || len(all[`\MountedDevices`]) != 5 || all[`\Many\Key33\Deeper`]["there"] == "" {
		t.Fatalf("hivexml tells of %d keys, %q", len(all), all[`\MountedDevices`])
	}
	for path, want := range all {
		var parts []string
		if path != "" {
			parts = strings.Split(path[1:], `\`)
		}
		got, err := values(t.Context(), h, parts...)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
	for _, path := range []string{"mounteddevices", "MANY"} {
		if _, err := h.Find(t.Context(), path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range [][]string{{""}, {"Many", "Key600"}, {"MountedDevices", "x"}} {
		if _, err := h.Find(t.Context(), path...); !errors.Is(err, guest.ErrNotExist) {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestDirty(t *testing.T) {
	b, _ := content(t, 600)
	if open(t, b).Dirty {
		t.Error("a hive that was written to its end is dirty")
	}
	le.PutUint32(b[4:], le.Uint32(b[4:])+1)
	if _, err := Open(t.Context(), memory(b)); !errors.Is(err, guest.ErrCorrupt) {
		t.Errorf("a wrong checksum: %v", err)
	}
	le.PutUint32(b[508:], checksum(b))
	if h := open(t, b); !h.Dirty {
		t.Error("a hive that was not written to its end is not dirty")
	}
	le.PutUint32(b[24:], maxMinor+1)
	le.PutUint32(b[508:], checksum(b))
	if _, err := Open(t.Context(), memory(b)); !errors.Is(err, guest.ErrUnsupported) {
		t.Errorf("an unknown version: %v", err)
	}
}

// Every place where the file can end is an error, or shows what is there.
func TestTruncated(t *testing.T) {
	b, _ := content(t, 600)
	whole, err := values(t.Context(), open(t, b), "MountedDevices")
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for size := 0; size < 3*4096; size++ {
		h, err := Open(t.Context(), memory(b[:size]))
		if err != nil {
			if size >= baseLen {
				t.Fatalf("cut at %d: %v", size, err)
			}
			continue
		}
		got, err := values(t.Context(), h, "MountedDevices")
		if err != nil {
			failed++
		} else if fmt.Sprint(got) != fmt.Sprint(whole) {
			t.Fatalf("cut at %d: %q", size, got)
		}
	}
	if failed == 0 {
		t.Error("no cut was noticed")
	}
}

// A list that is its own child, and one of as many keys as can be, end.
func TestCircles(t *testing.T) {
	b, _ := content(t, 600)
	c := open(t, b).begin(t.Context())
	root, err := c.key(le.Uint32(b[36:]))
	if err != nil {
		t.Fatal(err)
	}
	many, err := c.child(root, "Many")
	if err != nil {
		t.Fatal(err)
	}
	list := le.Uint32(many[28:])
	at := baseLen + 4 + int(list)
	copy(b[at:], "ri")
	for i := range int(le.Uint16(b[at+2:])) {
		le.PutUint32(b[at+4+4*i:], list)
	}
	if _, err := open(t, b).Find(t.Context(), "Many", "Key1"); !errors.Is(err, guest.ErrCorrupt) {
		t.Errorf("a list in itself: %v", err)
	}
	// 65535 lists of 65535 keys, all of them the same two cells
	wide := make([]byte, baseLen+1<<20)
	copy(wide, b[:baseLen])
	le.PutUint32(wide[40:], 1<<20)
	le.PutUint32(wide[36:], 32)
	le.PutUint32(wide[508:], checksum(wide))
	cell := func(at, size int, mark string, count int, place uint32) []byte {
		c := wide[baseLen+at:]
		le.PutUint32(c, uint32(-int32(size)))
		copy(c[4:], mark)
		le.PutUint16(c[6:], uint16(count))
		for i := range count {
			le.PutUint32(c[8+4*i:], place)
		}
		return c[4:]
	}
	root = cell(32, 96, "nk", 0, 0)
	le.PutUint32(root[20:], 1)
	le.PutUint32(root[28:], 128)
	cell(128, 300<<10, "ri", 65535, 400<<10)
	cell(400<<10, 300<<10, "li", 65535, 32)
	if _, err := open(t, wide).Find(t.Context(), "x"); !errors.Is(err, guest.ErrCorrupt) {
		t.Errorf("a hive of four thousand million keys: %v", err)
	}
}

func TestMutants(t *testing.T) {
	b, _ := content(t, 40)
	rnd := rand.New(rand.NewPCG(7, 8))
	found := 0
	for range guesttest.Rounds(t, 2000) {
		m := bytes.Clone(b)
		for range 1 + rnd.IntN(20) {
			at := rnd.IntN(len(m))
			m[at] = []byte{0, 0xff, 0x80, byte(rnd.Uint32()), m[at] + 1}[rnd.IntN(5)]
		}
		le.PutUint32(m[508:], checksum(m))
		if walk(m) {
			found++
		}
	}
	if found == 0 {
		t.Error("no mutant shows a value")
	}
}

// walk reads what it can and tells whether there was a value.
func walk(b []byte) (found bool) {
	h, err := Open(context.Background(), memory(b))
	if err != nil {
		return false
	}
	for _, path := range [][]string{{"MountedDevices"}, {"Many", "Key33", "Deeper"}, {"none"}} {
		got, _ := values(context.Background(), h, path...)
		found = found || len(got) > 0
	}
	return found
}

func FuzzHive(f *testing.F) {
	b, _ := content(f, 40)
	f.Add(b)
	f.Add(b[:baseLen])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= baseLen {
			le.PutUint32(b[508:], checksum(b))
		}
		walk(b)
	})
}
