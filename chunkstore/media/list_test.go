package media

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestListManyDirectories: packs are found whatever number of directories they lie
// in, and nothing that lies in another one than its name says.
func TestListManyDirectories(t *testing.T) {
	for _, dirs := range []int{0, 1, listers - 1, listers, listers + 1, 3*listers + 1} {
		fsys, root := vfs.NewMem(), "/packs"
		d := dirOn(t, fsys, root)
		var want []string
		for i := range dirs {
			for j := range 2 {
				name := fmt.Sprintf("%02x%d.pack", i, j)
				up, err := d.Create(name)
				if err != nil {
					t.Fatal(err)
				}
				if err := up.Commit(); err != nil {
					t.Fatal(err)
				}
				up.Close()
				want = append(want, name)
			}
			f, err := fsys.Create(filepath.Join(root, fmt.Sprintf("%02x", i), "zz.pack"), writeCategory)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		var got []string
		if err := d.List(func(name string) error { got = append(got, name); return nil }); err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%d directories: found %d packs, want %d", dirs, len(got), len(want))
		}
	}
}
