// Package vhd reads Virtual PC and Hyper-V VHD images: fixed, dynamic and
// differencing. Source: "Virtual Hard Disk Image Format Specification",
// Microsoft, version 1.0 (2006). All numbers are big-endian.
//
//	fixed:    guest bytes, footer
//	others:   copy of the footer, dynamic header, BAT, blocks, footer
//
// Footer, 512 bytes (511 before Virtual PC 2004: the last reserved byte is
// missing), the last bytes of the file:
//
//	 0  8  cookie "conectix"
//	 8  4  features
//	12  4  format version, 0x00010000
//	16  8  offset of the dynamic header; all ones for a fixed disk
//	24  4  time of creation, seconds since 2000-01-01 UTC
//	28 12  creator: application, version, host system
//	40  8  size at creation
//	48  8  current size: the size of the disk (see below)
//	56  4  geometry
//	60  4  type: 2 fixed, 3 dynamic, 4 differencing
//	64  4  checksum: the complement of the sum of all bytes but these four
//	68 16  UUID
//
// Dynamic header, 1024 bytes:
//
//	  0  8  cookie "cxsparse"
//	 16  8  offset of the BAT
//	 24  4  header version, 0x00010000
//	 28  4  number of BAT entries
//	 32  4  block size, a power of two
//	 36  4  checksum, as above
//	 40 16  UUID of the parent
//	 56  4  modification time of the parent
//	 64 512 name of the parent, UTF-16BE
//	576 8*24 parent locators: platform code, space, length, reserved, offset
//
// The BAT holds a sector number (4 bytes) for each block, all ones where the
// block is not there. A block is a sector bitmap, padded to 512 bytes, then
// the guest bytes. In a differencing disk a clear bit sends the reader to the
// parent, the first sector's bit being the highest of its byte.
//
// Where readers differ:
//
//   - Size. Hyper-V and Azure take the current size of the footer, qemu the
//     geometry unless it knows the creator. A restore must keep the size that
//     Hyper-V knows, so this reader takes the current size always.
//   - The bitmap of a dynamic disk. qemu does not look at it, libvhdi reads
//     zeros below its clear bits. Images of qemu (all bits set) and of
//     Hyper-V (zeros below clear bits) read the same either way. For the rest
//     this reader follows qemu: taking a sector that was never written is
//     harmless, leaving out one that was is not.
package vhd
