package pack

import "fmt"

// DamageKind says how a chunk did not come back as it was stored. The three
// are never confused: the first two prove damage, the third does not.
type DamageKind uint8

const (
	Corrupt    DamageKind = iota + 1 // bytes came back and are wrong
	Missing                          // the pack or the record is gone
	Unreadable                       // an I/O or network error; tried again later
)

func (k DamageKind) String() string {
	switch k {
	case Corrupt:
		return "corrupt"
	case Missing:
		return "missing"
	case Unreadable:
		return "unreadable"
	}
	return fmt.Sprintf("damage kind %d", uint8(k))
}

// Damage is a chunk that did not come back as it was stored. It is the one
// corruption error of the store.
type Damage struct {
	Kind   DamageKind
	ID     ID
	Pack   uint64
	Offset int64 // of the record in the pack
	Length int   // of the record
	Err    error // what was seen
}

func (d *Damage) Error() string {
	return fmt.Sprintf("chunk %v is %v (pack %016x, offset %d, %d bytes): %v", d.ID, d.Kind, d.Pack, d.Offset, d.Length, d.Err)
}

func (d *Damage) Unwrap() error { return d.Err }
