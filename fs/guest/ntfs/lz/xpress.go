package lz

// The table of LZ77+Huffman ([MS-XCA] 2.2.4) is the lengths of 512 codes in 4
// bits each: a byte, or a copy whose number is the log2 of its distance and its
// length - 3.
const (
	xpressSymbols = 512
	xpressTable   = xpressSymbols / 2
)

// XPRESS unpacks src, one chunk of LZ77+Huffman of up to 64 KiB, into dst, which
// it fills.
func XPRESS(dst, src []byte) error {
	if len(src) < xpressTable {
		return ErrCorrupt
	}
	var lengths [xpressSymbols]byte
	for i, b := range src[:xpressTable] {
		lengths[2*i], lengths[2*i+1] = b&15, b>>4
	}
	var c code
	if err := c.init(lengths[:]); err != nil {
		return err
	}
	b := newBits(src[xpressTable:])
	for n := 0; n < len(dst); {
		symbol, err := c.decode(b)
		if err != nil {
			return err
		}
		if symbol < 256 {
			dst[n] = byte(symbol)
			n++
			continue
		}
		length, err := xpressLength(b, symbol&15)
		if err != nil {
			return err
		}
		distance, err := b.read(uint(symbol >> 4 & 15))
		if err != nil {
			return err
		}
		distance += 1 << (symbol >> 4 & 15)
		if distance > n || length > len(dst)-n {
			return ErrCorrupt
		}
		n = copyBack(dst, n, distance, length)
	}
	return nil
}

// xpressLength reads what follows a copy's 4 bits of length: bytes that lie
// between the words of bits.
func xpressLength(b *bits, length int) (int, error) {
	if length < 15 {
		return length + 3, nil
	}
	if b.at >= len(b.src) {
		return 0, ErrCorrupt
	}
	more := int(b.src[b.at])
	b.at++
	if more < 255 {
		return length + more + 3, nil
	}
	if b.at+2 > len(b.src) {
		return 0, ErrCorrupt
	}
	more = int(le.Uint16(b.src[b.at:]))
	b.at += 2
	if more == 0 {
		if b.at+4 > len(b.src) {
			return 0, ErrCorrupt
		}
		more = int(le.Uint32(b.src[b.at:]))
		b.at += 4
	}
	if more < 15 || more > 1<<24 {
		return 0, ErrCorrupt
	}
	return more + 3, nil
}
