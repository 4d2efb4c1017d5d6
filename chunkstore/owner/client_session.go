package owner

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// clientSession is a session in the owner. Its held-open request is its life:
// when that breaks, the owner is gone, and so is the session.
type clientSession struct {
	*client
	path   string             // of its requests, without the last part
	cancel context.CancelFunc // ends the held-open request
	lost   context.Context    // done when that request is over
	closed atomic.Bool
}

var _ chunkstore.Session = (*clientSession)(nil)

// Begin implements chunkstore.API. ctx bounds the beginning only.
func (c *client) Begin(ctx context.Context, what string) (chunkstore.Session, error) {
	if len(what) > maxWhat {
		what = what[:maxWhat]
	}
	hold, cancel := context.WithCancel(c.base)
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	res, err := c.send(hold, http.MethodPost, "/v1/session", url.Values{"what": {what}}, nil, 0)
	if err != nil {
		cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	s := &clientSession{client: c, cancel: cancel}
	if err := s.start(res); err != nil || !stop() {
		cancel()
		res.Body.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	return s, nil
}

// start reads the session's id and watches the request from then on.
func (s *clientSession) start(res *http.Response) error {
	in := bufio.NewReaderSize(io.LimitReader(res.Body, maxControl), 512)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return &lostError{err}
	}
	var id struct{ Session string }
	if err := json.Unmarshal(line, &id); err != nil || id.Session == "" || len(id.Session) > 64 {
		return errors.New("the store's owner begins a session in a way that is not understood")
	}
	s.path = "/v1/session/" + url.PathEscape(id.Session) + "/"
	lost, over := context.WithCancel(context.Background())
	s.lost = lost
	go func() {
		defer over()
		defer res.Body.Close()
		io.Copy(io.Discard, in) // nothing comes: it returns when the request is over
	}()
	return nil
}

// ask makes one exchange in the session.
func (s *clientSession) ask(ctx context.Context, what string, q url.Values, body io.Reader, size, most int64) ([]byte, error) {
	if err := s.check(); err != nil {
		if c, ok := body.(io.Closer); ok {
			c.Close()
		}
		return nil, err
	}
	return s.exchangeFrom(ctx, http.MethodPost, s.path+what, q, body, size, most)
}

// Get implements chunkstore.Getter.
func (s *clientSession) Get(ctx context.Context, id chunkstore.ID, buf []byte) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return s.client.Get(ctx, id, buf)
}

func (s *clientSession) check() error {
	switch {
	case s.closed.Load():
		return chunkstore.ErrSessionClosed
	case s.lost.Err() != nil:
		return ErrOwnerLost
	}
	return nil
}

// Has implements chunkstore.Chunks.
func (s *clientSession) Has(ctx context.Context, ids []chunkstore.ID, have []bool) error {
	if len(ids) != len(have) {
		return fmt.Errorf("ask for %d chunks with room for %d answers", len(ids), len(have))
	}
	for len(ids) > 0 {
		n := min(len(ids), maxIDs)
		body := appendIDs(make([]byte, 0, n*idLen), ids[:n])
		b, err := s.ask(ctx, "has", nil, bytes.NewReader(body), int64(len(body)), int64(n))
		if err != nil {
			return err
		}
		if len(b) != n {
			return fmt.Errorf("the store's owner answers %d times to %d ids", len(b), n)
		}
		for i := range b {
			have[i] = b[i] == 1
		}
		ids, have = ids[n:], have[n:]
	}
	return nil
}

// Put implements chunkstore.Chunks.
func (s *clientSession) Put(ctx context.Context, recs []pack.Record) (chunkstore.PutResult, error) {
	var sum chunkstore.PutResult
	for len(recs) > 0 {
		body, n := newPutBody(recs)
		if n == 0 {
			body.Close()
			return sum, fmt.Errorf("put record of %d bytes, at most %d fit", len(recs[0].Bytes), pack.MaxRecord)
		}
		b, err := s.ask(ctx, "put", nil, body, int64(body.left.Len()), maxControl)
		if err != nil {
			return sum, err
		}
		var res chunkstore.PutResult
		if err := parseAnswer("put", b, &res); err != nil {
			return sum, err
		}
		sum = sum.Add(res)
		recs = recs[n:]
	}
	return sum, nil
}

// Commit implements chunkstore.Session. When the owner is lost meanwhile, the
// root may be visible or not.
func (s *clientSession) Commit(ctx context.Context, name string, body []byte) error {
	_, err := s.ask(ctx, "commit", url.Values{"name": {name}}, bytes.NewReader(body), int64(len(body)), maxControl)
	return err
}

// Close implements chunkstore.Session.
func (s *clientSession) Close() error {
	defer s.cancel()
	if s.closed.Swap(true) || s.lost.Err() != nil {
		return nil // it was closed before, or ended with its owner
	}
	ctx, cancel := context.WithTimeout(s.base, helloTimeout)
	defer cancel()
	_, err := s.exchange(ctx, http.MethodPost, s.path+"end", nil, nil, maxControl)
	if errors.Is(err, ErrOwnerLost) || ctx.Err() != nil {
		return nil // it ends with the held-open request at the latest
	}
	return err
}

// putBody is the body of a put in a pooled buffer. The transport may read it
// after the exchange is over, until it closes it; so only Close gives the
// buffer back, and the records' own buffers are not used at all.
type putBody struct {
	mu   sync.Mutex // guards what follows
	left bytes.Reader
	buf  *[]byte // nil after Close
}

// newPutBody copies as many records as one put takes and says how many.
func newPutBody(recs []pack.Record) (*putBody, int) {
	buf := putBufs.Get().(*[]byte)
	b, n := (*buf)[:0], 0
	for n < len(recs) && len(recs[n].Bytes) <= pack.MaxRecord && len(b)+4+len(recs[n].Bytes) <= maxBody {
		b = appendRecord(b, recs[n].Bytes)
		n++
	}
	*buf = b
	p := &putBody{buf: buf}
	p.left.Reset(b)
	return p, n
}

func (p *putBody) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.buf == nil {
		return 0, io.ErrClosedPipe
	}
	return p.left.Read(b)
}

func (p *putBody) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.buf != nil {
		putBufs.Put(p.buf)
		p.buf = nil
	}
	return nil
}
