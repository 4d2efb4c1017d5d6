package owner

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// helloTimeout is how long an owner may take to say who it is. It answers from
// memory, so that who does not is stopped or dead.
const helloTimeout = 5 * time.Second

// client works on the store through the owner's socket. It trusts nothing that
// it gets: bounds are kept and chunks are proved. Errors that wrap
// ErrOwnerLost say that another owner may know more. It is safe for concurrent
// use.
type client struct {
	dir   *storeDir
	codec *pack.Codec
	info  chunkstore.Info
	http  *http.Client
	base  context.Context // ends the sessions and requests
	pid   atomic.Int64    // of the owner at the last dial
	gets  getQueue
}

func newClient(base context.Context, dir *storeDir, codec *pack.Codec, info chunkstore.Info) *client {
	c := &client{dir: dir, codec: codec, info: info, base: base}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext:         c.dial,
			MaxIdleConns:        maxGets + 8,
			MaxIdleConnsPerHost: maxGets + 8,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

func (c *client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, pid, err := dial(ctx, c.dir)
	if err == nil {
		c.pid.Store(int64(pid))
	}
	return conn, err
}

// greet asks the owner whether it serves this store. errStarting, errClosing
// and ErrOwnerLost say to try again.
func (c *client) greet(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	var h hello
	if err := c.getJSON(soon, "/v1/info", &h); err != nil {
		if ctx.Err() == nil && soon.Err() != nil {
			return &lostError{fmt.Errorf("no answer within %v", helloTimeout)}
		}
		return err
	}
	switch {
	case h.Protocol != protocol:
		return fmt.Errorf("the store's owner, %v, speaks protocol %d and this holdfast %d: use the same version of holdfast", holder{h.PID, h.Command, h.Since}, h.Protocol, protocol)
	case h.StoreID != c.info.StoreID:
		return fmt.Errorf("the store's owner, %v, serves store %q and not %q", holder{h.PID, h.Command, h.Since}, h.StoreID, c.info.StoreID)
	case h.State == stateStarting:
		return errStarting
	case h.State == stateClosing:
		return errClosing
	}
	return nil
}

// retire lets go of connections that nobody uses. Sessions and requests under
// way go on as long as their owner does.
func (c *client) retire() { c.http.CloseIdleConnections() }

// send makes one exchange and returns the answer, which the caller closes. An
// answer that says anything but 200 is the error.
func (c *client) send(ctx context.Context, method, path string, q url.Values, body io.Reader, size int64) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "store", Path: path, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("ask store's owner: %w", err)
	}
	req.ContentLength = size
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxError))
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	return nil, answerError(res.StatusCode, res.Header, path, b)
}

// bind ends ctx with the handle, too.
func (c *client) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.base, cancel)
	return ctx, func() { stop(); cancel() }
}

// broken says what an exchange that did not come to its end means: the
// caller's context is over, or the owner is gone.
func (c *client) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil && c.base.Err() == nil {
		return ctx.Err()
	}
	return &lostError{err}
}

// exchange sends a body from memory and returns the answer, of at most most
// bytes.
func (c *client) exchange(ctx context.Context, method, path string, q url.Values, body []byte, most int64) ([]byte, error) {
	return c.exchangeFrom(ctx, method, path, q, bytes.NewReader(body), int64(len(body)), most)
}

func (c *client) exchangeFrom(ctx context.Context, method, path string, q url.Values, body io.Reader, size, most int64) ([]byte, error) {
	ctx, cancel := c.bind(ctx)
	defer cancel()
	res, err := c.send(ctx, method, path, q, body, size)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("the store's owner answers more than %d bytes to %s", most, path)
	}
	return b, nil
}

func (c *client) getJSON(ctx context.Context, path string, v any) error {
	b, err := c.exchange(ctx, http.MethodGet, path, nil, nil, maxControl)
	if err != nil {
		return err
	}
	return parseAnswer(path, b, v)
}

func parseAnswer(path string, b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("the store's owner answers to %s what is not understood: %w", path, err)
	}
	return nil
}

// Info implements chunkstore.API from the store's own configuration.
func (c *client) Info() chunkstore.Info { return c.info }

// ID implements chunkstore.API.
func (c *client) ID(plain []byte) chunkstore.ID { return c.codec.ID(plain) }

// Stats implements chunkstore.API.
func (c *client) Stats(ctx context.Context) (chunkstore.Stats, error) {
	var s chunkstore.Stats
	return s, c.getJSON(ctx, "/v1/stats", &s)
}

// Root implements chunkstore.Roots.
func (c *client) Root(ctx context.Context, name string) ([]byte, error) {
	return c.exchange(ctx, http.MethodGet, "/v1/root", url.Values{"name": {name}}, nil, chunkstore.MaxRootBody)
}

// Roots implements chunkstore.Roots, a page at a time.
func (c *client) Roots(ctx context.Context, prefix, from string, fn func(name string, body []byte) bool) error {
	for more := true; more; {
		q := url.Values{"prefix": {prefix}, "from": {from}}
		b, err := c.exchange(ctx, http.MethodGet, "/v1/roots", q, nil, maxPage)
		if err != nil {
			return err
		}
		var roots []root
		if roots, more, err = parsePage(b); err != nil {
			return fmt.Errorf("list roots: %w", err)
		}
		for _, r := range roots {
			if r.name < from {
				return fmt.Errorf("list roots: the store's owner sends %q, asked from %q", r.name, from)
			}
			if !fn(r.name, r.body) {
				return nil
			}
			from = r.name + "\x00"
		}
	}
	return nil
}

// call posts in as JSON to a path of the upper floors and reads the answer
// into out. See Handle.Call.
func (c *client) call(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("call %s: %w", path, err)
	}
	b, err := c.exchange(ctx, http.MethodPost, path, nil, body, maxCall)
	if err != nil || out == nil {
		return err
	}
	return parseAnswer(path, b, out)
}
