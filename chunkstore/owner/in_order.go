package owner

import (
	"context"

	"holdfast/chunkstore"
)

// local returns the store where this process owns it, and how, else nil.
func (h *Handle) local() (*incarnation, *chunkstore.Store) {
	if inc := h.cur.Load(); inc != nil && inc.own != nil {
		if s, ok := inc.own.store.(*chunkstore.Store); ok {
			return inc, s
		}
	}
	return nil, nil
}

// Warm has the index in memory soon; see [chunkstore.Store.Warm]. It does nothing where
// another process owns the store.
func (h *Handle) Warm() {
	if _, s := h.local(); s != nil {
		s.Warm()
	}
}

// InOrder returns rows over the store's chunks; see [chunkstore.Store.InOrder]. It is
// nil where another process owns the store.
func (h *Handle) InOrder(mem []byte) chunkstore.Rows {
	inc, s := h.local()
	if s == nil {
		return nil
	}
	return &inOrder{h, inc, s.InOrder(mem)}
}

type inOrder struct {
	h    *Handle
	inc  *incarnation
	rows chunkstore.Rows
}

// Row implements chunkstore.Rows.
func (o *inOrder) Row() chunkstore.Getter { return &row{o, o.rows.Row()} }

// Ahead implements chunkstore.Rows.
func (o *inOrder) Ahead(want []chunkstore.Want) {
	if !o.inc.ops.enter() {
		return
	}
	defer o.inc.ops.leave()
	o.rows.Ahead(want)
}

type row struct {
	*inOrder
	get chunkstore.Getter
}

// Get implements chunkstore.Getter.
func (r *row) Get(ctx context.Context, id chunkstore.ID, buf []byte) ([]byte, error) {
	if !r.inc.ops.enter() {
		return r.h.Get(ctx, id, buf) // says why
	}
	defer r.inc.ops.leave()
	return r.get.Get(ctx, id, buf)
}
