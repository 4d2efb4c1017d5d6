package blake

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// compressPortable does what the assembly does, for the first n lanes: the
// model that it is tested against.
func compressPortable(l *lanes, n int) {
	var sums [width][sumLen]byte
	for i := range n {
		cv := l.key
		for b := uint32(0); b <= l.final[i]; b++ {
			size, flags := uint32(blockLen), l.flags
			if b == 0 {
				flags |= l.startFlags
			}
			if b == l.final[i] {
				size, flags = l.finalLen[i], flags|l.finalFlags[i]
			}
			block := (*[blockLen]byte)(unsafe.Add(l.in[i], b*blockLen))
			cv = compressBlock(&cv, block, l.counter[i], size, flags)
		}
		for w, v := range cv {
			binary.LittleEndian.PutUint32(sums[i][4*w:], v)
		}
	}
	for i := range n {
		*(*[sumLen]byte)(l.out[i]) = sums[i]
	}
}

// permutation says which word of the message a round takes at each place, by
// the place that the round before took it.
var permutation = [16]int{2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8}

// mixes are the places in the state that a round's eight steps work on: the columns,
// then the diagonals.
var mixes = [8][4]int{
	{0, 4, 8, 12}, {1, 5, 9, 13}, {2, 6, 10, 14}, {3, 7, 11, 15},
	{0, 5, 10, 15}, {1, 6, 11, 12}, {2, 7, 8, 13}, {3, 4, 9, 14},
}

func compressBlock(cv *[8]uint32, block *[blockLen]byte, counter, size, flags uint32) (out [8]uint32) {
	var m [16]uint32
	for i := range m {
		m[i] = binary.LittleEndian.Uint32(block[4*i:])
	}
	s := [16]uint32{8: iv[0], iv[1], iv[2], iv[3], counter, 0, size, flags}
	copy(s[:], cv[:])
	for range 7 {
		for i, at := range mixes {
			a, b, c, d := &s[at[0]], &s[at[1]], &s[at[2]], &s[at[3]]
			*a += *b + m[2*i]
			*d = bits.RotateLeft32(*d^*a, -16)
			*c += *d
			*b = bits.RotateLeft32(*b^*c, -12)
			*a += *b + m[2*i+1]
			*d = bits.RotateLeft32(*d^*a, -8)
			*c += *d
			*b = bits.RotateLeft32(*b^*c, -7)
		}
		before := m
		for i, from := range permutation {
			m[i] = before[from]
		}
	}
	for i := range out {
		out[i] = s[i] ^ s[i+8]
	}
	return out
}
