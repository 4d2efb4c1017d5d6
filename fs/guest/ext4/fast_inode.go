package ext4

import (
	"slices"
	"sort"

	"holdfast/fs/guest"
)

// addedCookie is where the cookies of added names begin, behind all places of
// a directory's content.
const addedCookie = 1 << 62

// fastInode is what fast commits have changed of one inode.
type fastInode struct {
	raw   []byte // all its bytes, if they were replaced
	links int    // to add to the link count

	mapped bool  // the whole map was replaced by runs
	runs   []run // in order, apart; no holes but those never written

	fresh bool                // a new directory: nothing of its content counts
	names map[string]fastName // changed names
	added []string            // in the order of their cookies; some gone again
}

// fastName is where a changed name leads.
type fastName struct {
	inode uint32 // 0: it is taken away
	added bool   // it is in the list of added names
}

// apply changes an inode that was parsed. Nil changes nothing.
func (c *fastInode) apply(in *inode) {
	if c == nil {
		return
	}
	in.links = uint16(max(0, min(int(in.links)+c.links, 65535)))
}

// removed says that a name of the content does not count any more.
func (c *fastInode) removed(name []byte) bool {
	if c == nil {
		return false
	}
	_, changed := c.names[string(name)]
	return changed
}

// eachAdded calls fn for added names behind a cookie, until fn returns false.
func (c *fastInode) eachAdded(cookie uint64, fn func(guest.Entry) bool) {
	if c == nil {
		return
	}
	for i, name := range c.added {
		e := guest.Entry{Name: name, Node: guest.Node(c.names[name].inode), Cookie: addedCookie + uint64(i) + 1}
		if e.Node != 0 && e.Cookie > cookie && !fn(e) {
			return
		}
	}
}

// setName says where a name leads now; 0 takes it away.
func (c *fastInode) setName(name string, inode uint32) {
	if c.names == nil {
		c.names = map[string]fastName{}
	}
	old := c.names[name]
	if inode != 0 && !old.added {
		c.added = append(c.added, name)
	}
	c.names[name] = fastName{inode: inode, added: old.added || inode != 0}
}

// mapBlock looks a block up in the replaced map.
func (c *fastInode) mapBlock(block uint64) run {
	i := sort.Search(len(c.runs), func(i int) bool { return c.runs[i].end() > block })
	if i == len(c.runs) {
		return run{start: block, count: maxLogical - block, hole: true}
	}
	if r := c.runs[i]; r.start <= block {
		return r.from(block)
	}
	return run{start: block, count: c.runs[i].start - block, hole: true}
}

// cut takes a range out of the map.
func (c *fastInode) cut(from, to uint64) {
	var kept []run
	for _, r := range c.runs {
		if r.start < from {
			left := r
			left.count = min(r.count, from-r.start)
			kept = append(kept, left)
		}
		if r.end() > to {
			kept = append(kept, r.from(max(r.start, to)))
		}
	}
	c.runs = kept
}

// put maps a range.
func (c *fastInode) put(r run) {
	c.cut(r.start, r.end())
	i := sort.Search(len(c.runs), func(i int) bool { return c.runs[i].start > r.start })
	c.runs = slices.Insert(c.runs, i, r)
}

// allocated counts the blocks of the map.
func (c *fastInode) allocated() (blocks uint64) {
	for _, r := range c.runs {
		blocks += r.count
	}
	return blocks
}
