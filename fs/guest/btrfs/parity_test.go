package btrfs

import "testing"

// TestParity holds Q against H. P. Anvin's definition, worked out by hand: 2 to
// the power of 8, and 0x80 times 2, are 0x1d.
func TestParity(t *testing.T) {
	var c coders
	e, err := c.get(10, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		column int
		value  byte
		q      byte
	}{{0, 1, 1}, {1, 1, 2}, {7, 1, 0x80}, {8, 1, 0x1d}, {9, 1, 0x3a}, {1, 0x80, 0x1d}, {2, 0x80, 0x3a}} {
		shards := make([][]byte, 12)
		for i := range shards {
			shards[i] = make([]byte, 16)
		}
		shards[x.column][3] = x.value
		if err := e.Encode(shards); err != nil {
			t.Fatal(err)
		}
		if p, q := shards[10][3], shards[11][3]; p != x.value || q != x.q {
			t.Errorf("%#x in column %d: P %#x, Q %#x; want Q %#x", x.value, x.column, p, q, x.q)
		}
	}
}
