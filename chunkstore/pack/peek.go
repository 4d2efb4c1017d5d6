package pack

// Peek reports whether b begins with the header of a record of chunk want, and how
// long that record is. It proves nothing: [Codec.Decode] does.
func Peek(b []byte, want ID) (recordLen int, ok bool) {
	h, err := openHeader(b, want)
	if err != nil {
		return 0, false
	}
	return RecordHeaderLen + h.payloadLen, true
}

// PeekHeader reads what the record at the start of b says of itself: whose it is, and
// its payload's length, 1 to MaxRecord-RecordHeaderLen. It proves nothing, and reports
// false where b does not begin like a record.
func PeekHeader(b []byte) (id ID, payloadLen int, ok bool) {
	h, err := parseHeader(b)
	return h.id, h.payloadLen, err == nil
}
