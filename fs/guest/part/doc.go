// Package part reads partition tables.
//
// GPT (UEFI specification 2.10, section 5.3), sectors of 512 or 4096 bytes:
//
//	sector 0     protective MBR: one entry of type 0xEE over the disk
//	sector 1     header: "EFI PART", its CRC, where its twin and the entries lie
//	sector 2…    entries of 128 bytes: type, UUID, first and last sector, name
//	last sector  the twin of the header, its own entries before it
//
// The header found at byte 512 or 4096 tells the size of a sector. When it or
// its entries fail their CRC the twin is used, found by the good header, by
// the protective entry's end or at the disk's end. As in the kernel a GPT
// counts only beside a protective entry: what an old GPT left on a disk that
// was given another table or filesystem is not one.
//
// MBR:
//
//	446  4 entries of 16 bytes: boot flag, CHS, type, CHS, start, count
//	510  0x55 0xAA
//
// An entry of type 5, 0xf or 0x85 holds a chain of such sectors, each with one
// logical partition, whose start counts from its own sector, and a link, which
// counts from the chain's first sector.
//
// A filesystem on the whole disk often has a boot sector that ends like an
// MBR: it is told apart by the entries making no sense.
package part
