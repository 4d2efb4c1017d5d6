package fs

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/fs/image"
)

// A read of more pieces than one writev takes.
func TestShreddedDisk(t *testing.T) {
	s := newStore(t)
	c := &content{name: "vda", bytes: make([]byte, 8<<20)}
	fill := rand.NewChaCha8([32]byte{3})
	for region := range int64(2) {
		for i := range int64(1000) { // a region has at most 1024 extents
			off := region*4<<20 + i*1024
			c.add(fill, off, off+100+i%400)
		}
	}
	v := commit(t, s, "web", day, c)
	m := mountTest(t, s, Options{})
	for _, flags := range []int{0, unix.O_DIRECT} {
		fd := openRaw(t, rawPath(m, v, "vda"), flags)
		for off := int64(0); off < 8<<20; off += 1<<20 - 4096 {
			if err := check(fd, c, off, aligned(1<<20)); err != nil {
				t.Errorf("flags %x: %v", flags, err)
			}
		}
	}
}

// Every format gives the same bytes whichever way it is read.
func TestRandomReadsOfEachFormat(t *testing.T) {
	s := newStore(t)
	c := newContent("vda", 20<<20+511, 21)
	v := commit(t, s, "web", day, c)
	m := mountTest(t, s, Options{Cache: 4 << 20})
	rnd := rand.New(rand.NewPCG(5, 5))
	for _, f := range image.Formats() {
		path := ImagePath(m.Dir(), v, "vda", f)
		all, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if f == image.Raw && !bytes.Equal(all, c.bytes) {
			t.Error("the raw image is not the disk")
		}
		whole := &content{name: "vda", bytes: all}
		fd := openRaw(t, path, unix.O_DIRECT)
		for range 100 {
			n := []int{1, 512, 4096, 70_000, 1 << 20}[rnd.IntN(5)]
			if err := check(fd, whole, rnd.Int64N(int64(len(all))), aligned(n)); err != nil {
				t.Errorf("%s: %v", f, err)
			}
		}
	}
}
