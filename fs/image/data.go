package image

import (
	"bytes"
	"context"
)

// unitData is the area where the allocated units lie in rank order, each
// padded with zeros to its whole length. Before each unit come lead bytes, of
// which the last ones bytes are 0xff: the sector bitmap of a VHD block, and
// what aligns its data. Elsewhere both are 0.
func unitData(start int64, u units, lead, ones int64) area {
	stride := lead + int64(u.unit)
	at := func(ctx context.Context, rel, max int64) (Segment, error) {
		k, in := rel/stride, rel%stride
		if in < lead-ones {
			return Segment{Kind: Zeros, Length: min(max, lead-ones-in)}, nil
		}
		if in < lead {
			return made(bytes.Repeat([]byte{0xff}, int(min(max, lead-in)))), nil
		}
		in -= lead
		limit := int64(1)
		if lead == 0 {
			limit = ceilDiv(in+max, stride)
		}
		n, length, err := u.run(ctx, k, limit)
		if err != nil {
			return Segment{}, err
		}
		return guestRun(u, n, in, min(max, length*int64(u.unit)-in)), nil
	}
	return area{start: start, end: start + u.count*stride, at: at}
}

// guestRun is the run of at most max bytes that begins in bytes into unit n:
// the guest's, or zeros past the end of a disk whose last unit is short.
func guestRun(u units, n, in, max int64) Segment {
	off := n*int64(u.unit) + in
	left := u.disk.Size() - off
	if left <= 0 {
		return Segment{Kind: Zeros, Length: max}
	}
	return Segment{Kind: Guest, Length: min(max, left), GuestOff: off}
}
