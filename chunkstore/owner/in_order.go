package owner

import (
	"context"

	"holdfast/chunkstore"
)

// InOrder returns a getter for one reader who wants chunks mostly in the order in
// which they were put; see [chunkstore.Run]. It is not safe for concurrent use. Where
// another process owns the store it is the handle itself.
func (h *Handle) InOrder() chunkstore.Getter {
	if inc := h.cur.Load(); inc != nil && inc.own != nil {
		if s, ok := inc.own.store.(*chunkstore.Store); ok {
			return &inOrder{h, inc, s.InOrder()}
		}
	}
	return h
}

type inOrder struct {
	h   *Handle
	inc *incarnation
	run *chunkstore.Run
}

// Get implements chunkstore.Getter.
func (o *inOrder) Get(ctx context.Context, id chunkstore.ID, buf []byte) ([]byte, error) {
	if !o.inc.ops.enter() {
		return o.h.Get(ctx, id, buf) // says why
	}
	defer o.inc.ops.leave()
	return o.run.Get(ctx, id, buf)
}

// Ahead begins to read what lies between chunks; see [chunkstore.Store.Ahead]. It does
// nothing where another process owns the store.
func (h *Handle) Ahead(ids []chunkstore.ID, most int64) {
	inc := h.cur.Load()
	if inc == nil || inc.own == nil || !inc.ops.enter() {
		return
	}
	defer inc.ops.leave()
	if s, ok := inc.own.store.(*chunkstore.Store); ok {
		s.Ahead(ids, most)
	}
}
