package image

// sectorSize is the unit in which every format but raw counts a disk.
const sectorSize = 512

// pageSize is what a table entry costs in st_blocks: a filesystem that held
// the image would keep the whole page around it.
const pageSize = 4096

// ceilDiv is a/b rounded up, for a >= 0 and b > 0, without overflow.
func ceilDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 {
		q++
	}
	return q
}

// roundUp is the smallest multiple of unit that is at least n.
func roundUp(n, unit int64) int64 { return ceilDiv(n, unit) * unit }

// touched bounds what a mostly zero table of length bytes takes when entries
// of it are set: a page each, at most the table.
func touched(length, entries int64) int64 {
	if entries >= ceilDiv(length, pageSize) {
		return length
	}
	return entries * pageSize
}
