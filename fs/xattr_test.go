package fs

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNamesAboveGuestsHaveNoXattrs asks as ls -l does: ENOTSUP makes it stop, where
// ENODATA would be asked for each name, and after ENOSYS the kernel would ask for no
// guest's file either.
func TestNamesAboveGuestsHaveNoXattrs(t *testing.T) {
	s := newStore(t)
	v := commit(t, s, "web", day, newContent("vda", 1<<20, 1))
	m := mountTest(t, s, Options{})
	raw := rawPath(m, v, "vda")
	version := filepath.Dir(raw)
	for _, path := range []string{
		m.Dir(), m.Dir() + "/" + readmeName, m.Dir() + "/web", m.Dir() + "/web/latest", version, raw,
		version + "/" + versionName, version + "/" + filesName, version + "/" + filesName + "/vda",
	} {
		for _, name := range []string{"system.posix_acl_access", "security.selinux"} {
			if n, err := unix.Lgetxattr(path, name, nil); !errors.Is(err, unix.ENOTSUP) {
				t.Errorf("%s of %s: %d bytes, %v, want ENOTSUP", name, path, n, err)
			}
		}
		if n, err := unix.Llistxattr(path, nil); n != 0 || err != nil {
			t.Errorf("the list of %s: %d bytes, %v, want none", path, n, err)
		}
	}
}
