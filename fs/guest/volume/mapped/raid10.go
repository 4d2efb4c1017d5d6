package mapped

import (
	"holdfast/fs/guest"
)

// Layout10 is the geometry of Linux's RAID 10 (drivers/md/raid10.h; md(4),
// "RAID10"). Each chunk has Near*Far copies: near ones lie side by side on the
// next legs, far ones Near legs on and one stride further, where a stride is
// the leg's share of all data, or with Offset a single chunk.
//
//	near 2, 3 legs     far 2, 3 legs      offset 2, 3 legs
//	  0 0 1              0 1 2              0 1 2
//	  1 2 2              3 4 5              2 0 1
//	  3 3 4              2 0 1              3 4 5
//	                     5 3 4              5 3 4
type Layout10 struct {
	Near, Far int
	Offset    bool
	// Sets makes far copies stay within sets of Near*Far legs.
	Sets  bool
	Chunk int64 // bytes
}

type raid10 struct {
	Layout10
	legs   []*Device
	stride int64
	set    int // legs of a set
	last   int // where the last set begins: it has the remaining legs as well
}

// Raid10 makes a device of legs of legSize bytes each; a nil leg is missing,
// and what lies nowhere else is then refused with missing.
func Raid10(l Layout10, legSize int64, legs []*Device, missing error) (*Device, error) {
	n := int64(len(legs))
	copies := int64(l.Near) * int64(l.Far)
	if n == 0 || n > 1<<16 || l.Near < 1 || l.Far < 1 || copies > n || copies > maxWays || l.Chunk <= 0 || legSize < 0 {
		return nil, guest.Corrupt("RAID 10 of %d legs, %d near and %d far copies, chunks of %d bytes", n, l.Near, l.Far, l.Chunk)
	}
	rows := legSize / l.Chunk / int64(l.Far) // of chunks, in a stride
	if rows > (1<<62)/n/l.Chunk {
		return nil, guest.Corrupt("RAID 10 of %d legs of %d bytes", n, legSize)
	}
	chunks := rows * n / int64(l.Near)
	m := raid10{Layout10: l, set: len(legs)}
	if l.Sets {
		m.set = l.Near * l.Far
	}
	m.last = (len(legs)/m.set - 1) * m.set
	used := (chunks*copies + n - 1) / n
	m.stride = used / int64(l.Far) * l.Chunk
	if l.Offset {
		m.stride = l.Chunk
	}
	ways := 0
	for _, leg := range legs {
		if leg == nil {
			leg = Refuse(legSize, missing)
		}
		ways = max(ways, leg.ways)
		m.legs = append(m.legs, leg)
	}
	return New(chunks*l.Chunk, m, ways*int(copies), m.legs...)
}

func (m raid10) Piece(off, limit int64) (Piece, error) {
	n := int64(len(m.legs))
	c, in := off/m.Chunk, off%m.Chunk
	slot := c * int64(m.Near)
	row, leg := slot/n, int(slot%n)
	piece := Piece{Length: min(limit, m.Chunk-in)}
	var refused error
	for range m.Near {
		base := row
		if m.Offset {
			// Each row of data is followed by its far copies.
			base = c * int64(m.Near) / n * int64(m.Far)
			base += row - c*int64(m.Near)/n
		}
		at, to := base*m.Chunk+in, leg
		for range m.Far {
			if err := m.legs[to].Refused(); err != nil {
				refused = err
			} else {
				piece.Places = append(piece.Places, Place{m.legs[to], at})
			}
			to, at = m.farther(to), at+m.stride
		}
		if leg++; leg == len(m.legs) {
			leg, row = 0, row+1
		}
	}
	if len(piece.Places) == 0 {
		return Piece{}, refused
	}
	return piece, nil
}

// farther gives the leg of the next far copy. Where the last set is larger
// than the others the kernel reckons a leg's copy into it as soon as the sum
// reaches behind its first leg; what lies on disk follows that.
func (m raid10) farther(leg int) int {
	start, size := leg/m.set*m.set, m.set
	if len(m.legs)%m.set != 0 && leg+m.Near > m.last {
		start, size = m.last, len(m.legs)-m.last
	}
	return start + (leg+m.Near-start)%size
}
