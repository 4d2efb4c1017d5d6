package fs

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/fs/image"
)

// benchDisk mounts a full disk of 128 MiB, a third of it compressible.
func benchDisk(b *testing.B, f image.Format, flags int, opts Options) (m *Mounted, fd int, c *content) {
	s := newStore(b)
	c = &content{name: "vda", bytes: make([]byte, 128<<20)}
	c.add(rand.NewChaCha8([32]byte{1}), 0, 128<<20)
	v := commit(b, s, "web", day, c)
	m = mountTest(b, s, opts)
	return m, openRaw(b, ImagePath(m.Dir(), v, "vda", f), flags), c
}

// Cold: nothing in the page cache and next to nothing in ours.
func BenchmarkSequential(b *testing.B) {
	for _, how := range []struct {
		name   string
		format image.Format
		flags  int
	}{{"buffered", image.Raw, 0}, {"direct", image.Raw, unix.O_DIRECT}, {"qcow2", image.Qcow2, 0}, {"vhdx direct", image.VHDX, unix.O_DIRECT}} {
		b.Run(how.name, func(b *testing.B) {
			_, fd, c := benchDisk(b, how.format, how.flags, Options{Cache: 16 << 20})
			p := aligned(1 << 20)
			b.SetBytes(int64(len(c.bytes)))
			for b.Loop() {
				if err := unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED); err != nil {
					b.Fatal(err)
				}
				for off := int64(0); off < int64(len(c.bytes)); off += int64(len(p)) {
					if n, err := unix.Pread(fd, p, off); n != len(p) {
						b.Fatal(n, err)
					}
				}
			}
		})
	}
}

func BenchmarkRandom4K(b *testing.B) {
	for name, opts := range map[string]Options{"push": {Cache: 16 << 20}, "no push": {Cache: 16 << 20, NoPush: true}} {
		b.Run(name, func(b *testing.B) {
			m, fd, c := benchDisk(b, image.Raw, 0, opts)
			rnd := rand.New(rand.NewPCG(1, 1))
			order := rnd.Perm(len(c.bytes) / 4096)
			p := make([]byte, 4096)
			if err := unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM); err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				if i%len(order) == 0 {
					if err := unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED); err != nil {
						b.Fatal(err)
					}
				}
				if n, err := unix.Pread(fd, p, int64(order[i%len(order)])*4096); n != len(p) {
					b.Fatal(n, err)
				}
			}
			b.ReportMetric(float64(m.Stats().Reads)/float64(b.N), "READs/op")
		})
	}
}
