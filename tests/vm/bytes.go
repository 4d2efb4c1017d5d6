package vm

import (
	"encoding/binary"
	"math/rand/v2"
)

// vocabulary makes text that compresses about as prose and logs do.
var vocabulary = []string{"volume", "the", "error", "boot", "a", "mount", "service", "of",
	"kernel", "started", "read", "write", "session", "for", "user", "device", "done", "in"}

// words returns n bytes of words, without line ends so that they may be names.
func words(rng *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+16)
	for len(b) < n {
		b = append(b, vocabulary[rng.IntN(len(vocabulary))]...)
		b = append(b, '-', byte('0'+rng.IntN(10)), ' ')
	}
	return b[:n]
}

// randomBytes returns n bytes that do not compress.
func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b[:n]
}
