// Package owner lets any number of processes work on one store, of which only
// one, the owner, may open it: the index admits one process. Whoever comes
// first owns the store and serves the others on a Unix socket in it; a
// [Handle] finds out by itself which of the two it is, and changes sides when
// the owner leaves or dies.
//
// # Files in the store
//
//	STORE/lock    flock'ed by the owner for as long as it owns the store. Its
//	              text (JSON: pid, command, since) is for messages only.
//	              The file is never removed: a lock on a removed file would
//	              exclude nobody.
//	STORE/socket  made by the owner, mode 0600, under the name socket.new
//	              first, so that nobody sees it with another mode.
//
// The kernel drops the lock with its process, so what a dead owner left behind
// never needs a person: the next owner replaces the socket. In between, a
// connection is refused, and who is refused tries the lock.
//
// # Protocol
//
// HTTP/1.1, all numbers little-endian, control in JSON. A peer must have the
// owner's user id or be root.
//
//	GET  /v1/info                        JSON: protocol, store id, state, pid, command
//	GET  /v1/stats                       JSON: chunkstore.Stats
//	GET  /v1/root?name=N                 the body
//	GET  /v1/roots?prefix=P&from=F       one page of roots
//	POST /v1/get[?prove=1]               ids -> items
//	POST /v1/session?what=W              held open; answers with one JSON line
//	POST /v1/session/{id}/has            ids -> one byte an id, 1 = had
//	POST /v1/session/{id}/put            records -> JSON: chunkstore.PutResult
//	POST /v1/session/{id}/commit?name=N  the root's body
//	POST /v1/session/{id}/end
//
// What goes over the wire in binary:
//
//	ids      32 bytes each, at most 16384 (get: 256)
//	records  each: u32 length, the record; at most 8 MiB in all
//	items    one an id, in order: u8 0 record or 1 error, u32 length, the
//	         record as it lies in the pack, or the error in JSON
//	roots    u32 count, u8 1 if there are more, then each: u16 name length,
//	         u32 body length, name, body
//
// A session lives as long as the request that began it, so a dead client's
// session ends by itself. Its id is random: a new owner can't mistake it.
//
// The owner sends records as they lie and the client proves them against the
// chunk id, so that no bad byte from a disk or a socket is served. A client
// that can't prove one asks again with prove=1; then the owner reads the chunk
// by itself first, which records the damage and tells what it is.
//
// An error is a status other than 200 and a JSON body that keeps its identity
// (see wireError). The roots come in pages, so that a client that stops
// reading holds nothing in the owner.
package owner
