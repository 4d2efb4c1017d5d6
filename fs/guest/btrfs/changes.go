package btrfs

import "slices"

// change is what the log makes of one item.
type change struct {
	key     key
	item    []byte
	deleted bool
}

// changes are those of one tree, in order of their keys, in pages so that one
// can be put in anywhere. After replay they are read only.
type changes struct {
	pages [][]change
	bytes int
}

// changePage is the most that a page holds.
const changePage = 256

// seek gives the place of the first change that is not before k.
func (c *changes) seek(k key) (page, i int, found bool) {
	page, _ = slices.BinarySearchFunc(c.pages, k, func(p []change, k key) int { return compareKeys(p[len(p)-1].key, k) })
	if page == len(c.pages) {
		return page, 0, false
	}
	i, found = slices.BinarySearchFunc(c.pages[page], k, func(x change, k key) int { return compareKeys(x.key, k) })
	return page, i, found
}

// put sets an item; nil deletes it.
func (c *changes) put(k key, item []byte) {
	x := change{k, item, item == nil}
	page, i, found := c.seek(k)
	c.bytes += len(item)
	switch {
	case found:
		c.bytes -= len(c.pages[page][i].item)
		c.pages[page][i] = x
		return
	case len(c.pages) == 0:
		c.pages = [][]change{{x}}
		c.bytes += changeCost
		return
	case page == len(c.pages):
		page--
		i = len(c.pages[page])
	}
	c.bytes += changeCost
	p := slices.Insert(c.pages[page], i, x)
	c.pages[page] = p
	if len(p) > changePage {
		tail := slices.Clone(p[changePage/2:])
		clear(p[changePage/2:])
		c.pages[page] = p[:changePage/2]
		c.pages = slices.Insert(c.pages, page+1, tail)
	}
}

// changeCost is what a change takes beside its bytes.
const changeCost = 64

// walk gives the changes from k on, one a call, then nil.
func (c *changes) walk(k key, back bool) func() *change {
	page, i, found := c.seek(k)
	if back {
		if !found {
			i--
		}
		return func() *change {
			for i < 0 {
				if page--; page < 0 {
					page = 0
					return nil
				}
				i = len(c.pages[page]) - 1
			}
			i--
			return &c.pages[page][i+1]
		}
	}
	return func() *change {
		for page < len(c.pages) && i >= len(c.pages[page]) {
			page, i = page+1, 0
		}
		if page >= len(c.pages) {
			return nil
		}
		i++
		return &c.pages[page][i-1]
	}
}
