package capture

import "sync/atomic"

// Progress is how far a capture has come. Its fields may be read at any time
// while Run works.
type Progress struct {
	Total     atomic.Int64 // bytes of all disks
	Done      atomic.Int64 // bytes of them dealt with, holes included
	Read      atomic.Int64 // bytes read from the sources
	New       atomic.Int64 // plain bytes that were new
	Stored    atomic.Int64 // what they took
	Finishing atomic.Bool  // everything is read; the version is being committed
}

// begin sets the counters back; a capture that starts again counts anew.
func (p *Progress) begin(disks []Input) {
	var total int64
	for _, d := range disks {
		total += d.Source.Size()
	}
	p.Total.Store(total)
	for _, c := range []*atomic.Int64{&p.Done, &p.Read, &p.New, &p.Stored} {
		c.Store(0)
	}
	p.Finishing.Store(false)
}

func (p *Progress) committing() { p.Finishing.Store(true) }
