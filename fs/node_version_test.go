package fs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/chunkstore/catalog"
)

// TestManifestsOfRecentVersions: a manifest is kept from the look-up on, until so
// many other versions have been looked up.
func TestManifestsOfRecentVersions(t *testing.T) {
	tr := &tree{}
	first := newVersionNode(tr, &catalog.Version{VM: "web", ID: "first"})
	keep := len(tr.recent.ring)
	for range keep - 1 {
		newVersionNode(tr, &catalog.Version{})
	}
	if v, err := first.manifest(t.Context()); err != nil || v.ID != "first" {
		t.Errorf("after %d more look-ups: %v, %v", keep-1, v, err)
	}
	newVersionNode(tr, &catalog.Version{})
	if first.v != nil {
		t.Errorf("after %d more look-ups the manifest is still kept", keep)
	}
}

// TestDescribe: version.json is what an encoder of its own makes, whatever was described
// before and beside it, as its size is told long before it is read.
func TestDescribe(t *testing.T) {
	want := func(vm string, images []string) []byte {
		v := &catalog.Version{VM: vm, ID: "2026-11-22T08-00-00Z", Host: "<&>", Disks: []catalog.Disk{{Name: "vda"}}}
		b, err := json.MarshalIndent(struct {
			VM    string   `json:"vm"`
			Path  string   `json:"path"`
			Files []string `json:"files"`
			*catalog.Version
		}{vm, VersionPath("", v), images, v}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, '\n')
		if err := describe(v, images, func(got []byte) {
			if !bytes.Equal(got, b) {
				t.Errorf("%s\ninstead of\n%s", got, b)
			}
		}); err != nil {
			t.Fatal(err)
		}
		return b
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for n := range 200 { // long ones before short ones
				want(strings.Repeat("é\"", 1+(200-n)%50), []string{"vda.raw", "vda.qcow2"}[:n%3])
			}
			want("none", nil)
		})
	}
	all.Wait()
}

// TestManifestTexts: who has version.json open has it for good, however many others are
// made meanwhile: none is in a buffer that is used again.
func TestManifestTexts(t *testing.T) {
	var texts [][]byte
	for n := range 200 {
		text, err := manifestText(&catalog.Version{VM: "web", ID: fmt.Sprint(n)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	for n, text := range texts {
		var v struct{ ID string }
		if err := json.Unmarshal(text, &v); err != nil || v.ID != fmt.Sprint(n) {
			t.Fatalf("the text of version %d is that of %q now: %v", n, v.ID, err)
		}
	}
}

// TestTextOfAnotherSize: a text that does not have the size that was told is not shown, as the
// kernel would cut it off or pad it.
func TestTextOfAnotherSize(t *testing.T) {
	tr := &tree{log: slog.New(slog.DiscardHandler)}
	for _, size := range []int{3, 4, 5} {
		n := newText(tr, []byte("text"), time.Time{})
		n.size = size
		want := syscall.EIO
		if size == len("text") {
			want = 0
		}
		if _, _, errno := n.Open(t.Context(), syscall.O_RDONLY); errno != want {
			t.Errorf("told %d bytes: %v, want %v", size, errno, want)
		}
	}
}
