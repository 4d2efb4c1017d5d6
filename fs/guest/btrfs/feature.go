package btrfs

import (
	"fmt"
	"strings"
)

// Features (btrfs.h, BTRFS_FEATURE_INCOMPAT_* and _COMPAT_RO_*).
const (
	incompatNoHoles    = 0x200
	incompatMetadataID = 0x400
	// mixed_backref, default_subvol, mixed_groups, compress_lzo, compress_zstd,
	// big_metadata, extended_iref, raid56, skinny_metadata, no_holes,
	// metadata_uuid, raid1c34, simple_quota
	readableIncompat = 0x10fff

	compatROFreeTree  = 0x1
	compatROFreeValid = 0x2
	// free_space_tree, free_space_tree_valid, verity, block_group_tree
	readableCompatRO = 0xf
)

// incompatNames names incompatible features by bit; one that is not here is
// shown by its number.
var incompatNames = map[int]string{
	0: "mixed_backref", 1: "default_subvol", 2: "mixed_groups", 3: "compress_lzo", 4: "compress_zstd", 5: "big_metadata",
	6: "extended_iref", 7: "raid56", 8: "skinny_metadata", 9: "no_holes", 10: "metadata_uuid", 11: "raid1c34", 12: "zoned",
	13: "extent_tree_v2", 14: "raid_stripe_tree", 16: "simple_quota", 17: "remap_tree",
}

// nameFeatures spells out the bits of mask.
func nameFeatures(mask uint64) string {
	var names []string
	for bit := range 64 {
		if mask>>bit&1 == 0 {
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
