package owner

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

func testCodec(t testing.TB) *pack.Codec {
	t.Helper()
	c, err := pack.NewCodec(pack.Key{1}, 0, pack.CodecMinLZ, chunkstore.FormatVersion)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// putSample is the body of a put with three records.
func putSample(t testing.TB) []byte {
	c := testCodec(t)
	var b []byte
	for i, n := range []int{1, 300, 100} {
		p := plainOf(uint64(i), n)
		b = appendRecord(b, c.Encode(nil, pack.KindData, c.ID(p), p).Bytes)
	}
	return b
}

func pageSample(more bool) []byte {
	p := newPage()
	p.add("", nil)
	p.add("a", []byte("body"))
	p.add(strings.Repeat("n", chunkstore.MaxRootName), bytes.Repeat([]byte("b"), 99))
	return p.bytes(more)
}

func TestParseIDs(t *testing.T) {
	for _, n := range []int{0, 1, maxGet - 1, maxGet} {
		ids, err := parseIDs(make([]byte, n*idLen), maxGet)
		if err != nil || len(ids) != n {
			t.Errorf("%d ids: %d, %v", n, len(ids), err)
		}
	}
	for _, n := range []int{1, idLen - 1, idLen + 1, (maxGet + 1) * idLen} {
		if _, err := parseIDs(make([]byte, n), maxGet); !errors.Is(err, errBadRequest) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestParseRecords cuts a put at every byte and flips every byte.
func TestParseRecords(t *testing.T) {
	whole := putSample(t)
	ends := map[int]int{0: 0}
	for at := 0; at < len(whole); {
		at += 4 + int(binary.LittleEndian.Uint32(whole[at:]))
		ends[at] = len(ends)
	}
	for cut := range len(whole) + 1 {
		recs, err := parseRecords(whole[:cut])
		n, fits := ends[cut]
		if fits != (err == nil) || fits && len(recs) != n {
			t.Fatalf("cut at %d: %d records, %v", cut, len(recs), err)
		}
		if err != nil && !errors.Is(err, errBadRequest) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if cut < len(whole) {
			bad := bytes.Clone(whole)
			bad[cut] ^= 0x40
			if _, err := parseRecords(bad); err == nil {
				t.Fatalf("byte %d flipped and taken", cut)
			}
		}
	}
	// A record's length must be the record's own.
	padded := append(bytes.Clone(whole[:ends1(whole)]), 0)
	binary.LittleEndian.PutUint32(padded, uint32(len(padded)-4))
	if _, err := parseRecords(padded); err == nil {
		t.Fatal("a record with a tail was taken")
	}
}

func ends1(b []byte) int { return 4 + int(binary.LittleEndian.Uint32(b)) }

func TestParsePage(t *testing.T) {
	for _, more := range []bool{false, true} {
		whole := pageSample(more)
		roots, m, err := parsePage(whole)
		if err != nil || m != more || len(roots) != 3 || roots[1].name != "a" || string(roots[1].body) != "body" {
			t.Fatalf("%v, %v, %v", roots, m, err)
		}
		for cut := range whole {
			if _, _, err := parsePage(whole[:cut]); err == nil {
				t.Fatalf("cut at %d and taken", cut)
			}
		}
		if _, _, err := parsePage(append(whole, 0)); err == nil {
			t.Fatal("a tail was taken")
		}
	}
	if _, _, err := parsePage([]byte{0, 0, 0, 0, 1}); err == nil {
		t.Fatal("an empty page with more behind it: an endless list")
	}
	if _, _, err := parsePage([]byte{255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0}); err == nil {
		t.Fatal("4 G roots in 11 bytes")
	}
}

func TestReadItem(t *testing.T) {
	h := itemHeader(itemError, 5)
	whole := append(h[:], "hello"...)
	st, b, err := readItem(bytes.NewReader(whole), nil)
	if err != nil || st != itemError || string(b) != "hello" {
		t.Fatalf("%d %q %v", st, b, err)
	}
	for cut := range whole {
		if _, _, err := readItem(bytes.NewReader(whole[:cut]), nil); err == nil {
			t.Fatalf("cut at %d and taken", cut)
		}
	}
	for _, bad := range []([itemHead]byte){{2, 0, 0, 0, 0}, {0, 255, 255, 255, 255}, itemHeader(0, pack.MaxRecord+1)} {
		if _, _, err := readItem(bytes.NewReader(append(bad[:], make([]byte, pack.MaxRecord+9)...)), nil); err == nil {
			t.Fatalf("head %v was taken", bad)
		}
	}
}

// TestErrors sends errors over the wire and asks what callers ask.
func TestErrors(t *testing.T) {
	id := pack.ID{1, 2, 3}
	damage := &pack.Damage{Kind: pack.Missing, ID: id, Pack: 1 << 63, Offset: -1, Length: 5, Err: syscall.ENOENT}
	for _, c := range []struct {
		err error
		is  []error
		not []error
	}{
		{chunkstore.ErrNotFound, []error{chunkstore.ErrNotFound}, []error{chunkstore.ErrRootExists, ErrOwnerLost}},
		{fmt.Errorf("root %q: %w", "x", chunkstore.ErrRootExists), []error{chunkstore.ErrRootExists}, nil},
		{chunkstore.ErrSessionClosed, []error{chunkstore.ErrSessionClosed}, []error{ErrOwnerLost}},
		{context.Canceled, []error{context.Canceled}, []error{ErrOwnerLost}},
		{context.DeadlineExceeded, []error{context.DeadlineExceeded}, nil},
		{errStarting, []error{errStarting, ErrOwnerLost}, nil},
		{errClosing, []error{errClosing, ErrOwnerLost}, nil},
		{errNoSession, []error{ErrOwnerLost}, nil},
		{fmt.Errorf("append: %w", syscall.ENOSPC), []error{syscall.ENOSPC}, nil},
		{damage, []error{syscall.ENOENT}, []error{chunkstore.ErrNotFound}},
		{fmt.Errorf("read: %w", damage), nil, nil},
		{errors.New(strings.Repeat("\x00", 1<<20)), nil, nil},
		{errors.New("\xff not utf-8"), nil, nil},
	} {
		b, err := json.Marshal(toWire(c.err))
		if err != nil || len(b) > maxError {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		got := parseError(b)
		for _, is := range c.is {
			wantError(t, got, is)
		}
		for _, not := range c.not {
			if errors.Is(got, not) {
				t.Errorf("%v is %v", got, not)
			}
		}
		want, isDamage := errors.AsType[*pack.Damage](c.err)
		if d, ok := errors.AsType[*pack.Damage](got); ok != isDamage || ok && (d.Error() != want.Error() || d.ID != id || d.Pack != want.Pack || d.Offset != want.Offset) {
			t.Errorf("damage %v, want %v", d, want)
		}
		if len(c.err.Error()) < 100 && !strings.Contains(c.err.Error(), "\xff") && got.Error() != c.err.Error() {
			t.Errorf("says %q, want %q", got, c.err)
		}
	}
	for _, bad := range []string{"", "null", "{}", "[]", `{"message":""}`, `{"message":"m","damage":{"id":"zz"}}`, `{"message":"m","errno":-1}`} {
		if err := parseError([]byte(bad)); err == nil || err.Error() == "" {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzParsePage(f *testing.F) {
	f.Add(pageSample(true))
	f.Add(pageSample(false))
	f.Fuzz(func(t *testing.T, b []byte) {
		roots, more, err := parsePage(b)
		if err != nil {
			return
		}
		p := newPage()
		for _, r := range roots {
			p.add(r.name, r.body)
		}
		if !bytes.Equal(p.bytes(more), b) {
			t.Fatal("written otherwise")
		}
	})
}

func FuzzParseRecords(f *testing.F) {
	f.Add(putSample(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		recs, err := parseRecords(b)
		if err != nil {
			return
		}
		var again []byte
		for _, r := range recs {
			again = appendRecord(again, r.Bytes)
		}
		if !bytes.Equal(again, b) {
			t.Fatal("written otherwise")
		}
	})
}

func FuzzReadItem(f *testing.F) {
	h := itemHeader(itemRecord, 5)
	f.Add(append(h[:], "hello"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, got, err := readItem(bytes.NewReader(b), nil); err == nil && len(got) > len(b)-itemHead {
			t.Fatal("more than there is")
		}
	})
}

func FuzzParseError(f *testing.F) {
	for _, err := range []error{chunkstore.ErrNotFound, &pack.Damage{Kind: pack.Corrupt, Err: syscall.EIO}} {
		b, _ := json.Marshal(toWire(err))
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := parseError(b)
		if err == nil || err.Error() == "" {
			t.Fatal("no error")
		}
		errors.Is(err, chunkstore.ErrNotFound)
	})
}
