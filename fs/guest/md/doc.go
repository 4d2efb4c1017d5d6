// Package md reads Linux software RAID: the superblocks of the members and how
// the array's bytes lie on them. Formats: include/uapi/linux/raid/md_p.h, md(4).
//
//	0.90  4096 bytes, in the last 64 KiB that begin on such a boundary; words
//	      of 32 bits in the order of the machine that made it (little-endian
//	      ones are read)
//	1.0   in the last 8 to 12 KiB    1.1  at byte 0    1.2  at byte 4096
//
// A 1.x superblock (little-endian, its own place is in it):
//
//	 0  magic, major        72  level, layout       160  number of the device
//	 8  features            80  sectors used        200  events
//	16  UUID of the array   88  chunk, devices      208  resync has got to
//	32  name "host:name"   128  data: start, size   216  CRC, number of roles
//	64  time               144  own sector          256  roles, 16 bits each
//
// The member with the most events tells what the array is. A member that fell
// behind, has failed or is being rebuilt is not read. RAID 1 and 10 are
// readable as long as one good copy of everything is there.
package md
