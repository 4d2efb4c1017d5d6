package catalog

import (
	"bytes"
	"testing"
)

func FuzzAct(f *testing.F) {
	b, err := encodeAct([]entry{{"2026-11-21T12-00-00Z", identity{1, 2}, Forgotten}, {"2026-11-21T12-00-00Z-02", identity{3}, Pinned}, {"x", identity{}, 0}})
	if err != nil {
		f.Fatal(err)
	}
	for i := range len(b) + 1 {
		f.Add(b[:i])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := decodeAct(b)
		if err != nil {
			return
		}
		again, err := encodeAct(entries)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x came back as %x, %v", b, again, err)
		}
	})
}
