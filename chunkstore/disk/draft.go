package disk

import "encoding/binary"

// grow appends holes until the draft has an entry i.
func (d *draft) grow(i int) {
	for len(d.ids) <= i {
		d.ids = append(d.ids, [32]byte{})
		if d.level == 0 {
			d.bits = append(d.bits, 0)
		} else {
			d.counts = append(d.counts, totals{})
		}
	}
}

// encode appends the node's encoding to buf.
func (d *draft) encode(buf []byte) []byte {
	buf = append(buf, nodeMagic...)
	buf = binary.LittleEndian.AppendUint16(buf, formatVersion)
	buf = append(buf, byte(d.level), 0)
	buf = binary.LittleEndian.AppendUint16(buf, uint16(len(d.ids)))
	buf = append(buf, make([]byte, 6)...)
	for _, id := range d.ids {
		buf = append(buf, id[:]...)
	}
	for _, b := range d.bits {
		buf = binary.LittleEndian.AppendUint64(buf, b)
	}
	for u := range units {
		for _, t := range d.counts {
			buf = binary.LittleEndian.AppendUint32(buf, t[u])
		}
	}
	return buf
}
