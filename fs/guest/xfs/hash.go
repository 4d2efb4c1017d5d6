package xfs

import "math/bits"

// hashName is the hash of a name in a directory's index (xfs_da_hashname;
// xfs_ascii_ci_hashname where case does not count).
func (f *FS) hashName(name string) uint32 {
	hash := uint32(0)
	for i := range len(name) {
		c := name[i]
		if f.sb.foldCase {
			c = fold(c)
		}
		hash = uint32(c) ^ bits.RotateLeft32(hash, 7)
	}
	return hash
}

// fold gives the lower case of a letter of ASCII or Latin-1, which is all that
// the format knows of case.
func fold(c byte) byte {
	if c >= 'A' && c <= 'Z' || c >= 0xc0 && c <= 0xd6 || c >= 0xd8 && c <= 0xde {
		return c + 'a' - 'A'
	}
	return c
}

func (f *FS) sameName(a, b string) bool {
	if !f.sb.foldCase || len(a) != len(b) {
		return a == b
	}
	for i := range len(a) {
		if fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}
