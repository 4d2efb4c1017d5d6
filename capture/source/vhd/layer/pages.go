package layer

import "holdfast/capture/source"

const (
	pageSize = 16 << 10
	// cacheBytes of tables are kept for a file, so at most 64 MiB for the
	// longest chain.
	cacheBytes = 1 << 20
)

// Pages reads the tables of an image through a bounded cache, so that a table
// of any size costs at most 1 MiB of memory. It is safe for concurrent use.
type Pages struct {
	bytes Bytes
	cache *source.Cache // by page number
}

// NewPages makes an empty cache over a file.
func NewPages(b Bytes) *Pages {
	return &Pages{bytes: b, cache: source.NewCache(cacheBytes)}
}

// At returns the bytes of the file from off to the end of their page (16 KiB,
// aligned in the file) or of the file: at least one byte. The caller must not
// change them. An off beyond the file is the error of Bytes.ReadFull; what
// names the table.
func (c *Pages) At(off int64, what string) ([]byte, error) {
	if off < 0 || off >= c.bytes.Size() {
		return nil, c.bytes.ReadFull(make([]byte, 1), off, what)
	}
	start := off &^ (pageSize - 1)
	data, err := c.cache.Get(start/pageSize, func() ([]byte, error) {
		data := make([]byte, min(pageSize, c.bytes.Size()-start))
		return data, c.bytes.ReadFull(data, start, what)
	})
	if err != nil {
		return nil, err
	}
	return data[off-start:], nil
}
