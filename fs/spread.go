package fs

import "sync/atomic"

// spread counts what was read of an image since it was filled last.
type spread struct {
	strewn atomic.Int64 // reads that belong to no stream
	bytes  atomic.Int64 // of all
	asked  atomic.Bool
}

// note counts a read of n bytes of an image that takes so many, and reports whether it
// is to be filled now; once, until again is called.
func (s *spread) note(n int64, sequential bool, takes int64) bool {
	read := s.bytes.Add(n)
	if sequential || s.strewn.Add(1) < fillReads || read < takes/fillPart {
		return false
	}
	return s.asked.CompareAndSwap(false, true)
}

func (s *spread) again() {
	s.strewn.Store(0)
	s.bytes.Store(0)
	s.asked.Store(false)
}

// noteFill notes a read through the page cache. It never waits.
func (im *imageNode) noteFill(n int64, sequential bool) {
	f := im.t.filler
	if f == nil {
		return
	}
	takes := im.takes()
	if takes > f.most || !im.spread.note(n, sequential, takes) {
		return
	}
	select {
	case f.asked <- im:
	default:
		im.spread.again()
	}
}

// takes is about what the image takes in the page cache, in bytes.
func (im *imageNode) takes() int64 {
	m := im.data.Map()
	return m.Grains*grain + im.img.AllocatedBytes() - m.DataBytes
}
