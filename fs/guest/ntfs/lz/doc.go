// Package lz unpacks what Windows packs files with. Sources are [MS-XCA] for
// LZNT1 and for LZ77+Huffman, and [MS-PATCH] with the notes of wimlib's
// authors on the variant of LZX in WIM files.
//
//	LZNT1   units of compressed NTFS files: chunks of 4 KiB, each with a
//	        head of 2 bytes
//	XPRESS  LZ77+Huffman: one table of code lengths, then the chunk
//	LZX     windows of 32 KiB: blocks, each with its own codes; the targets
//	        of x86 calls are made relative again
//
// All are pure functions of their input, which may be anything: what is not
// well formed is ErrCorrupt, and nothing is read or written beyond the slices.
package lz

import (
	"encoding/binary"
	"errors"
)

// ErrCorrupt says that the packed bytes are not well formed.
var ErrCorrupt = errors.New("compressed data is damaged")

var le = binary.LittleEndian
