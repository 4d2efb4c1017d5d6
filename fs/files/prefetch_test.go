package files

import (
	"context"
	"testing"
)

// Asking ahead for any range of any file is harmless without a disk to ask.
func TestPrefetchOfNothing(t *testing.T) {
	s := space(t, gptDisk(t, "vda", partition{"", "", tree{"etc/fstab": "/dev/sda1 / ext4\n", "sparse": "x"}}))
	for _, path := range []string{"/", "/etc/fstab"} {
		p, err := s.Resolve(context.Background(), path, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range [][2]int64{{0, 0}, {5, 1}, {-9, 9}, {0, 1 << 62}, {1 << 62, 1<<62 + 1}} {
			s.Prefetch(context.Background(), p, r[0], r[1])
		}
	}
	s.Prefetch(context.Background(), Place{}, 0, 1)
	s.Prefetch(context.Background(), Place{Mount: 99}, 0, 1)
}
