package files

import (
	"testing"
	"testing/synctest"
	"time"

	"holdfast/fs/guest"
)

// TestClosesWhatNobodyUses has three volumes used at different times, one of them
// again and again.
func TestClosesWhatNobodyUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := New(nil, nil)
		volume := func() *Volume {
			v := &Volume{o: o, fs: struct{ guest.Filesystem }{}}
			o.use(v)
			return v
		}
		expect := func(v *Volume, want bool, when string) {
			t.Helper()
			synctest.Wait()
			v.mu.Lock()
			defer v.mu.Unlock()
			if got := v.fs != nil; got != want {
				t.Errorf("%s: open is %v, want %v", when, got, want)
			}
		}
		a, busy := volume(), volume()
		time.Sleep(maxIdle / 2)
		b := volume()
		o.use(busy)
		time.Sleep(maxIdle/2 - time.Nanosecond)
		expect(a, true, "just before its time")
		time.Sleep(time.Nanosecond)
		expect(a, false, "at its time")
		expect(b, true, "half of its time")
		for range 10 {
			o.use(busy)
			time.Sleep(maxIdle - time.Nanosecond)
			expect(busy, true, "used again")
		}
		expect(b, false, "long after its time")
		time.Sleep(time.Nanosecond)
		expect(busy, false, "used no more")

		if o.sweeping || len(o.open) != 0 {
			t.Errorf("nothing is open: swept %v, %d in the list", o.sweeping, len(o.open))
		}
		again := volume()
		time.Sleep(maxIdle)
		expect(again, false, "opened after all were closed")
	})
}

// TestClosesTheThirteenth opens one more than may be open.
func TestClosesTheThirteenth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := New(nil, nil)
		var all []*Volume
		for range maxOpen + 1 {
			all = append(all, &Volume{o: o, fs: struct{ guest.Filesystem }{}})
			o.use(all[len(all)-1])
		}
		synctest.Wait()
		if all[0].fs != nil || all[1].fs == nil || len(o.open) != maxOpen {
			t.Errorf("the first open %v, the second %v, %d in the list", all[0].fs != nil, all[1].fs != nil, len(o.open))
		}
	})
}
