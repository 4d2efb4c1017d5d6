package chunkstore

import "holdfast/chunkstore/pack"

// aheadStep is asked of the kernel at once, which cuts longer requests off.
const aheadStep = 1 << 20

// Ahead begins to read what lies from one of these chunks to the next, where that
// is one run of a pack of at most most bytes, and the chunks themselves. They are
// samples of what is read in order soon, such as every 64th chunk. It is advice, and
// waits for no read of packs.
func (s *Store) Ahead(ids []ID, most int64) {
	var from, to place
	for _, id := range ids {
		at, ok, err := s.lookup(id)
		if err != nil || !ok {
			continue
		}
		if gap := int64(at.offset) - int64(to.offset); at.pack != to.pack || gap < 0 || gap > most {
			s.prefetch(from, to)
			from = at
		}
		to = at
	}
	s.prefetch(from, to)
}

// prefetch begins to read a pack from one record to the end of another.
func (s *Store) prefetch(from, to place) {
	if to.payloadLen == 0 {
		return
	}
	f, err := s.files.open(to.pack)
	if err != nil {
		return
	}
	defer s.files.done(f)
	p, ok := f.File.(interface{ Prefetch(off, n int64) error })
	if !ok {
		return
	}
	end := int64(to.offset) + pack.RecordHeaderLen + int64(to.payloadLen)
	for off := int64(from.offset); off < end; off += aheadStep {
		p.Prefetch(off, min(aheadStep, end-off))
	}
}
