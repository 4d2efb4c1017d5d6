package owner

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// protocol is the number in the paths. An owner may know more requests than
// its client; what both know does not change within a number.
const protocol = 1

// Bounds of what crosses the socket. Both sides keep them.
const (
	maxIDs     = 16384   // of one has
	maxGet     = 256     // ids of one get
	maxBody    = 8 << 20 // bytes of one put: a region of raw chunks is 4.1 MiB
	rootsPage  = 1 << 20 // bytes after which a page of roots ends
	maxControl = 64 << 10
	maxWhat    = 256

	idLen    = len(chunkstore.ID{})
	itemHead = 5 // status, length
	rootHead = 6 // name length, body length
	pageHead = 5 // count, more
)

const (
	itemRecord = 0
	itemError  = 1
)

// hello is the answer to /v1/info.
type hello struct {
	Protocol int       `json:"protocol"`
	StoreID  string    `json:"store_id"`
	State    string    `json:"state"` // starting, serving, closing
	PID      int       `json:"pid"`
	Command  string    `json:"command"`
	Since    time.Time `json:"since"`
}

const (
	stateStarting = "starting"
	stateServing  = "serving"
	stateClosing  = "closing"
)

func appendIDs(b []byte, ids []chunkstore.ID) []byte {
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return b
}

func parseIDs(b []byte, most int) ([]chunkstore.ID, error) {
	if len(b)%idLen != 0 || len(b)/idLen > most {
		return nil, fmt.Errorf("%w: %d bytes of ids, want at most %d of %d", errBadRequest, len(b), most, idLen)
	}
	ids := make([]chunkstore.ID, len(b)/idLen)
	for i := range ids {
		copy(ids[i][:], b[i*idLen:])
	}
	return ids, nil
}

func appendRecord(b []byte, rec []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(rec))), rec...)
}

// parseRecords reads the records of a put and proves each one's stored bytes.
// They alias b.
func parseRecords(b []byte) ([]pack.Record, error) {
	var recs []pack.Record
	for n := 0; len(b) > 0; n++ {
		if len(b) < 4 {
			return nil, fmt.Errorf("%w: record %d is cut off", errBadRequest, n)
		}
		size := int64(binary.LittleEndian.Uint32(b))
		if b = b[4:]; size > int64(len(b)) || size > pack.MaxRecord {
			return nil, fmt.Errorf("%w: record %d has %d bytes of %d", errBadRequest, n, size, len(b))
		}
		rec, err := pack.CheckStored(b[:size])
		if err != nil {
			return nil, fmt.Errorf("%w: record %d: %w", errBadRequest, n, err)
		}
		if int64(len(rec.Bytes)) != size {
			return nil, fmt.Errorf("%w: record %d has %d bytes in %d", errBadRequest, n, len(rec.Bytes), size)
		}
		recs = append(recs, rec)
		b = b[size:]
	}
	return recs, nil
}

// readItem reads one item of a get. The bytes are in buf where they fit.
func readItem(r io.Reader, buf []byte) (status byte, b []byte, err error) {
	var head [itemHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, fmt.Errorf("read item: %w", err)
	}
	size := int64(binary.LittleEndian.Uint32(head[1:]))
	if head[0] > itemError || size > max(pack.MaxRecord, maxError) {
		return 0, nil, fmt.Errorf("read item: status %d with %d bytes", head[0], size)
	}
	if int64(cap(buf)) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	if _, err := io.ReadFull(r, buf); err != nil {
		return 0, nil, fmt.Errorf("read item: %w", err)
	}
	return head[0], buf, nil
}

func itemHeader(status byte, size int) (h [itemHead]byte) {
	h[0] = status
	binary.LittleEndian.PutUint32(h[1:], uint32(size))
	return h
}

// root is one named root on a page.
type root struct {
	name string
	body []byte
}

// pageWriter makes a page of roots.
type pageWriter struct {
	b []byte
	n uint32
}

func newPage() *pageWriter { return &pageWriter{b: make([]byte, pageHead, 64<<10)} }

// add appends a root and reports whether the page has room for another.
func (p *pageWriter) add(name string, body []byte) bool {
	p.b = binary.LittleEndian.AppendUint16(p.b, uint16(len(name)))
	p.b = binary.LittleEndian.AppendUint32(p.b, uint32(len(body)))
	p.b = append(append(p.b, name...), body...)
	p.n++
	return len(p.b) < rootsPage
}

func (p *pageWriter) bytes(more bool) []byte {
	binary.LittleEndian.PutUint32(p.b, p.n)
	if more {
		p.b[4] = 1
	}
	return p.b
}

// maxPage is the longest page: one root more than fills it.
const maxPage = rootsPage + pageHead + rootHead + chunkstore.MaxRootName + chunkstore.MaxRootBody

// parsePage reads a page of roots. Bodies alias b.
func parsePage(b []byte) (roots []root, more bool, err error) {
	if len(b) < pageHead || b[4] > 1 {
		return nil, false, fmt.Errorf("page of roots: bad head in %d bytes", len(b))
	}
	n, more := int64(binary.LittleEndian.Uint32(b)), b[4] == 1
	b = b[pageHead:]
	if n*rootHead > int64(len(b)) || more && n == 0 {
		return nil, false, fmt.Errorf("page of roots: %d roots in %d bytes", n, len(b))
	}
	roots = make([]root, 0, n)
	for range n {
		if len(b) < rootHead {
			return nil, false, fmt.Errorf("page of roots: cut off after %d of %d", len(roots), n)
		}
		name, body := int64(binary.LittleEndian.Uint16(b)), int64(binary.LittleEndian.Uint32(b[2:]))
		b = b[rootHead:]
		if name > chunkstore.MaxRootName || body > chunkstore.MaxRootBody || name+body > int64(len(b)) {
			return nil, false, fmt.Errorf("page of roots: root %d of %d and %d bytes does not fit", len(roots), name, body)
		}
		roots = append(roots, root{string(b[:name]), b[name : name+body : name+body]})
		b = b[name+body:]
	}
	if len(b) != 0 {
		return nil, false, fmt.Errorf("page of roots: %d bytes too many", len(b))
	}
	return roots, more, nil
}
