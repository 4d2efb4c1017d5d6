package owner

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

const (
	// maxGets is how many exchanges for chunks are under way at a time.
	maxGets = 8
	// getBatch is how many chunks one of them asks for at most.
	getBatch = 32
)

// getQueue gathers the chunks that many readers want at the same time. While
// few want one, each has an exchange of its own; when all exchanges are under
// way, who comes next shares one.
//
// Own memory: a record for each waiting reader.
type getQueue struct {
	mu      sync.Mutex // guards what follows
	waiting []*getCall
	workers int
}

// getCall is one reader's wish.
type getCall struct {
	ctx   context.Context
	id    chunkstore.ID
	reply chan getReply // has room for the reply
}

// getReply is a record as the owner sent it, in a buffer of recordBufs, or the
// error.
type getReply struct {
	buf *[]byte
	rec []byte
	err error
}

// Get implements chunkstore.Getter.
func (c *client) Get(ctx context.Context, id chunkstore.ID, buf []byte) ([]byte, error) {
	r := c.record(ctx, id)
	if r.err != nil {
		return nil, r.err
	}
	plain, err := c.codec.Decode(buf, r.rec, id)
	recordBufs.Put(r.buf)
	if err != nil {
		return c.getProved(ctx, id, buf)
	}
	return plain, nil
}

// GetPart implements chunkstore.PartGetter. The record comes as a whole; what
// costs is decoding it.
func (c *client) GetPart(ctx context.Context, id chunkstore.ID, buf []byte, p pack.Part) (plain []byte, whole bool, err error) {
	r := c.record(ctx, id)
	if r.err != nil {
		return nil, false, r.err
	}
	defer recordBufs.Put(r.buf)
	return c.codec.DecodePart(buf, r.rec, id, p)
}

// record asks for the record of id and waits for it, or for ctx. The buffer of
// a reply without an error is the caller's.
func (c *client) record(ctx context.Context, id chunkstore.ID) getReply {
	if err := ctx.Err(); err != nil {
		return getReply{err: err}
	}
	call := &getCall{ctx: ctx, id: id, reply: make(chan getReply, 1)}
	c.enqueue(call)
	select {
	case r := <-call.reply:
		return r
	case <-ctx.Done():
		return getReply{err: ctx.Err()} // the buffer was never lent
	}
}

// getProved asks the owner to read the chunk by itself first, and so learns
// what the damage is; the owner may have healed it meanwhile.
func (c *client) getProved(ctx context.Context, id chunkstore.ID, buf []byte) ([]byte, error) {
	ctx, cancel := c.bind(ctx)
	defer cancel()
	var r getReply
	c.fetch(ctx, []*getCall{{ctx: ctx, id: id}}, true, func(_ int, got getReply) { r = got })
	if r.err != nil {
		return nil, r.err
	}
	defer recordBufs.Put(r.buf)
	plain, err := c.codec.Decode(buf, r.rec, id)
	if err != nil {
		// The owner can read it, so the store is not proved to be damaged.
		return nil, &pack.Damage{Kind: pack.Unreadable, ID: id, Length: len(r.rec),
			Err: fmt.Errorf("the owner's answer is wrong: %w", err)}
	}
	return plain, nil
}

func (c *client) enqueue(call *getCall) {
	q := &c.gets
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, call)
	if q.workers < maxGets {
		q.workers++
		go c.getWorker()
	}
}

// getWorker makes exchanges until nobody waits.
func (c *client) getWorker() {
	for {
		batch := c.gets.take()
		if batch == nil {
			return
		}
		c.fetch(c.base, batch, false, func(i int, r getReply) { batch[i].reply <- r })
	}
}

// take returns who waited longest; nil, and one worker fewer, when nobody
// does. Who has left is not asked for.
func (q *getQueue) take() []*getCall {
	q.mu.Lock()
	defer q.mu.Unlock()
	var batch []*getCall
	for len(q.waiting) > 0 && len(batch) < getBatch {
		call := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		if call.ctx.Err() == nil {
			batch = append(batch, call)
		}
	}
	if batch == nil {
		q.waiting = nil
		q.workers--
	}
	return batch
}

// fetch asks for the batch's chunks in one exchange and hands each reply to
// deliver once, as soon as it is there.
func (c *client) fetch(ctx context.Context, batch []*getCall, prove bool, deliver func(int, getReply)) {
	done := 0
	err := c.fetchItems(ctx, batch, prove, func(r getReply) {
		deliver(done, r)
		done++
	})
	for ; done < len(batch); done++ {
		deliver(done, getReply{err: err})
	}
}

func (c *client) fetchItems(ctx context.Context, batch []*getCall, prove bool, next func(getReply)) error {
	body := make([]byte, 0, len(batch)*idLen)
	for _, call := range batch {
		body = append(body, call.id[:]...)
	}
	var q url.Values
	if prove {
		q = url.Values{"prove": {"1"}}
	}
	res, err := c.post(ctx, "/v1/get", q, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	in := bufio.NewReaderSize(res.Body, 8<<10)
	for range batch {
		r, err := readReply(in)
		if err != nil {
			return c.broken(ctx, err)
		}
		next(r)
	}
	// The end is read as well, so that the connection can be used again.
	if _, err := in.ReadByte(); err == nil {
		return errors.New("the store's owner sends more than it was asked for")
	}
	return nil
}

func readReply(in *bufio.Reader) (getReply, error) {
	buf := recordBufs.Get().(*[]byte)
	status, b, err := readItem(in, *buf)
	if err != nil || status == itemError {
		if err == nil {
			b = append([]byte(nil), b...)
		}
		recordBufs.Put(buf)
		if err != nil {
			return getReply{}, err
		}
		return getReply{err: parseError(b)}, nil
	}
	return getReply{buf: buf, rec: b}, nil
}

func (c *client) post(ctx context.Context, path string, q url.Values, body []byte) (*http.Response, error) {
	return c.send(ctx, http.MethodPost, path, q, bytes.NewReader(body), int64(len(body)))
}
