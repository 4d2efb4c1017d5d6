package fs

import "testing"

func TestLoadsAtATime(t *testing.T) {
	for cores, want := range map[int]int{1: 2, 2: 4, 3: 6, 8: 16, 9: 16, 16: 16, 17: 17, 64: 64} {
		if n := loadsAtATime(cores); n != want {
			t.Errorf("%d cores: %d loads, want %d", cores, n, want)
		}
	}
}
