package xfs

import (
	"fmt"
	"strings"
)

// Features of version 4 (Superblocks, sb_versionnum and sb_features2). Version
// 5 has those of sb_versionnum as well.
const (
	versionMask   = 0xf
	versionLogV2  = 0x400
	versionDirV2  = 0x2000
	versionCI     = 0x4000 // names are looked up without regard to case
	versionMore   = 0x8000
	feature2Ftype = 0x200
)

// Features of version 5 (sb_features_*).
const (
	incompatFtype       = 0x1
	incompatMetaUUID    = 0x4
	incompatNeedsRepair = 0x10
	readableIncompat    = 0xff

	readableCompatRO = 0xf // what changes the allocation of blocks in a way known here

	readableLogIncompat = 0x1 // xattrs
)

// incompatNames names incompatible features by bit, the unreadable ones among
// them; a feature that is not here is shown by its number.
var incompatNames = map[int]string{
	0: "ftype", 1: "spinodes", 2: "meta_uuid", 3: "bigtime", 4: "needsrepair", 5: "nrext64", 6: "exchrange", 7: "parent",
	8: "metadir", 9: "zoned", 10: "zone_gaps",
}

// nameFeatures spells out the bits of mask.
func nameFeatures(mask uint32) string {
	var names []string
	for bit := range 32 {
		if mask&(1<<bit) == 0 {
			continue
		}
		name, ok := incompatNames[bit]
		if !ok {
			name = fmt.Sprintf("number %d", bit)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
