package owner

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"syscall"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

var (
	// ErrOwnerLost says that the process that owned the store left or died
	// while a session depended on it. Nothing of the session is visible,
	// unless it was a Commit that failed: then the root may be there or not,
	// and Root tells. The work starts again with a new session.
	ErrOwnerLost = errors.New("the store's owner is gone")
	// ErrClosed says that the handle was closed.
	ErrClosed = errors.New("store handle is closed")

	errBadRequest = errors.New("bad request")
	errStarting   = errors.New("the store's owner is starting")
	errClosing    = errors.New("the store's owner is closing")
	errNoSession  = errors.New("no such session")
	errForbidden  = errors.New("forbidden")
)

// maxError bounds an error on the wire in bytes.
const maxError = 64 << 10

// codes are the errors that keep their identity, their names on the wire and
// the HTTP status they come with. The first that fits counts.
var codes = []struct {
	name   string
	err    error
	status int
}{
	{"root_exists", chunkstore.ErrRootExists, http.StatusConflict},
	{"session_closed", chunkstore.ErrSessionClosed, http.StatusGone},
	{"not_found", chunkstore.ErrNotFound, http.StatusNotFound},
	{"starting", errStarting, http.StatusServiceUnavailable},
	{"closing", errClosing, http.StatusServiceUnavailable},
	{"no_session", errNoSession, http.StatusGone},
	{"forbidden", errForbidden, http.StatusForbidden},
	{"bad_request", errBadRequest, http.StatusBadRequest},
	{"full", chunkstore.ErrFull, http.StatusInsufficientStorage},
	{"lost_roots", chunkstore.ErrLostRoots, http.StatusConflict},
	{"canceled", context.Canceled, http.StatusInternalServerError},
	{"deadline", context.DeadlineExceeded, http.StatusInternalServerError},
}

// wireError is an error as it crosses the socket.
type wireError struct {
	Code    string      `json:"code,omitempty"` // a name in codes
	Message string      `json:"message"`
	Errno   int         `json:"errno,omitempty"` // Linux's number; 28: the disk is full
	Damage  *wireDamage `json:"damage,omitempty"`
}

// wireDamage is a pack.Damage as it crosses the socket.
type wireDamage struct {
	Kind   uint8      `json:"kind"`
	ID     string     `json:"id"`
	Pack   uint64     `json:"pack"`
	Offset int64      `json:"offset"`
	Length int        `json:"length"`
	Err    *wireError `json:"err,omitempty"`
}

// toWire describes err, with the cause of a damage one level deep.
func toWire(err error) *wireError {
	w := identify(err)
	if d, ok := errors.AsType[*pack.Damage](err); ok {
		w.Damage = &wireDamage{Kind: uint8(d.Kind), ID: d.ID.String(), Pack: d.Pack, Offset: d.Offset, Length: d.Length}
		if d.Err != nil {
			w.Damage.Err = identify(d.Err)
		}
	}
	return w
}

func identify(err error) *wireError {
	w := &wireError{Message: err.Error()}
	if len(w.Message) > maxError/8 { // JSON may write six bytes for one
		w.Message = w.Message[:maxError/8]
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			w.Code = c.name
			break
		}
	}
	if no, ok := errors.AsType[syscall.Errno](err); ok {
		w.Errno = int(no)
	}
	return w
}

func (w *wireError) status() int {
	for _, c := range codes {
		if c.name == w.Code {
			return c.status
		}
	}
	return http.StatusInternalServerError
}

// remoteError is an error that came over the socket: the owner's words, and
// what errors.Is and errors.As find in it.
type remoteError struct {
	text string
	is   []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.is }

// err turns w back into an error that errors.Is and errors.As see as they saw
// the owner's. That an owner comes or goes is ErrOwnerLost to a client.
func (w *wireError) err() error {
	e := &remoteError{text: w.Message}
	for _, c := range codes {
		if c.name == w.Code {
			e.is = append(e.is, c.err)
		}
	}
	switch w.Code {
	case "starting", "closing", "no_session":
		e.is = append(e.is, ErrOwnerLost)
	}
	if w.Errno > 0 && w.Errno < 4096 {
		e.is = append(e.is, syscall.Errno(w.Errno))
	}
	if w.Damage == nil {
		return e
	}
	d, err := w.Damage.damage()
	if err != nil {
		return &remoteError{text: w.Message + " (damage not understood: " + err.Error() + ")", is: e.is}
	}
	if w.Message == d.Error() {
		return d
	}
	e.is = append(e.is, d)
	return e
}

func (w *wireDamage) damage() (*pack.Damage, error) {
	id, err := pack.ParseID(w.ID)
	if err != nil {
		return nil, err
	}
	d := &pack.Damage{Kind: pack.DamageKind(w.Kind), ID: id, Pack: w.Pack, Offset: w.Offset, Length: w.Length}
	if w.Err != nil {
		w.Err.Damage = nil // one level, whatever was sent
		d.Err = w.Err.err()
	}
	return d, nil
}

// parseError reads an error as the owner sent it.
func parseError(b []byte) error {
	var w wireError
	if err := json.Unmarshal(b, &w); err != nil || w.Message == "" {
		return errors.New("the store's owner sent an error that is not understood; is it another version of holdfast?")
	}
	return w.err()
}

// lostError is a connection that broke, or an owner that does not answer as
// one should.
type lostError struct{ err error }

func (e *lostError) Error() string { return ErrOwnerLost.Error() + ": " + e.err.Error() }

// Unwrap hides the cause: a time-out or a cancelled request inside is not the
// caller's context.
func (e *lostError) Unwrap() error { return ErrOwnerLost }
