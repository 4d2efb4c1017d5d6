package ntfs

import (
	"fmt"
	"os"
	"testing"

	"holdfast/fs/guest"
)

// TestSecurity compares security descriptors that files share, enough of them
// for an index of several blocks, and reads one whose place is damaged from its
// copy.
func TestSecurity(t *testing.T) {
	image := mkntfs(t, 32<<20)
	const files = 250
	mounted(t, image, func(dir string) {
		for i := range files {
			path := fmt.Sprintf("%s/f%03d", dir, i)
			must(t, os.WriteFile(path, make([]byte, 900), 0o644))
			must(t, os.Chown(path, 1000+i%125, 2000+i%3))
			must(t, os.Chmod(path, os.FileMode(0o400+i%8)))
		}
	}, "permissions")
	fs := compare(t, image).(*FS)
	descriptors := map[string]bool{}
	for i := range files {
		all, err := fs.Xattrs(t.Context(), lookup(t, fs, fmt.Sprintf("f%03d", i)))
		must(t, err)
		if len(all[xattrACL]) < 20 {
			t.Fatalf("file %d has a descriptor of %d bytes", i, len(all[xattrACL]))
		}
		descriptors[string(all[xattrACL])] = true
	}
	secure, err := fs.file(t.Context(), recordSecure)
	must(t, err)
	ix, err := fs.index(t.Context(), secure, securityIndex)
	must(t, err)
	t.Logf("%d descriptors", len(descriptors))
	if len(descriptors) < 100 || ix.blocks == nil {
		t.Errorf("%d descriptors, blocks: %v", len(descriptors), ix.blocks != nil)
	}

	n := lookup(t, fs, "f007")
	want, err := fs.Xattrs(t.Context(), n)
	must(t, err)
	s, err := fs.stream(t.Context(), secure, attrData, securityStream)
	must(t, err)
	id := descriptorID(t, fs, n)
	damaged := false
	must(t, fs.eachRun(t.Context(), s, 0, fs.g.clustersOf(sdsMirror), func(r run) bool {
		patch(t, image, fs.g.place(r.cluster), fs.g.place(r.count), func(b []byte) {
			for at := 0; at+sdsHead <= len(b); at += 16 {
				if le.Uint32(b[at+4:]) == id && le.Uint32(b[at+16:]) > sdsHead {
					le.PutUint32(b[at+4:], ^id)
					damaged = true
				}
			}
		})
		return true
	}))
	got, err := openFS(t, image).Xattrs(t.Context(), n)
	if err != nil || !damaged || string(got[xattrACL]) != string(want[xattrACL]) {
		t.Errorf("from the copy: %v, damaged: %v", err, damaged)
	}
}

func descriptorID(t testing.TB, fs *FS, n guest.Node) uint32 {
	t.Helper()
	in, err := fs.inode(t.Context(), n)
	must(t, err)
	return in.security
}
