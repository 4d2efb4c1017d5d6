package restore

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
)

const nbdinfoMap = `[
{ "offset": 0, "length": 65536, "type": 0, "description": "clean"},
{ "offset": 65536, "length": 4096, "type": 1, "description": "dirty"},
{ "offset": 69632, "length": 930368, "type": 0, "description": "clean"}
]
`

const vsphereInfo = `{"_typeName":"DiskChangeInfo","startOffset":0,"length":1000000,"changedArea":[
 {"_typeName":"DiskChangeExtent","start":0,"length":512},{"start":65536,"length":65536}]}`

// TestParseChanged: each form that a list may have, of a disk of 1,000,000 bytes.
func TestParseChanged(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want Changed
	}{
		"nbdinfo --json":     {nbdinfoMap, Changed{{65536, 4096}}},
		"of whole sectors":   {`[{"offset":0,"length":999936,"type":0},{"offset":999936,"length":512,"type":1}]`, Changed{{999936, 64}}},
		"only what is dirty": {`[{"offset":65536,"length":4096,"type":1,"description":"dirty"}]`, Changed{{65536, 4096}}},
		"no types":           {`[{"length":10,"offset":65536}]`, Changed{{65536, 10}}},
		"nbdinfo":            {"         0       65536    0  clean\n     65536      934464    1  dirty\n", Changed{{65536, 934464}}},
		"lines":              {"# mine\n 90 10 # here\r\n\n5 1\n100 1\n# end", Changed{{5, 1}, {90, 11}}},
		"one line":           {"0 1000000\n", Changed{{0, 1000000}}},
		"vSphere":            {vsphereInfo, Changed{{0, 512}, {65536, 65536}}},
		"areas alone":        {`[{"start":65536,"length":65536},{"start":0,"length":512}]`, Changed{{0, 512}, {65536, 65536}}},
		"two answers":        {`{"startOffset":0,"length":500000,"changedArea":[]} {"startOffset":500000,"length":500000,"changedArea":[{"start":600000,"length":1}]}`, Changed{{600000, 1}}},
		"PowerCLI":           {"\xef\xbb\xbf[{\"StartOffset\": 0, \"Length\": 1000000, \"ChangedArea\": null, \"X\": {\"a\": [1, \"\\\"]\"]}}]", Changed{}},
		"nothing changed":    {"[]", Changed{}},
		"neighbours":         {"10 10\n30 5\n20 10\n", Changed{{10, 25}}},
	} {
		got, err := ParseChanged(strings.NewReader(c.text), 1_000_000)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, c.want)
		}
	}
}

// TestParseChangedRefuses: what is no list of this disk, and what the error says.
func TestParseChangedRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "empty",
		" \n\t":                     "empty",
		"# nothing":                 "line 1: it has comments only",
		"\xff\xfe[\x00]\x00":        "UTF-16",
		"0 1\n5":                    `line 2: "5": want OFFSET LENGTH`,
		"0 1 1 dirty too":           "want OFFSET LENGTH",
		"0 64K":                     `line 1: "64K" is not a whole number`,
		"0 0x10":                    "not a whole number",
		"0 NaN":                     "not a whole number",
		"+1 1":                      "not a whole number",
		"0 0":                       "no length",
		"-1 5":                      "negative",
		"5 -1":                      "negative",
		"1000000 1":                 "not on the disk, which has 1000000 bytes",
		"999999 514":                "not on the disk",
		"9223372036854775807 512":   "not on the disk",
		"1 9223372036854775807":     "not on the disk",
		"9223372036854775808 1":     "more than any disk has",
		"0 5\n9 1":                  "line 2: the last line has no end",
		"5 5\n0 6\n":                "line 1: the range of 5 bytes at 5 overlaps",
		"5 5\n5 5\n":                "overlaps",
		"0 5 0 data":                "no map of a dirty bitmap",
		"0 5 3 hole,zero":           "no map of a dirty bitmap",
		"0 5 1 clean":               "no map of a dirty bitmap",
		"0 5 0 clean\n":             "tells nothing of what is at byte 5 of 1000000",
		"0 1000000 0\n5 5 1\n":      "ranges overlap",
		strings.Repeat("1", 70_000): "want OFFSET LENGTH",
		"{":                         "cut short",
		"[":                         "cut short",
		nbdinfoMap[:150]:            "line 4: the list ends in the middle",
		strings.ReplaceAll(nbdinfoMap, "930368", "830368"):                                                 "tells nothing of what is at byte 900000",
		strings.ReplaceAll(nbdinfoMap, `1, "description": "dirty"`, "2"):                                   "line 3: type 2",
		strings.ReplaceAll(nbdinfoMap, "4096", "4096.0"):                                                   "line 3: a value (number 4096.0) where a whole number",
		strings.ReplaceAll(nbdinfoMap, "4096", "1e3"):                                                      "(number 1e3) where a whole number of bytes belongs",
		strings.ReplaceAll(nbdinfoMap, "4096", "NaN"):                                                      "line 3: it is no JSON",
		strings.ReplaceAll(nbdinfoMap, "4096", `"4096"`):                                                   "line 3: a value (string) where a whole number",
		strings.ReplaceAll(nbdinfoMap, "4096", ""):                                                         "line 3: it is no JSON",
		strings.ReplaceAll(nbdinfoMap, "4096,", "4096"):                                                    "line 3: it is no JSON",
		`[{"start":0,"length":5},]`:                                                                        "it is no JSON",
		`[{"start":0,"offset":0,"length":5}]`:                                                              "an object that is neither",
		`[{"size":10309632,"percent":98.3203,"type":0,"description":"c"}]`:                                 "an object that is neither",
		`[{"start":0,"length":5,"depth":0,"zero":false,"data":true}]`:                                      "qemu-img map",
		`[[{"start":0,"length":5}]]`:                                                                       "where an object belongs",
		`[5]`:                                                                                              "where an object belongs",
		`{"start":0,"length":5} x`:                                                                         "it is no JSON",
		`{"startOffset":0,"length":5,"changedArea":[]}`:                                                    "tells nothing of what is at byte 5",
		`{"startOffset":0,"length":2000000,"changedArea":[]}`:                                              "not on the disk",
		`{"startOffset":0,"length":5,"changedArea":[{"changedArea":[]}]}`:                                  "an object that is neither",
		`{"startOffset":0,"length":5,"changedArea":nil}`:                                                   "it is no JSON",
		`{"startOffset":0,"length":5,"changedArea":7}`:                                                     "no array",
		`{"startOffset":0,"length":1000000,"changedArea":[{"start":0}]}`:                                   "an object that is neither",
		`[{"offset":0,"length":null}]`:                                                                     "an object that is neither",
		`{"startOffset":0,"length":1000000}`:                                                               "without changedArea",
		`{"startOffset":0,"length":1000000,"changedAreas":[]}`:                                             "without changedArea",
		`{"startOffset":0,"length":4096,"changedArea":[{"start":4096,"length":995904}]}`:                   "in an answer about 4096 bytes at 0",
		`{"startOffset":4096,"length":4096,"changedArea":[{"start":0,"length":4096}]}`:                     "in an answer about 4096 bytes at 4096",
		`{"startOffset":0,"length":1000000,"changedArea":[{"start":5,"length":1000000}]}`:                  "in an answer about",
		`{"changedArea":[{"start":0,"length":5}]}`:                                                         "an object that is neither",
		`{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`:                                "an object that is neither",
		"[{\"start\n\":0}]":                                                                                "it is no JSON",
		`{"startOffset":0,"length":1000000,"changedArea":[{"start":0,"length":5},{"start":4,"length":5}]}`: "overlaps",
	} {
		got, err := ParseChanged(strings.NewReader(text), 1_000_000)
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 400 {
			t.Errorf("%.100q: %v, %v, want %q", text, got, err, want)
		}
	}
}

// TestParseChangedCutShort: a map of the whole disk that was cut is refused wherever
// that was.
func TestParseChangedCutShort(t *testing.T) {
	for _, whole := range []string{nbdinfoMap, vsphereInfo} {
		for n := range strings.TrimSpace(whole) {
			if got, err := ParseChanged(strings.NewReader(whole[:n]), 1_000_000); err == nil {
				t.Errorf("%q gives %v", whole[:n], got)
			}
		}
	}
}

func TestParseChangedIsBounded(t *testing.T) {
	list := &endless{}
	_, err := parseChanged(list, 1<<20, &collected{size: 1 << 50, most: 100_000})
	if err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("a list without an end: %v", err)
	}
	_, err = parseChanged(io.LimitReader(list, 1<<20), 1<<20, &collected{size: 1 << 50, most: 1000})
	if err == nil || !strings.Contains(err.Error(), "more than 1000 ranges") {
		t.Errorf("many ranges: %v", err)
	}
}

// endless is a list of lines without an end.
type endless struct {
	n    int64
	rest []byte
}

func (e *endless) Read(p []byte) (int, error) {
	for len(e.rest) < len(p) {
		e.rest = fmt.Appendf(e.rest, "%d 1\n", e.n)
		e.n += 2
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// FuzzParseChanged: whatever a list says, what is made of it lies on the disk, in
// order, and its lines are a list again that says the same.
func FuzzParseChanged(f *testing.F) {
	for _, s := range []string{nbdinfoMap, vsphereInfo, "0 5\n9 1", "[]", `{"startOffset":0,"length":9,"changedArea":null}`, " 0 5 1 dirty # x", "\xef\xbb\xbf[{}]"} {
		f.Add([]byte(s), int64(1_000_000))
	}
	f.Add([]byte("9223372036854775806 1"), int64(1<<63-1))
	f.Fuzz(func(t *testing.T, text []byte, size int64) {
		size = max(size, 1)
		c, err := ParseChanged(strings.NewReader(string(text)), size)
		if err != nil {
			return
		}
		if err := c.check(size); err != nil {
			t.Fatal(err)
		}
		var lines strings.Builder
		for _, r := range c {
			fmt.Fprintln(&lines, r.Off, r.Len)
		}
		if len(c) == 0 {
			return
		}
		again, err := ParseChanged(strings.NewReader(lines.String()), size)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(c) {
			t.Fatalf("%v became %v, %v", c, again, err)
		}
	})
}
