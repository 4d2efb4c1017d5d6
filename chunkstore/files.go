package chunkstore

import (
	"container/list"
	"errors"
	"sync"

	"holdfast/chunkstore/media"
)

// maxOpenPacks bounds how many pack files are open and not in use.
const maxOpenPacks = 256

// packFiles keeps pack files open between reads.
type packFiles struct {
	media media.Media

	mu     sync.Mutex // guards what follows; opening runs outside it
	byPack map[uint64]*packFile
	idle   *list.List // of *packFile, the longest idle first
}

type packFile struct {
	media.File
	pack uint64
	refs int
	gone bool // to be closed by its last user
	idle *list.Element
}

func newPackFiles(m media.Media) *packFiles {
	return &packFiles{media: m, byPack: map[uint64]*packFile{}, idle: list.New()}
}

// open returns an open pack; done gives it back.
func (c *packFiles) open(pack uint64) (*packFile, error) {
	if f := c.take(pack); f != nil {
		return f, nil
	}
	mf, err := c.media.Open(packName(pack))
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.byPack[pack]; f != nil { // another reader was quicker
		mf.Close()
		c.use(f)
		return f, nil
	}
	f := &packFile{File: mf, pack: pack, refs: 1}
	c.byPack[pack] = f
	return f, nil
}

func (c *packFiles) take(pack uint64) *packFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.byPack[pack]
	if f != nil {
		c.use(f)
	}
	return f
}

func (c *packFiles) use(f *packFile) {
	f.refs++
	if f.idle != nil {
		c.idle.Remove(f.idle)
		f.idle = nil
	}
}

// done ends one use of f.
func (c *packFiles) done(f *packFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.refs--
	if f.refs > 0 {
		return
	}
	if f.gone {
		f.Close()
		return
	}
	f.idle = c.idle.PushBack(f)
	for c.idle.Len() > maxOpenPacks {
		old := c.idle.Remove(c.idle.Front()).(*packFile)
		delete(c.byPack, old.pack)
		old.Close()
	}
}

// drop closes a pack that nothing refers to any more, so that its space can be
// freed; readers that are under way finish first.
func (c *packFiles) drop(pack uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.byPack[pack]
	if f == nil {
		return
	}
	delete(c.byPack, pack)
	if f.gone = true; f.refs == 0 {
		c.idle.Remove(f.idle)
		f.Close()
	}
}

func (c *packFiles) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	for n, f := range c.byPack {
		err = errors.Join(err, f.Close())
		delete(c.byPack, n)
	}
	c.idle.Init()
	return err
}
