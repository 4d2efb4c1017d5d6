package pack

import (
	"errors"
	"fmt"
	"sync"

	"holdfast/chunkstore/blake"
)

// Records are proved a few at a time: their bytes are hashed together, which is faster,
// and what was decoded for it is still in the processor's cache.
const (
	groupPlain   = 256 << 10 // plain bytes of one group
	groupRecords = 32
)

// group is records that are proved together. It belongs to one goroutine at a time.
type group struct {
	n        int // records in it
	used     int // bytes of plain that hold their chunks
	of       [groupRecords]int
	headers  [groupRecords]header
	messages [groupRecords]blake.Message
	sums     [groupRecords][32]byte // of the messages
	plain    []byte
}

var groups = sync.Pool{New: func() any { return &group{plain: make([]byte, groupPlain+groupRecords*Slack)} }}

// isFull reports whether a chunk of n bytes, MaxChunk at most, has no room any more.
func (g *group) isFull(n int) bool { return g.n == groupRecords || g.used+n+Slack > len(g.plain) }

// add takes in what is to be hashed of record i.
func (g *group) add(i int, h *header, m blake.Message) {
	g.of[g.n], g.headers[g.n], g.messages[g.n] = i, *h, m
	g.n++
}

// hash hashes the messages and calls judge with each record's number, header and sum.
// The group is empty then.
func (g *group) hash(by *blake.Hasher, judge func(i int, h *header, sum *[32]byte)) {
	blake.SumMany(by, g.sums[:], g.messages[:g.n])
	for k := range g.n {
		judge(g.of[k], &g.headers[k], &g.sums[k])
	}
	clear(g.messages[:g.n])
	g.n, g.used = 0, 0
}

// ProveMany is [Codec.Decode] for many records that keeps nothing: errs[i] becomes what
// is wrong with records[i], which must be the chunk that entries[i] names. Records that
// have an error already are passed over. It holds 256 KiB.
func (c *Codec) ProveMany(entries []Entry, records [][]byte, errs []error) {
	g := groups.Get().(*group)
	judge := func(i int, h *header, sum *[32]byte) {
		if id := ID(*sum); id != h.id {
			errs[i] = fmt.Errorf("plain bytes have id %v", id)
		}
	}
	for i, rec := range records {
		if errs[i] != nil {
			continue
		}
		h, payload, err := openRecord(rec, entries[i].ID)
		if err != nil {
			errs[i] = err
			continue
		}
		if g.isFull(h.plainLen) {
			g.hash(c.ids, judge)
		}
		end := g.used + h.plainLen + Slack
		plain, err := c.decodePayload(g.plain[g.used:g.used:end], &h, payload)
		if err != nil {
			errs[i] = err
			continue
		}
		g.used = end
		g.add(i, &h, blake.Message{plain})
	}
	g.hash(c.ids, judge)
	groups.Put(g)
}

// checkStoredMany is [CheckStored] for many records that must each be what its entry
// tells of. Those whose sums are BLAKE3 hashes are summed together.
func checkStoredMany(entries []Entry, records [][]byte, errs []error) {
	g := groups.Get().(*group)
	judge := func(i int, h *header, sum [sumLen]byte) {
		if errs[i] = h.fits(sum); errs[i] == nil {
			errs[i] = h.isOf(&entries[i])
		}
	}
	judgeHash := func(i int, h *header, hash *[32]byte) { judge(i, h, [sumLen]byte(hash[:])) }
	for i, b := range records {
		h, rec, err := openStored(b)
		if err != nil {
			errs[i] = err
			continue
		}
		if h.version != recordV1 {
			judge(i, &h, h.version.sum(rec))
			continue
		}
		if g.isFull(0) {
			g.hash(unkeyed, judgeHash)
		}
		head, payload := summed(rec)
		g.add(i, &h, blake.Message{head, payload})
	}
	g.hash(unkeyed, judgeHash)
	groups.Put(g)
}

// isOf says why a record is not the one that an entry tells of.
func (h *header) isOf(e *Entry) error {
	switch {
	case h.id != e.ID:
		return fmt.Errorf("record is of chunk %v", h.id)
	case h.payloadLen != int(e.PayloadLen) || h.plainLen != int(e.PlainLen) || h.kind != e.Kind:
		return errors.New("record is not the one that the footer tells of")
	}
	return nil
}

// checkRecords proves neighbouring records, of which from is the first.
func (p *prover) checkRecords(from int, records [][]byte, errs []error) {
	entries := p.Entries[from:][:len(records)]
	checkStoredMany(entries, records, errs)
	if p.opts.Check != nil {
		p.opts.Check(entries, records, errs)
	}
}

// groupOf returns the end of the records, before to, that are proved together with from.
func (p *prover) groupOf(from, to int) int {
	plain := 0
	for i := from; i < min(to, from+groupRecords); i++ {
		if plain += int(p.Entries[i].PlainLen); plain > groupPlain && i > from {
			return i
		}
	}
	return min(to, from+groupRecords)
}
