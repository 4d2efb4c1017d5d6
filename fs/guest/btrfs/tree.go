package btrfs

import (
	"context"

	"holdfast/fs/guest"
)

// tree is where a tree begins, with what the log changes in it.
type tree struct {
	id      uint64
	root    pointer
	dir     uint64   // object of the root directory, in trees of files
	changes *changes // nil for none
}

// scan calls fn for the items of a tree from a key on, in order, until fn
// returns false. The bytes are shared and must not be written to; nor may fn
// change the tree.
func (f *FS) scan(ctx context.Context, t *tree, from key, fn func(k key, item []byte) bool) error {
	w := walk{ctx: ctx, fs: f, tree: t, from: from, fn: fn}
	return w.all()
}

// scanBack is scan from a key on towards the start.
func (f *FS) scanBack(ctx context.Context, t *tree, from key, fn func(k key, item []byte) bool) error {
	w := walk{ctx: ctx, fs: f, tree: t, from: from, back: true, fn: fn}
	return w.all()
}

// find gives the item of a key; nil when there is none.
func (f *FS) find(ctx context.Context, t *tree, k key) (item []byte, err error) {
	err = f.scan(ctx, t, k, func(have key, b []byte) bool {
		if have == k {
			item = b
		}
		return false
	})
	return item, err
}

// walk is one pass over a tree.
type walk struct {
	ctx  context.Context
	fs   *FS
	tree *tree
	from key
	back bool
	fn   func(key, []byte) bool
	seen func(pointer) // is told of each node; nil for nobody
}

// all walks, with the changes of the tree in their places.
func (w *walk) all() error {
	if w.tree.changes == nil {
		_, err := w.node(w.tree.root, nil, nil)
		return err
	}
	next, fn := w.tree.changes.walk(w.from, w.back), w.fn
	pending := next()
	give := func() bool {
		c := pending
		pending = next()
		return c.deleted || fn(c.key, c.item)
	}
	w.fn = func(k key, item []byte) bool {
		for pending != nil {
			order := compareKeys(pending.key, k)
			if order == 0 {
				return give()
			}
			if w.back == (order < 0) {
				break
			}
			if !give() {
				return false
			}
		}
		return fn(k, item)
	}
	more, err := w.node(w.tree.root, nil, nil)
	for err == nil && more && pending != nil {
		more = give()
	}
	return err
}

// node visits what is beneath a pointer. Its keys must begin with first, if
// that is given, and lie before limit, so that no damage makes a walk visit
// anything twice.
func (w *walk) node(p pointer, first, limit *key) (more bool, err error) {
	if err := w.ctx.Err(); err != nil {
		return false, err
	}
	n, err := w.fs.node(w.ctx, w.tree.id, p)
	if err != nil {
		return false, err
	}
	if w.seen != nil {
		w.seen(p)
	}
	if first != nil && (n.count == 0 || n.key(0) != *first) || limit != nil && n.count > 0 && compareKeys(n.key(n.count-1), *limit) >= 0 {
		return false, guest.Corrupt("btrfs node at %d: its keys are not those that lead to it", p.block)
	}
	for i := w.start(n); i >= 0 && i < n.count; i += w.step() {
		if n.level == 0 {
			more = w.fn(n.key(i), n.item(i))
		} else {
			k, end := n.key(i), limit
			if i+1 < n.count {
				next := n.key(i + 1)
				end = &next
			}
			more, err = w.node(n.child(i), &k, end)
		}
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

func (w *walk) step() int {
	if w.back {
		return -1
	}
	return 1
}

// start is the number of the item or pointer with which a walk begins in a node.
func (w *walk) start(n node) int {
	i, found := n.search(w.from)
	switch {
	case found:
	case w.back:
		i--
	case n.level > 0: // what comes from there on may lie beneath the one before
		i = max(i-1, 0)
	}
	return i
}
