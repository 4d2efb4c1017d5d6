package layer

import "math/bits"

// BitOrder says which bit of a sector bitmap's byte comes first.
type BitOrder uint8

const (
	HighFirst BitOrder = iota // VHD
	LowFirst                  // VHDX
)

// BitRun counts the equal bits of a bitmap from number first on, in
// [0, 8*len(bitmap)): n >= 1 bits, all set or all clear.
func BitRun(bitmap []byte, first int, order BitOrder) (n int, set bool) {
	b := ordered(bitmap[first/8], order) >> (first % 8)
	set = b&1 == 1
	// From here on count clear bits: flip turns set ones into clear ones.
	var flip byte
	if set {
		flip = 0xff
		b = ^b
	}
	left := 8 - first%8
	if n = bits.TrailingZeros8(b); n < left {
		return n, set
	}
	n = left
	for _, b := range bitmap[first/8+1:] {
		zeros := bits.TrailingZeros8(ordered(b, order) ^ flip)
		n += zeros
		if zeros < 8 {
			break
		}
	}
	return n, set
}

// ordered puts the first bit into the lowest place.
func ordered(b byte, order BitOrder) byte {
	if order == HighFirst {
		return bits.Reverse8(b)
	}
	return b
}
