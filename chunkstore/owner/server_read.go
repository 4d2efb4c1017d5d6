package owner

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"runtime/debug"
	"sync"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// recordBufs holds buffers for one record each.
var recordBufs = sync.Pool{New: func() any {
	b := make([]byte, 0, pack.MaxRecord)
	return &b
}}

func (s *server) getRoot(w http.ResponseWriter, r *http.Request) {
	body, err := s.store.Root(r.Context(), r.URL.Query().Get("name"))
	if !s.failed(w, err) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(body)
	}
}

// getRoots answers with one page. The page is complete before the first byte
// is sent: a client that does not read must not hold the store's iterator.
func (s *server) getRoots(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	page, full, more := newPage(), false, false
	err := s.store.Roots(r.Context(), q.Get("prefix"), q.Get("from"), func(name string, body []byte) bool {
		if full {
			more = true
			return false
		}
		full = !page.add(name, body)
		return true
	})
	if !s.failed(w, err) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(page.bytes(more))
	}
}

// get answers with one item an id, in order, each as soon as it is read.
func (s *server) get(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(w, r, nil, maxGet*int64(idLen))
	if s.failed(w, err) {
		return
	}
	ids, err := parseIDs(body, maxGet)
	if s.failed(w, err) {
		return
	}
	prove := r.URL.Query().Get("prove") != ""
	buf := recordBufs.Get().(*[]byte)
	defer recordBufs.Put(buf)
	w.Header().Set("Content-Type", "application/octet-stream")
	out := bufio.NewWriterSize(w, 8<<10)
	for _, id := range ids {
		if !s.writeItem(out, r.Context(), id, (*buf)[:0], prove) {
			return
		}
	}
	out.Flush()
}

// writeItem sends the record of id, or why there is none.
func (s *server) writeItem(out *bufio.Writer, ctx context.Context, id chunkstore.ID, buf []byte, prove bool) bool {
	rec, err := s.readRecord(ctx, id, buf, prove)
	status := byte(itemRecord)
	if err == nil && len(rec) > pack.MaxRecord {
		err = &pack.Damage{Kind: pack.Corrupt, ID: id, Length: len(rec), Err: errBadRequest}
	}
	if err != nil {
		status = itemError
		if rec, err = json.Marshal(toWire(s.ownError(err))); err != nil {
			return false
		}
	}
	h := itemHeader(status, len(rec))
	out.Write(h[:]) // bufio keeps the first error for the next call
	_, err = out.Write(rec)
	return err == nil
}

// readRecord returns the record of id as it lies. With prove the store has
// read the chunk by itself just before, and has noted the damage if it is one.
func (s *server) readRecord(ctx context.Context, id chunkstore.ID, buf []byte, prove bool) (rec []byte, err error) {
	defer func() {
		// The answer has begun: a panic here is this item's error alone.
		if p := recover(); p != nil {
			s.log.Error("read of a record failed by a bug", "chunk", id, "panic", p, "stack", string(debug.Stack()))
			err = panicError(p)
		}
	}()
	if prove {
		if _, err := s.store.Get(ctx, id, nil); err != nil {
			return nil, err
		}
	}
	return s.store.ReadRecord(ctx, id, buf)
}
