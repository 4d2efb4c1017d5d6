package disk

import (
	"encoding/json"
	"fmt"

	"holdfast/chunkstore/pack"
)

// Map is what a version's manifest says of a disk: all that is needed to read
// it. Its JSON has the root as 64 hexadecimal digits.
type Map struct {
	Root      pack.ID // of the disk map; zero: nothing is stored
	Size      int64   // of the disk in bytes, 1 to MaxSize
	DataBytes int64   // bytes that are stored: the extents' lengths
	Grains    int64   // allocated units of GrainSize
	Blocks    int64   // of BlockSize
	Spans     int64   // of SpanSize
}

type mapJSON struct {
	Root      string `json:"root"`
	Size      int64  `json:"size"`
	DataBytes int64  `json:"data_bytes"`
	Grains    int64  `json:"grains"`
	Blocks    int64  `json:"blocks"`
	Spans     int64  `json:"spans"`
}

// MarshalJSON implements json.Marshaler.
func (m Map) MarshalJSON() ([]byte, error) {
	return json.Marshal(mapJSON{m.Root.String(), m.Size, m.DataBytes, m.Grains, m.Blocks, m.Spans})
}

// UnmarshalJSON implements json.Unmarshaler. It checks the root's spelling
// only; see Validate.
func (m *Map) UnmarshalJSON(b []byte) error {
	var j mapJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("read disk map: %w", err)
	}
	root, err := pack.ParseID(j.Root)
	if err != nil {
		return fmt.Errorf("read disk map: root: %w", err)
	}
	*m = Map{root, j.Size, j.DataBytes, j.Grains, j.Blocks, j.Spans}
	return nil
}

// Validate checks that the numbers are in bounds and can be true together.
func (m Map) Validate() error {
	if m.Size < 1 || m.Size > MaxSize {
		return fmt.Errorf("disk map: size of %d bytes: want 1 to %d", m.Size, int64(MaxSize))
	}
	if m.Root.IsZero() {
		if m.DataBytes != 0 || m.Grains != 0 || m.Blocks != 0 || m.Spans != 0 {
			return fmt.Errorf("disk map: no root, but %d bytes of data in %d grains, %d blocks and %d spans", m.DataBytes, m.Grains, m.Blocks, m.Spans)
		}
		return nil
	}
	for _, c := range []struct {
		what       string
		n, lo, hi  int64
		perTheNext int64 // how many fit one unit of the next size, whose count is next
		next       int64
	}{
		{"spans", m.Spans, 1, ceilDiv(m.Size, SpanSize), 1, m.Spans},
		{"blocks", m.Blocks, m.Spans, ceilDiv(m.Size, BlockSize), SpanSize / BlockSize, m.Spans},
		{"grains", m.Grains, m.Blocks, ceilDiv(m.Size, GrainSize), BlockSize / GrainSize, m.Blocks},
		{"bytes of data", m.DataBytes, m.Grains, m.Size, GrainSize, m.Grains},
	} {
		if c.n < c.lo || c.n > c.hi || c.n > c.perTheNext*c.next {
			return fmt.Errorf("disk map: %d %s on a disk of %d bytes: want %d to %d", c.n, c.what, m.Size, c.lo, min(c.hi, c.perTheNext*c.next))
		}
	}
	return nil
}

func (m Map) totals() totals {
	return totals{uint32(m.Grains), uint32(m.Blocks), uint32(m.Spans)}
}
