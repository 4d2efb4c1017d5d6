// Package catalog knows VMs, versions and disks: what a store's roots mean.
//
// Each version is one root (package chunkstore), immutable once visible:
//
//	name  'v' escaped-VM-name 0x00 0x01 version-id
//	body  the version's manifest as JSON, at most chunkstore.MaxRootBody bytes
//
// In the escaped VM name a 0x00 byte is written 0x00 0xff, so that names of any
// bytes sort as themselves and end where they end. A version id is the
// version's time in UTC to the second, 2026-11-21T02-00-00Z, followed by -02 to
// -99 where a VM has several versions of that second: ids sort by time.
//
// # Acts
//
// Forgetting, undeleting, pinning and unpinning change no version. Each is an
// act, a root of its own:
//
//	name  'm' escaped-VM-name 0x00 0x01 sequence-number (16 hexadecimal digits)
//	body  format u8 (1), entries u16, then for each entry
//	      marks u8 (1 forgotten, 2 pinned, 3 being undeleted), the version's identity [16], id length u8, id
//
// An entry says all that holds of a version from then on; of several acts the one
// with the highest sequence number counts. Names are create-only, so of two who
// decide at once one fails and decides again: no clock and no lock is needed. The
// identity is the first half of the SHA-256 of the version's body: an act speaks
// of that version and never of a later one that got the same id.
//
// A version that is forgotten is not seen by any function here that does not say
// otherwise. Acts end by pruning (Doomed says when).
//
// # Policies
//
//	name  'p' escaped-VM-name 0x00 0x01 sequence-number
//	body  the policy as JSON; fields that are not known make it unreadable, for
//	      they may be a reason to keep what it would forget
//
// The VM without a name stands for all that have no policy of their own.
//
// # When the store is pruned
//
//	name  'q' 0x00 0x01 sequence-number
//	body  a Pruning as JSON; one that can't be read prunes nothing
package catalog
