// Package regf reads a key of a Windows registry hive by its path, and the
// key's values. The format is not published by Microsoft; the source is "Windows
// registry file format specification" by M. Suhanov. Nothing is written.
//
//	base block   4096 bytes (hive.go)
//	  0 "regf"  4, 8 sequence numbers  20, 24 version  28 type  32 format
//	  36 root key  40 bytes of all bins  508 xor of the 127 words before
//	bins         "hbin", each a header of 32 bytes and cells
//	cell         -size 4, then size-4 bytes; a size above 0 is a free cell
//	  "nk"       a key: 2 flags 2  20 subkeys 4  28 list of them 4
//	             36 values 4  40 list of them 4  72 length of the name 2  76 name
//	  "li"       2 count 2, then the places of keys
//	  "lf" "lh"  2 count 2, then of each its place and a hash
//	  "ri"       2 count 2, then the places of lists of the kinds above
//	  "vk"       2 length of the name 2  4 size of the data 4  8 place 4
//	             12 type 4  16 flags 2  20 name
//
// All numbers are little-endian; a place counts from the first bin. Names are
// Latin-1 where a flag says so (0x20 of a key, 1 of a value), else UTF-16. Data
// of up to 4 bytes lies in the place itself, which bit 31 of its size tells.
//
// A hive is written in two steps, between which its sequence numbers differ: then
// changes may lie in the logs beside it (.LOG1, .LOG2) only, and Dirty says so.
// Logs are not replayed: a value is one that the key had, or still has.
//
// The hive is the guest's and hostile: every call reads a bounded number of
// bytes, lists may contradict each other, and a list of lists holds no further
// one, so that nothing goes in a circle.
package regf
