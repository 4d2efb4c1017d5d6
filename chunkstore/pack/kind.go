package pack

import "fmt"

// Kind says what the plain bytes of a record are. A kind's number is on disk
// and must not change.
type Kind uint8

const (
	KindData      Kind = 1 // a run of a disk's bytes
	KindRegionMap Kind = 2 // the extents of one region
	KindDiskMap   Kind = 3 // a node of a disk map
	KindRoot      Kind = 4 // a named root: a version manifest and its like
)

func (k Kind) String() string {
	switch k {
	case KindData:
		return "data"
	case KindRegionMap:
		return "region map"
	case KindDiskMap:
		return "disk map"
	case KindRoot:
		return "root"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Meta reports whether records of this kind lie in packs of their own, apart
// from disk data, so that walking every map of a store reads few packs.
func (k Kind) Meta() bool { return k != KindData }
