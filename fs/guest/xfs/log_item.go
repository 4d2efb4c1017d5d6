package xfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Items (Log Items) by type.
const (
	itemInode    = 0x123b
	itemBuffer   = 0x123c
	itemDquot    = 0x123d
	itemQuotaOff = 0x123e
	itemCreate   = 0x123f
)

// cancels counts the buffers that were cancelled: freed, so that nothing older
// may be replayed over what came to lie there.
type cancels struct {
	counts map[extent]int
}

// extent is a buffer, in sectors of the volume.
type extent struct {
	place int64
	count uint32
}

const maxCancels = 1 << 19

func newCancels() *cancels { return &cancels{counts: map[extent]int{}} }

// note is the first pass.
func (c *cancels) note(t *transaction) error {
	for _, it := range t.items {
		if it.kind() != itemBuffer {
			continue
		}
		b, err := parseBuffer(it)
		if err != nil {
			return err
		}
		if b.flags&bufferCancel != 0 {
			c.counts[b.extent]++
		}
		if len(c.counts) > maxCancels {
			return fmt.Errorf("more than %d cancelled buffers in the log", maxCancels)
		}
	}
	return nil
}

// passed counts a cancel that replay has come by: the last of a buffer ends it.
func (c *cancels) passed(e extent) {
	if c.counts[e]--; c.counts[e] <= 0 {
		delete(c.counts, e)
	}
}

// replayer is the second pass.
type replayer struct {
	fs      *FS
	cancels *cancels
	done    replayed
}

// order sorts the items of a transaction as the kernel does: whole buffers,
// then what lies in them, then cancels.
func order(it *item) int {
	switch it.kind() {
	case itemCreate:
		return 0
	case itemBuffer:
		if len(it.regions[0]) < bufferHead {
			return 0
		}
		switch flags := le.Uint16(it.regions[0][4:]); {
		case flags&bufferCancel != 0:
			return 3
		case flags&bufferInodes != 0:
			return 2
		}
		return 0
	}
	return 1
}

// transaction replays one transaction.
func (r *replayer) transaction(ctx context.Context, t *transaction) error {
	slices.SortStableFunc(t.items, func(a, b *item) int { return order(a) - order(b) })
	for _, it := range t.items {
		if err := r.item(ctx, it, t.lsn); err != nil {
			return err
		}
	}
	r.done.transactions++
	return nil
}

func (r *replayer) item(ctx context.Context, it *item, lsn uint64) error {
	switch kind := it.kind(); kind {
	case itemBuffer:
		return r.buffer(ctx, it, lsn)
	case itemInode:
		return r.inode(ctx, it, lsn)
	case itemCreate:
		return r.create(ctx, it)
	case itemDquot, itemQuotaOff: // quotas are not read here
		return nil
	default:
		return r.intent(it, kind)
	}
}

// intent notes that an update was begun or done.
func (r *replayer) intent(it *item, kind uint16) error {
	begun := kind &^ 1
	if intentKinds[begun] == "" {
		return fmt.Errorf("a log item of unknown type %#x", kind)
	}
	if len(it.regions[0]) < 16 {
		return fmt.Errorf("a log item of type %#x and %d bytes", kind, len(it.regions[0]))
	}
	i := intent{begun, le.Uint64(it.regions[0][8:])}
	if kind != begun {
		delete(r.done.intents, i)
		return nil
	}
	if len(r.done.intents) >= maxIntents {
		return errors.New("too many unfinished updates in the log")
	}
	r.done.intents[i] = true
	return nil
}
