package guesttest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// PopulateFew makes one of each kind of structure, for images that are opened
// a thousand times: mutants and fuzz seeds.
func PopulateFew(t testing.TB, dir string, seed uint64) {
	t.Helper()
	p := populator{t: t, dir: dir, rnd: rand.New(rand.NewPCG(seed, 43))}
	for i := range 150 {
		p.write(fmt.Sprintf("many/name-of-a-file-%03d", i), nil)
	}
	for _, n := range []int{1, 59, 61, 150, 3000, 20000} {
		p.write(fmt.Sprintf("sizes/s%d", n), p.bytes(n))
	}
	f, err := os.Create(p.path("holes"))
	p.must(err)
	for i := range int64(40) {
		_, err := f.WriteAt(p.bytes(100), i*i*8192)
		p.must(err)
		p.must(f.Sync())
	}
	p.must(f.Close())
	p.write("preallocated", nil)
	p.may("fallocate", p.preallocate("preallocated"))
	p.must(os.Symlink("short", p.path("short-link")))
	p.must(os.Symlink(strings.Repeat("long/", 50), p.path("long-link")))
	p.must(os.Link(p.path("sizes/s1"), p.path("hard-link")))
	p.must(unix.Mknod(p.path("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(300, 70000))))
	for _, n := range []int{20, 700, 3000} {
		p.set("sizes/s59", fmt.Sprintf("user.x%d", n), p.bytes(n))
	}
	p.must(os.Mkdir(p.path("acl"), 0o755))
	p.set("acl", "user.dir", []byte("x"))
	p.sync()
}
