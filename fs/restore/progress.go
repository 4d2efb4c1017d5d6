package restore

import "sync/atomic"

// Progress is how far a restore has come. Its fields may be read at any time.
type Progress struct {
	Total   atomic.Int64 // bytes of the image file
	Done    atomic.Int64 // bytes of it dealt with, holes included
	Written atomic.Int64 // bytes written to the target
}
