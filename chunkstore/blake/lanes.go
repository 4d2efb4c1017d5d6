package blake

import "unsafe"

// What BLAKE3 is made of.
const (
	blockLen = 64
	chunkLen = 1 << chunkLog
	chunkLog = 10
	sumLen   = 32

	flagChunkStart = 1 << 0
	flagChunkEnd   = 1 << 1
	flagParent     = 1 << 2
	flagRoot       = 1 << 3
	flagKeyed      = 1 << 4
)

const width = 16 // lanes of the wide kernel

// iv is the key of a hash without one.
var iv = [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}

// lanes is the work of one pass: up to 16 inputs, each a chunk or a parent's
// two chaining values. All lanes are to be set, or made idle.
type lanes struct {
	// in are the inputs. At each, (last+1)*64 bytes are read.
	in [width]unsafe.Pointer
	// out takes each lane's chaining value of 32 bytes, when all inputs have been read.
	out [width]unsafe.Pointer
	// counter is the number of the chunk in its message; of a parent 0.
	counter [width]uint32
	// final is the number of the lane's last block, from 0, at most last.
	final [width]uint32
	// finalLen is how many bytes of the last block count. The rest must be zeros.
	finalLen [width]uint32
	// finalFlags are added to the last block's flags.
	finalFlags [width]uint32

	key        [8]uint32
	flags      uint32 // of every block
	startFlags uint32 // added to the first block's
	last       uint32 // the highest of final
}
