package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"holdfast/chunkstore/pack"
)

// rootsAreWhole looks for every chunk that a root leads to. Live chunks and the
// index are compared in the order of ids, so that neither needs memory.
func (c *checker) rootsAreWhole(ctx context.Context) error {
	if c.opts.Walk == nil {
		return nil
	}
	broken := map[string]bool{}
	c.pruner.opts.Walk = func(ctx context.Context, name string, body []byte, visit Visit) error {
		err := c.opts.Walk(ctx, name, body, visit)
		if err == nil || ctx.Err() != nil {
			return err
		}
		broken[name] = true
		c.add(Problem{Kind: "root", Root: c.opts.Name(name), Text: err.Error()})
		return nil
	}
	l, err := c.lookAt(ctx, "check", func(string) bool { return false })
	if err != nil {
		return err
	}
	defer l.remove()
	c.Roots, c.Maps = l.walked, l.maps
	missing, err := c.compare(ctx, l)
	if err != nil || len(missing) == 0 {
		return err
	}
	return c.nameMissing(ctx, missing)
}

// maxMissing bounds the missing chunks whose roots are named.
const maxMissing = 100_000

// compare finds live chunks that the index does not have, and counts those in
// the index that are not live.
func (c *checker) compare(ctx context.Context, l *look) (map[uint64]bool, error) {
	live, err := l.spill.sorted()
	if err != nil {
		return nil, err
	}
	defer live.close()
	c.phase("index", c.Chunks)
	missing := map[uint64]bool{}
	miss := func(n uint64) {
		if len(missing) < maxMissing {
			missing[n] = true
		}
	}
	c.Unused = 0
	var last uint64
	had := false // last was live, and is in the index
	err = c.eachKey(ctx, keyChunk, func(k, _ []byte) error {
		if len(k) != len(ID{}) {
			return fmt.Errorf("%w: %x", errBadKey, k)
		}
		n := prefixOf(ID(k))
		c.step(1)
		for live.ok && live.n < n {
			if !had || live.n != last {
				miss(live.n)
			}
			if err := live.step(); err != nil {
				return err
			}
		}
		if live.ok && live.n == n {
			last, had = n, true
		} else {
			c.Unused++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for live.ok {
		if !had || live.n != last {
			miss(live.n)
		}
		if err := live.step(); err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// nameMissing says which roots lead to the chunks that are missing. What is in
// an unfinished pack, or has entered the index since, is not.
func (c *checker) nameMissing(ctx context.Context, missing map[uint64]bool) error {
	c.pruner.opts.Walk = func(ctx context.Context, name string, body []byte, visit Visit) error {
		err := c.opts.Walk(ctx, name, body, func(id ID, kind pack.Kind) (bool, error) {
			if missing[prefixOf(id)] {
				if err := c.missing(name, id, kind); err != nil {
					return false, err
				}
			}
			return visit(id, kind)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil { // told already
			return nil
		}
		plain, err := encodeRoot(name, body)
		if err != nil {
			return err
		}
		if id := c.codec.ID(plain); missing[prefixOf(id)] {
			return c.missing(name, id, pack.KindRoot)
		}
		return nil
	}
	l, err := c.lookAt(ctx, "check", func(string) bool { return false })
	if err != nil {
		return err
	}
	return l.remove()
}

func (c *checker) missing(name string, id ID, kind pack.Kind) error {
	if c.isInflight(id) {
		return nil
	}
	if _, ok, err := c.lookup(id); err != nil || ok {
		return err
	}
	if _, known, err := c.damageOf(id); err != nil || known {
		return err
	}
	c.add(Problem{Kind: "chunk", Chunk: id.String(), Root: c.opts.Name(name), Text: fmt.Sprintf("the index does not know this %v", kind)})
	return nil
}

// leftovers looks for what a crash, a prune or a repair has left and nobody
// knows.
func (c *checker) leftovers(ctx context.Context) error {
	names, err := c.media.Unfinished()
	if err != nil {
		return err
	}
	c.mu.Lock()
	failed := c.lost > 0 // such packs stay until the store is opened anew, and it was told
	c.mu.Unlock()
	for _, name := range names {
		if failed {
			break
		}
		if n, ok := parsePackName(name); !ok || !c.isPending(n) && !c.isThere(n) {
			if known, err := c.knows(n); err != nil || known {
				continue // it was finished meanwhile
			}
			c.add(Problem{Kind: "leftover", Pack: name, Text: "an unfinished pack that nobody writes; the next opening finishes it"})
		}
	}
	trash, err := c.trash()
	if err != nil {
		return err
	}
	err = c.media.Trashed(func(name string, _ int64) error {
		if n, ok := parsePackName(name); ok {
			used, err := c.knows(n)
			if err != nil {
				return err
			}
			if used {
				c.add(Problem{Kind: "leftover", Pack: name, Text: "a pack that is in use lies in the trash, too, and no prune deletes it there; where it is whole among the packs, delete it in the trash"})
			} else if _, known := trash[n]; !known {
				c.add(Problem{Kind: "leftover", Pack: name, Text: "the trash holds a pack of which the index does not know; the next prune takes it up"})
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	return c.pruneLeftovers(ctx)
}

// pruneLeftovers looks for marks without a prune that is under way, and for
// roots that are visible and dropped.
func (c *checker) pruneLeftovers(ctx context.Context) error {
	st, err := c.pruneState()
	if err != nil {
		return err
	}
	if st.Phase == phaseIdle {
		for _, letter := range []byte{keyCondemned, keyWalked, keySeen} {
			n := 0
			if err := c.eachKey(ctx, letter, func(_, _ []byte) error { n++; return nil }); err != nil {
				return err
			}
			if n > 0 {
				c.add(Problem{Kind: "leftover", Text: fmt.Sprintf("%d keys %q of a prune, and none is under way", n, letter)})
			}
		}
		if _, err := c.fs.Stat(c.spillPath()); err == nil {
			c.add(Problem{Kind: "leftover", Text: "marks of a prune, and none is under way; the next one removes them"})
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return c.droppedRecords(ctx, func(name string, _ ID) error {
		if _, err := c.Root(ctx, name); err == nil {
			c.add(Problem{Kind: "root", Root: c.opts.Name(name), Text: "it is both visible and dropped"})
		}
		return nil
	})
}
