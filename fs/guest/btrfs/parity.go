package btrfs

import (
	"context"
	"fmt"
	"sync"

	"github.com/klauspost/reedsolomon"

	"holdfast/fs/guest"
)

// A row of RAID5 has the sum of its units as parity (P); RAID6 has besides the
// sum of the units, each times 2 to the power of its column, in the field of
// 256 elements with the polynomial 0x11d (Q; H. P. Anvin, "The mathematics of
// RAID-6").

// coders are made once for each shape of a row.
type coders struct {
	mu   sync.Mutex // guards made
	made map[[2]int]reedsolomon.Encoder
}

func (c *coders) get(data, parity int) (reedsolomon.Encoder, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	shape := [2]int{data, parity}
	if e := c.made[shape]; e != nil {
		return e, nil
	}
	p, q := make([]byte, data), make([]byte, data)
	power := byte(1)
	for i := range data {
		p[i], q[i] = 1, power
		carry := power >> 7
		power = power<<1 ^ carry*0x1d
	}
	e, err := reedsolomon.New(data, parity, reedsolomon.WithCustomMatrix([][]byte{p, q}[:parity]))
	if err != nil {
		return nil, fmt.Errorf("btrfs: %d units with %d of parity: %w", data, parity, err)
	}
	if c.made == nil {
		c.made = map[[2]int]reedsolomon.Encoder{}
	}
	c.made[shape] = e
	return e, nil
}

// rebuild makes a piece from the rest of its row, in the nth way: from the
// parity in order, then as if one more unit of the row were damaged.
func (f *FS) rebuild(ctx context.Context, c *chunk, r piece, p []byte, n int) error {
	data, parity := int(c.columns()), c.parity()
	also := -1 // the column that is held for damaged as well
	switch {
	case n == 0:
	case parity == 1 || n > data+parity:
		return errNoCopy
	default:
		if also = (data + n - 1) % (data + parity); also == r.column {
			also = -1
		}
	}
	shards := make([][]byte, data+parity)
	good := 0
	for column := range shards {
		if column == r.column || column == also || good == data {
			continue
		}
		s := c.stripes[c.turned(column, r.row)]
		d := f.devices[s.device]
		if d == nil {
			continue
		}
		b := make([]byte, len(p))
		if err := f.readDevice(ctx, d, b, s.off+r.off); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		shards[column] = b
		good++
	}
	if good < data {
		return guest.Corrupt("btrfs: %d of the %d devices of a RAID row can be read, %d are needed; missing devices: %s", good, data+parity, data, f.missing())
	}
	e, err := f.coders.get(data, parity)
	if err != nil {
		return err
	}
	if err := e.ReconstructData(shards); err != nil {
		return guest.Corrupt("btrfs: rebuild from parity: %v", err)
	}
	copy(p, shards[r.column])
	return nil
}
