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

// TestUniformReadsPushLittle reads all over a large file: few grains are met
// twice in a short time.
func TestUniformReadsPushLittle(t *testing.T) {
	var tt touches
	const reads, grains = 50_000, 20_000
	n, x := 0, uint64(1)
	for range reads {
		x = x*6364136223846793005 + 1442695040888963407
		if tt.again(int64(x >> 33 % grains)) {
			n++
		}
	}
	if n == 0 || n > reads*touchNear*2/grains {
		t.Errorf("%d of %d reads push", n, reads)
	}
}
