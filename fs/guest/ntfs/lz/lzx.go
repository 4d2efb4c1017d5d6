package lz

// Blocks of LZX begin with their kind in 3 bits and whether they have 32 KiB, or
// else their length in 16 bits. Codes are given by the lengths of the codewords,
// as differences to those of the block before, themselves in a code of 20
// symbols whose lengths are 4 bits each.
const (
	lzxWindow    = 32 << 10
	lzxVerbatim  = 1
	lzxAligned   = 2
	lzxRaw       = 3
	lzxSlots     = 30 // of distances in a window of 32 KiB
	lzxMain      = 256 + 8*lzxSlots
	lzxLengths   = 249
	lzxPre       = 20
	lzxMinMatch  = 2
	callOpcode   = 0xe8
	callFileSize = 12_000_000 // the size of any file, as WIM has it
)

// lzx is the state of one chunk.
type lzx struct {
	b                  *bits
	main, length, rest code
	mainLens           [lzxMain]byte
	lengthLens         [lzxLengths]byte
	recent             [3]int // distances
	base               [lzxSlots]int
	extra              [lzxSlots]uint
}

// LZX unpacks src, one chunk of at most 32 KiB as WIM files and compressed
// system files have it, into dst, which it fills.
func LZX(dst, src []byte) error {
	if len(dst) > lzxWindow {
		return ErrCorrupt
	}
	x := &lzx{b: newBits(src), recent: [3]int{1, 1, 1}}
	for slot, base := 0, 0; slot < lzxSlots; slot++ {
		x.base[slot], x.extra[slot] = base, uint(max(slot/2-1, 0))
		base += 1 << x.extra[slot]
	}
	for n := 0; n < len(dst); {
		next, err := x.block(dst, n)
		if err != nil {
			return err
		}
		n = next
	}
	relativeCalls(dst)
	return nil
}

// block unpacks one block to dst[n:] and gives where the next one goes.
func (x *lzx) block(dst []byte, n int) (int, error) {
	kind, err := x.b.read(3)
	if err != nil {
		return n, err
	}
	whole, err := x.b.read(1)
	size := lzxWindow
	if err == nil && whole == 0 {
		size, err = x.b.read(16)
	}
	if err != nil || size == 0 || size > len(dst)-n {
		return n, ErrCorrupt
	}
	out := dst[:n+size]
	switch kind {
	case lzxRaw:
		return n + size, x.raw(out[n:])
	case lzxAligned:
		var lens [8]byte
		for i := range lens {
			l, err := x.b.read(3)
			if err != nil {
				return n, err
			}
			lens[i] = byte(l)
		}
		if err := x.rest.init(lens[:]); err != nil {
			return n, err
		}
	case lzxVerbatim:
	default:
		return n, ErrCorrupt
	}
	if err := x.codes(); err != nil {
		return n, err
	}
	return n + size, x.items(out, n, kind == lzxAligned)
}

// raw copies a block that is not packed: from the next word on, the three
// recent distances, the bytes, and one more if they are odd.
func (x *lzx) raw(out []byte) error {
	b := x.b
	// Whole words that were read ahead are given back; of the word in use the
	// rest is dropped, and a word that was just used up leaves one to drop.
	b.at -= int(b.n/16) * 2
	if b.n%16 == 0 {
		b.at += 2
	}
	if b.n > uint(b.real) || b.at+12+len(out) > len(b.src) {
		return ErrCorrupt
	}
	for i := range x.recent {
		v := le.Uint32(b.src[b.at+4*i:])
		if v == 0 || v > 1<<30 {
			return ErrCorrupt
		}
		x.recent[i] = int(v)
	}
	b.at += 12 + copy(out, b.src[b.at+12:])
	b.at += len(out) & 1
	b.held, b.n, b.real = 0, 0, 0
	b.fill()
	return nil
}

// codes reads the codes of a block.
func (x *lzx) codes() error {
	for _, lens := range [][]byte{x.mainLens[:256], x.mainLens[256:], x.lengthLens[:]} {
		if err := x.lengths(lens); err != nil {
			return err
		}
	}
	if err := x.main.init(x.mainLens[:]); err != nil {
		return err
	}
	return x.length.init(x.lengthLens[:])
}

// lengths reads the lengths of a run of codewords, which lens holds of the
// block before.
func (x *lzx) lengths(lens []byte) error {
	var preLens [lzxPre]byte
	for i := range preLens {
		l, err := x.b.read(4)
		if err != nil {
			return err
		}
		preLens[i] = byte(l)
	}
	var pre code
	if err := pre.init(preLens[:]); err != nil {
		return err
	}
	for i := 0; i < len(lens); {
		count, length, err := x.lengthRun(&pre, lens[i])
		if err != nil || count > len(lens)-i {
			return ErrCorrupt
		}
		for range count {
			lens[i] = length
			i++
		}
	}
	return nil
}

// lengthRun reads how often a length comes next; old is the one of the block
// before.
func (x *lzx) lengthRun(pre *code, old byte) (count int, length byte, err error) {
	symbol, err := pre.decode(x.b)
	if err != nil {
		return 0, 0, err
	}
	switch symbol {
	case 17:
		count, err = x.b.read(4)
		return count + 4, 0, err
	case 18:
		count, err = x.b.read(5)
		return count + 20, 0, err
	case 19:
		if count, err = x.b.read(1); err != nil {
			return 0, 0, err
		}
		count += 4
		if symbol, err = pre.decode(x.b); err != nil || symbol > 16 {
			return 0, 0, ErrCorrupt
		}
	default:
		count = 1
	}
	return count, byte((int(old) - symbol + 17) % 17), nil
}

// items unpacks the bytes and copies of a block, up to the end of out.
func (x *lzx) items(out []byte, n int, aligned bool) error {
	for n < len(out) {
		symbol, err := x.main.decode(x.b)
		if err != nil {
			return err
		}
		if symbol < 256 {
			out[n] = byte(symbol)
			n++
			continue
		}
		symbol -= 256
		length := symbol & 7
		if length == 7 {
			more, err := x.length.decode(x.b)
			if err != nil {
				return err
			}
			length += more
		}
		length += lzxMinMatch
		distance, err := x.distance(symbol>>3, aligned)
		if err != nil || distance > n || length > len(out)-n {
			return ErrCorrupt
		}
		n = copyBack(out, n, distance, length)
	}
	return nil
}

// distance reads how far a copy reaches back. The first three slots are the
// recent distances.
func (x *lzx) distance(slot int, aligned bool) (int, error) {
	if slot < 3 {
		x.recent[0], x.recent[slot] = x.recent[slot], x.recent[0]
		return x.recent[0], nil
	}
	extra := x.extra[slot]
	low, bits := 0, extra
	if aligned && extra >= 3 {
		bits -= 3
	}
	high, err := x.b.read(bits)
	if err == nil && bits < extra {
		low, err = x.rest.decode(x.b)
		high <<= 3
	}
	distance := x.base[slot] + high + low - 2
	x.recent[2], x.recent[1], x.recent[0] = x.recent[1], x.recent[0], distance
	return distance, err
}

// relativeCalls makes the targets of x86 calls relative again, which were made
// absolute so that calls of the same target are equal.
func relativeCalls(b []byte) {
	for i := 0; i < len(b)-10; i++ {
		if b[i] != callOpcode {
			continue
		}
		target := int32(le.Uint32(b[i+1:]))
		switch at := int32(i); {
		case target >= 0 && target < callFileSize:
			le.PutUint32(b[i+1:], uint32(target-at))
		case target < 0 && target >= -at:
			le.PutUint32(b[i+1:], uint32(target+callFileSize))
		}
		i += 4
	}
}
