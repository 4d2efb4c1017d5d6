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
package catalog
