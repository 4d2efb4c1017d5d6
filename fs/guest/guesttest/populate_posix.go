package guesttest

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sparse makes files with holes, with blocks that were never written, and
// with a tail beyond their content.
func (p *populator) sparse() {
	f, err := os.Create(p.path("sparse"))
	p.must(err)
	for _, off := range []int64{0, 1 << 20, 100 << 20, 1<<30 + 12345, 3<<30 + 4096*7} {
		_, err := f.WriteAt(p.bytes(10000), off)
		p.must(err)
	}
	p.must(f.Truncate(5 << 30))
	p.must(f.Close())
	p.write("sparse-tail", p.bytes(5000))
	p.must(os.Truncate(p.path("sparse-tail"), 64<<20))
	p.write("sparse-all", nil)
	p.must(os.Truncate(p.path("sparse-all"), 32<<20))
	p.write("preallocated", nil)
	p.may("fallocate", p.preallocate("preallocated"))
}

func (p *populator) preallocate(rel string) error {
	f, err := os.OpenFile(p.path(rel), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, 2<<20); err != nil {
		return err
	}
	if _, err := f.WriteAt(p.bytes(5000), 1<<20); err != nil {
		return err
	}
	// Beyond the end: blocks that belong to no content.
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 3<<20, 1<<20)
}

func (p *populator) links() {
	p.write("links/original", []byte("hard link data\n"))
	for i := range 5 {
		p.must(os.Link(p.path("links/original"), p.path(fmt.Sprintf("links/hard%d", i))))
	}
	for _, n := range []int{1, 7, 8, 15, 16, 58, 59, 60, 61, 120, 155, 255, 400, 700, 1000, 1023} {
		target := strings.Repeat(strings.Repeat("p", 100)+"/", n/101) + strings.Repeat("q", n%101)
		p.must(os.Symlink(target, p.path(fmt.Sprintf("links/soft%d", n))))
	}
	p.may("a symlink of 4040 bytes", os.Symlink(strings.Repeat(strings.Repeat("p", 100)+"/", 40), p.path("links/soft4040")))
	p.must(os.Symlink("/absolute/and/dangling", p.path("links/absolute")))
	p.must(os.Symlink("../deep/dir00", p.path("links/to-directory")))
}

func (p *populator) modes() {
	for _, mode := range []uint32{0, 0o400, 0o644, 0o755, 0o4755, 0o2755, 0o1777, 0o600, 0o7777} {
		name := fmt.Sprintf("modes/f%o", mode)
		p.write(name, []byte("mode"))
		p.must(unix.Chmod(p.path(name), mode))
	}
	p.must(os.Mkdir(p.path("modes/sticky"), 0o755))
	p.must(unix.Chmod(p.path("modes/sticky"), 0o3777))
	for i, ids := range [][2]int{{0, 0}, {1000, 1000}, {65534, 65534}, {65535, 65536}, {70000, 80000}, {4000000000, 3000000000}} {
		name := fmt.Sprintf("owners/o%d", i)
		p.write(name, []byte("o"))
		p.must(os.Lchown(p.path(name), ids[0], ids[1]))
	}
}

func (p *populator) devices() {
	p.must(os.Mkdir(p.path("dev"), 0o755))
	p.must(unix.Mkfifo(p.path("dev/fifo"), 0o644))
	p.must(unix.Mknod(p.path("dev/socket"), unix.S_IFSOCK|0o600, 0))
	for _, d := range [][2]uint32{{1, 3}, {0, 0}, {255, 255}, {256, 1}, {1, 256}, {259, 70000}, {4095, 1<<20 - 1}} {
		dev := int(unix.Mkdev(d[0], d[1]))
		p.must(unix.Mknod(p.path(fmt.Sprintf("dev/c%d-%d", d[0], d[1])), unix.S_IFCHR|0o666, dev))
		p.must(unix.Mknod(p.path(fmt.Sprintf("dev/b%d-%d", d[0], d[1])), unix.S_IFBLK|0o660, dev))
	}
}

func (p *populator) set(rel, name string, value []byte) {
	p.may(rel+" "+name, unix.Lsetxattr(p.path(rel), name, value, 0))
}

func (p *populator) xattrs() {
	for _, name := range []string{"small", "several", "system", "caps", "acl", "empty"} {
		p.write("xattr/"+name, []byte("x"))
	}
	p.set("xattr/small", "user.small", []byte("value"))
	p.set("xattr/empty", "user.empty", nil)
	p.set("xattr/empty", "user."+strings.Repeat("n", 250), []byte("long name"))
	for i := range 12 {
		p.set("xattr/several", fmt.Sprintf("user.attr%d", i), []byte(strings.Repeat(fmt.Sprintf("v%d-", i), 10)))
	}
	for _, n := range []int{100, 1000, 3000, 20000, 60000} {
		rel := fmt.Sprintf("xattr/big%d", n)
		p.write(rel, []byte("x"))
		p.set(rel, "user.big", p.bytes(n))
		p.set(rel, "user.small", []byte("beside"))
	}
	for i := range 3 { // the same set, which some formats share between files
		rel := fmt.Sprintf("xattr/shared%d", i)
		p.write(rel, []byte("x"))
		p.set(rel, "user.shared", []byte(strings.Repeat("shared", 60)))
	}
	p.set("xattr/system", "security.selinux", []byte("system_u:object_r:etc_t:s0\x00"))
	p.set("xattr/system", "trusted.foo", []byte("bar"))
	caps, err := hex.DecodeString("0100000200200000000000000000000000000000")
	p.must(err)
	p.set("xattr/caps", "security.capability", caps)
	p.must(os.Symlink("x", p.path("xattr/link")))
	p.set("xattr/link", "trusted.link", []byte("on a link"))
	p.must(os.Symlink(strings.Repeat("y", 200), p.path("xattr/long-link")))
	p.set("xattr/long-link", "trusted.link", []byte(strings.Repeat("on a long link", 30)))
	p.must(os.Mkdir(p.path("xattr/dir"), 0o755))
	p.set("xattr/dir", "user.dir", []byte("on a directory"))
	p.acls()
}

func (p *populator) acls() {
	setfacl := func(args ...string) {
		if out, err := exec.Command("setfacl", args...).CombinedOutput(); err != nil {
			p.may("setfacl", fmt.Errorf("%w: %s", err, out))
		}
	}
	setfacl("-m", "u:1234:rw,g:4321:r,u:70000:x", p.path("xattr/acl"))
	setfacl("-d", "-m", "u:1234:rwx", p.path("xattr/dir"))
	p.write("xattr/dir/inherited", []byte("x"))
}

// times sets years that need more than 32 bits, or a sign.
func (p *populator) times() {
	for i, sec := range []int64{0, 1, -1, -1000000000, -2147483648, 1234567890, 2147483647, 2147483648, 3000000000, 4294967295, 4294967296, 4102444800, 6000000000, 15032385535} {
		rel := fmt.Sprintf("times/t%d", i)
		p.write(rel, []byte("t"))
		at := time.Unix(sec, 123456789*int64(i%3))
		p.may(rel, os.Chtimes(p.path(rel), at, at.Add(time.Second)))
	}
}

// churn deletes, rewrites and renames.
func (p *populator) churn() {
	const n = 300
	for i := range n {
		p.write(fmt.Sprintf("churn/c%d", i), p.bytes(1+p.rnd.IntN(12000)))
	}
	p.sync()
	for i := 0; i < n; i += 3 {
		p.must(os.Remove(p.path(fmt.Sprintf("churn/c%d", i))))
	}
	for i := 1; i < n; i += 3 {
		p.write(fmt.Sprintf("churn/c%d", i), p.bytes(1+p.rnd.IntN(16000)))
	}
	for i := 2; i < n; i += 6 {
		p.must(os.Rename(p.path(fmt.Sprintf("churn/c%d", i)), p.path(fmt.Sprintf("churn/renamed-to-a-longer-name-%d", i))))
	}
}
