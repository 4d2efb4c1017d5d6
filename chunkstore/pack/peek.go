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
