package fs

import "testing"

// TestTouchesThatAreNear: the second read of a grain counts when it comes soon
// after the first, the third counts as a first.
func TestTouchesThatAreNear(t *testing.T) {
	var far touches
	for between, want := range map[int]bool{0: true, 1: true, touchNear - 1: true, touchNear: false, 3 * touchNear: false} {
		var tt touches
		if tt.again(7) {
			t.Fatal("the first read counts")
		}
		for range between {
			tt.again(8)
		}
		if got := tt.again(7); got != want {
			t.Errorf("%d reads between: %v", between, got)
		}
		if want && tt.again(7) {
			t.Error("the third read counts")
		}
	}
	// Grains of the largest disk.
	for _, no := range []int64{0, 1<<30 - 1, 1 << 30} {
		if far.again(no) || !far.again(no) {
			t.Errorf("grain %d", no)
		}
	}
}

// TestUniformReadsPushLittle reads all over a large file, in which few grains are
// met twice in a short time, then a part of it where most are, then all of it again.
func TestUniformReadsPushLittle(t *testing.T) {
	var tt touches
	const reads, large, small = 50_000, 10_000, 1024
	x := uint64(1)
	pushes := func(reads int, grains uint64) (n int) {
		for range reads {
			x = x*6364136223846793005 + 1442695040888963407
			if tt.again(int64(x >> 33 % grains)) {
				n++
			}
		}
		return n
	}
	for range 2 {
		if n := pushes(reads, large); n > reads/200 {
			t.Errorf("%d of %d reads all over the file push", n, reads)
		}
		// A grain that was pushed is read as a first one, so it may push every
		// second time; within touchNear reads, two in five meet.
		if n := pushes(reads, small); n < reads/8 {
			t.Errorf("%d of %d reads of a small part push", n, reads)
		}
	}
}
