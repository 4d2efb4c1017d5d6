package owner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// impostor serves whatever the test likes on a store's socket, with the lock
// held. It returns a client of it.
func impostor(t *testing.T, answer http.HandlerFunc) (*client, string) {
	t.Helper()
	dir := newStore(t)
	d, err := openDir(dir)
	mustUnix(t, err)
	lk, err := tryLock(d, holder{PID: 1, Command: "impostor"})
	mustUnix(t, err)
	l, err := listen(d)
	mustUnix(t, err)
	srv := &http.Server{Handler: answer}
	go srv.Serve(l)
	cfg, err := chunkstore.ReadConfig(dir)
	mustUnix(t, err)
	codec, err := pack.NewCodec(cfg.Key, 0, pack.CodecMinLZ, chunkstore.FormatVersion)
	mustUnix(t, err)
	base, cancel := context.WithCancel(context.Background())
	c := newClient(base, d, codec, cfg.Info)
	t.Cleanup(func() {
		cancel()
		c.retire()
		srv.Close()
		lk.release()
		d.close()
	})
	return c, dir
}

// TestHostileOwner sees that a client takes nothing wrong from an owner.
func TestHostileOwner(t *testing.T) {
	var body []byte
	c, dir := impostor(t, func(w http.ResponseWriter, r *http.Request) { w.Write(body) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id := c.ID([]byte("plain"))
	good := c.codec.Encode(nil, pack.KindData, id, []byte("plain")).Bytes
	other := c.codec.Encode(nil, pack.KindData, c.ID([]byte("other")), []byte("other")).Bytes
	item := func(st byte, n int, b []byte) []byte {
		h := itemHeader(st, n)
		return append(h[:], b...)
	}
	for _, body = range [][]byte{
		nil, {0}, []byte("hello"), bytes.Repeat([]byte{0xff}, 1<<20),
		item(itemRecord, len(other), other), item(itemRecord, 0, nil), item(itemRecord, len(good)+1, good),
		item(itemError, 2, []byte("{}")), item(itemError, 1<<30, nil), item(7, 0, nil),
	} {
		if b, err := c.Get(ctx, id, nil); err == nil || ctx.Err() != nil {
			t.Fatalf("answer %.20q: served %q, %v", body, b, err)
		}
		if err := c.Roots(ctx, "", "", func(string, []byte) bool { return true }); err == nil && len(body) != pageHead {
			t.Fatalf("answer %.20q is a page of roots", body)
		}
		if _, err := c.Begin(ctx, ""); err == nil {
			t.Fatalf("answer %.20q is a session", body)
		}
		if _, err := c.Stats(ctx); err == nil {
			t.Fatalf("answer %.20q are stats", body)
		}
		if err := c.greet(ctx); err == nil {
			t.Fatalf("answer %.20q is a greeting", body)
		}
		_, err := Open(ctx, dir, Options{Wait: 20 * time.Millisecond})
		if err == nil {
			t.Fatalf("answer %.20q opened a store", body)
		}
	}
	body = item(itemRecord, len(good), good)
	wantChunk(t, c, id, []byte("plain")) // the client is well after all that
	body = bytes.Repeat([]byte{1}, chunkstore.MaxRootBody+1)
	if _, err := c.Root(ctx, "x"); err == nil {
		t.Fatal("an oversized root was taken")
	}
	p := newPage()
	p.add("a", nil)
	body = p.bytes(true) // the same page for ever
	if err := c.Roots(ctx, "", "", func(string, []byte) bool { return true }); err == nil || ctx.Err() != nil {
		t.Fatalf("an endless list: %v", err)
	}
}

// TestOtherStore refuses an owner of another store or protocol.
func TestOtherStore(t *testing.T) {
	var say string
	c, dir := impostor(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, say) })
	for _, say = range []string{
		fmt.Sprintf(`{"protocol":1,"store_id":%q,"state":"serving"}`, strings.Repeat("0", 32)),
		fmt.Sprintf(`{"protocol":2,"store_id":%q,"state":"serving"}`, c.info.StoreID),
	} {
		began := time.Now()
		_, err := Open(t.Context(), dir, fast())
		if err == nil || errors.Is(err, ErrOwnerLost) || time.Since(began) > time.Minute {
			t.Fatalf("%s: %v", say, err)
		}
	}
}

// TestHostileClient sends an owner what no client of ours would.
func TestHostileClient(t *testing.T) {
	own, cli := pair(t, fast())
	plain := plainOf(3, 4000)
	rec := encode(own, plain)
	s := begin(t, cli)
	c := cli.cur.Load().cli
	path := s.(*clientSession).path
	bad := bytes.Clone(rec.Bytes)
	bad[len(bad)-1] ^= 1
	for _, req := range []struct {
		path string
		body []byte
	}{
		{path + "put", appendRecord(nil, bad)},
		{path + "put", appendRecord(nil, rec.Bytes)[:50]},
		{path + "put", make([]byte, maxBody+1)},
		{path + "has", make([]byte, 31)},
		{path + "has", make([]byte, (maxIDs+1)*idLen)},
		{path + "commit?name=x", make([]byte, chunkstore.MaxRootBody+1)},
		{path + "commit?name=" + strings.Repeat("n", chunkstore.MaxRootName+1), nil},
		{path + "commit", nil},
		{"/v1/get", make([]byte, 33)},
		{"/v1/get", make([]byte, (maxGet+1)*idLen)},
		{"/v1/session/nobody/put", nil},
		{"/v1/session/nobody/end", nil},
		{"/v1/session/../../info", nil},
		{"/v2/info", nil},
	} {
		res, err := c.http.Post("http://store"+req.path, "", bytes.NewReader(req.body))
		if err != nil {
			continue // cut off in the middle of a body that is too long
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			t.Errorf("%s with %d bytes was taken", req.path, len(req.body))
		}
	}
	// A body of unknown length is not taken, however short.
	res, err := c.http.Post("http://store/v1/get", "", io.MultiReader(bytes.NewReader(make([]byte, idLen))))
	mustUnix(t, err)
	res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("a body of unknown length: %s", res.Status)
	}
	// The session and the owner are well after all that.
	_, err = s.Put(t.Context(), []pack.Record{rec})
	mustUnix(t, err)
	wantChunk(t, own, rec.ID, plain)
}

// TestLazyClient stops in the middle of a body: others go on, and the owner
// leaves in time.
func TestLazyClient(t *testing.T) {
	own, cli := pair(t, fast())
	s := begin(t, cli)
	d, err := openDir(own.path)
	mustUnix(t, err)
	defer d.close()
	for range 3 {
		conn, _, err := dial(t.Context(), d)
		mustUnix(t, err)
		defer conn.Close()
		fmt.Fprintf(conn, "POST %sput HTTP/1.1\r\nHost: store\r\nContent-Length: %d\r\n\r\nlazy", s.(*clientSession).path, maxBody)
	}
	rec := encode(own, []byte("busy"))
	_, err = s.Put(t.Context(), []pack.Record{rec})
	mustUnix(t, err)
	began := time.Now()
	mustUnix(t, own.Close())
	if took := time.Since(began); took > 30*time.Second {
		t.Fatalf("the owner left after %v", took)
	}
	wantError(t, s.Commit(t.Context(), "r/0", nil), ErrOwnerLost)
}
