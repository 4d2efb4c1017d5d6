package lz

// A chunk's head ([MS-XCA] 2.5.1.1): its length - 3 in 12 bits, a signature of
// 3 and whether it is compressed in the last one. A head of 0 ends the data.
const (
	chunkLen        = 4096
	chunkCompressed = 0x8000
)

// LZNT1 unpacks src into dst until either ends, and gives the number of bytes
// that it has written.
func LZNT1(dst, src []byte) (int, error) {
	done := 0
	for done < len(dst) && len(src) >= 2 {
		head := le.Uint16(src)
		if head == 0 {
			break
		}
		size := int(head&0xfff) + 1
		if src = src[2:]; size > len(src) {
			return done, ErrCorrupt
		}
		out := dst[done:min(len(dst), done+chunkLen)]
		n, err := lznt1Chunk(out, src[:size], head&chunkCompressed != 0)
		done += n
		if err != nil {
			return done, err
		}
		// Only the last chunk may be short: the next begins at 4 KiB.
		if len(src) > size+1 && le.Uint16(src[size:]) != 0 {
			clear(out[n:])
			done += len(out) - n
		}
		src = src[size:]
	}
	return done, nil
}

// lznt1Chunk unpacks one chunk: groups of a byte of flags and eight items,
// each a byte or a copy of what came before. The more there is to copy from,
// the more of a copy's 16 bits are the distance ([MS-XCA] 2.5.1.4).
func lznt1Chunk(dst, src []byte, compressed bool) (int, error) {
	if !compressed {
		return copy(dst, src), nil
	}
	n := 0
	lengthBits := uint(12)
	for len(src) > 0 && n < len(dst) {
		flags := src[0]
		src = src[1:]
		for bit := 0; bit < 8 && len(src) > 0 && n < len(dst); bit++ {
			if flags>>bit&1 == 0 {
				dst[n] = src[0]
				src = src[1:]
				n++
				continue
			}
			if len(src) < 2 || n == 0 {
				return n, ErrCorrupt
			}
			for lengthBits > 4 && n-1 >= 1<<(16-lengthBits) {
				lengthBits--
			}
			token := int(le.Uint16(src))
			src = src[2:]
			distance := token>>lengthBits + 1
			if distance > n {
				return n, ErrCorrupt
			}
			n = copyBack(dst, n, distance, token&(1<<lengthBits-1)+3)
		}
	}
	return n, nil
}

// copyBack copies length bytes to dst[n:] from distance before it, or fewer
// where dst ends, and gives the new n. The two may overlap: then the bytes
// between them repeat.
func copyBack(dst []byte, n, distance, length int) int {
	end := min(n+length, len(dst))
	if distance >= end-n {
		copy(dst[n:end], dst[n-distance:])
		return end
	}
	for ; n < end; n++ {
		dst[n] = dst[n-distance]
	}
	return end
}
