package chunkstore

import (
	"bytes"
	"encoding/json"
	"testing"
)

func FuzzRoot(f *testing.F) {
	for _, name := range []string{"v", "a longer name"} {
		b, err := encodeRoot(name, []byte("body"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		for i := range b {
			f.Add(b[:i])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRoot(b)
		if err != nil {
			return
		}
		back, err := encodeRoot(r.name, r.body)
		if err != nil && len(r.body) <= MaxRootBody {
			t.Fatalf("decoded what can't be encoded: %v", err)
		}
		if err == nil && !bytes.Equal(back, b) {
			t.Fatal("decode and encode differ")
		}
	})
}

func FuzzConfig(f *testing.F) {
	c := configFile{Format: 1, StoreID: "00112233445566778899aabbccddeeff", FrameSize: 65536}
	c.Key.Wrapping, c.Key.Key = "none", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	c.Sum = configSum(c)
	b, _ := json.Marshal(c)
	f.Add(b)
	for i := 0; i < len(b); i += 7 {
		f.Add(b[:i])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if cfg, err := parseConfig("config.json", b); err == nil && (len(cfg.StoreID) != 32 || cfg.FormatVersion > FormatVersion) {
			t.Fatalf("took %+v", cfg.Info)
		}
	})
}
