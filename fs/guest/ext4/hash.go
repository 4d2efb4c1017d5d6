package ext4

import "math/bits"

// Versions of a directory's hash (Hash Tree Directories). The unsigned ones
// take bytes above 127 as they are; the signed ones, by which a filesystem
// made on most machines goes, take them as negative.
const (
	hashLegacy = iota
	hashHalfMD4
	hashTEA
	hashLegacyUnsigned
	hashHalfMD4Unsigned
	hashTEAUnsigned
)

// hashEnd is no hash of a name: it stands for the end of the directory.
const hashEnd = 0xfffffffe

// hashName gives the hash by which a name is filed; ok is false for a version
// that is not known.
func (sb *superblock) hashName(version byte, name string) (hash uint32, ok bool) {
	if version <= hashTEA && sb.hashUnsigned {
		version += hashLegacyUnsigned
	}
	signed := version < hashLegacyUnsigned
	state := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	if sb.hashSeed != [4]uint32{} {
		state = sb.hashSeed
	}
	switch version {
	case hashLegacy, hashLegacyUnsigned:
		hash = legacyHash(name, signed)
	case hashHalfMD4, hashHalfMD4Unsigned:
		for ; len(name) > 0; name = name[min(32, len(name)):] {
			var in [8]uint32
			hashWords(in[:], name, signed)
			halfMD4(&state, &in)
		}
		hash = state[1]
	case hashTEA, hashTEAUnsigned:
		for ; len(name) > 0; name = name[min(16, len(name)):] {
			var in [4]uint32
			hashWords(in[:], name, signed)
			tea(&state, &in)
		}
		hash = state[0]
	default:
		return 0, false
	}
	if hash &^= 1; hash == hashEnd {
		hash -= 2
	}
	return hash, true
}

// widen makes a word of a byte.
func widen(c byte, signed bool) uint32 {
	if signed {
		return uint32(int32(int8(c)))
	}
	return uint32(c)
}

func legacyHash(name string, signed bool) uint32 {
	a, b := uint32(0x12a3fe2d), uint32(0x37abe8f9)
	for i := range len(name) {
		next := b + (a ^ widen(name[i], signed)*7152373)
		if next&0x80000000 != 0 {
			next -= 0x7fffffff
		}
		a, b = next, a
	}
	return a << 1
}

// hashWords fills words with the name, four bytes each, big end first, and
// what is left with the name's length.
func hashWords(words []uint32, name string, signed bool) {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	for i := range words {
		words[i] = pad
		for k := 4 * i; k < 4*i+4 && k < len(name); k++ {
			words[i] = widen(name[k], signed) + words[i]<<8
		}
	}
}

func tea(state *[4]uint32, in *[4]uint32) {
	x, y, sum := state[0], state[1], uint32(0)
	for range 16 {
		sum += 0x9e3779b9
		x += (y<<4 + in[0]) ^ (y + sum) ^ (y>>5 + in[1])
		y += (x<<4 + in[2]) ^ (x + sum) ^ (x>>5 + in[3])
	}
	state[0] += x
	state[1] += y
}

// halfMD4 is MD4 cut down to three rounds of eight steps (RFC 1320 has the
// functions and the constants).
func halfMD4(state *[4]uint32, in *[8]uint32) {
	rounds := [3]struct {
		mix    func(x, y, z uint32) uint32
		add    uint32
		order  [8]int
		shifts [4]int
	}{
		{func(x, y, z uint32) uint32 { return z ^ x&(y^z) }, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19}},
		{func(x, y, z uint32) uint32 { return x&y + (x^y)&z }, 0x5a827999, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13}},
		{func(x, y, z uint32) uint32 { return x ^ y ^ z }, 0x6ed9eba1, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15}},
	}
	a, b, c, d := state[0], state[1], state[2], state[3]
	for _, r := range rounds {
		for i, word := range r.order {
			next := bits.RotateLeft32(a+r.mix(b, c, d)+in[word]+r.add, r.shifts[i%4])
			a, b, c, d = d, next, b, c
		}
	}
	state[0] += a
	state[1] += b
	state[2] += c
	state[3] += d
}
