package vhdx

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// guid is a GUID as it lies in the file: its first three fields are
// little-endian.
type guid [16]byte

func (g guid) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(g[:]),
		binary.LittleEndian.Uint16(g[4:]), binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:])
}

// parseGUID reads the printed form, in any case, with or without braces.
func parseGUID(s string) (g guid, err error) {
	s = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "{"), "}")
	plain, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(plain) != len(g) {
		return guid{}, fmt.Errorf("%q is not a GUID", s)
	}
	copy(g[:], plain)
	binary.LittleEndian.PutUint32(g[:], binary.BigEndian.Uint32(plain))
	binary.LittleEndian.PutUint16(g[4:], binary.BigEndian.Uint16(plain[4:]))
	binary.LittleEndian.PutUint16(g[6:], binary.BigEndian.Uint16(plain[6:]))
	return g, nil
}

// mustGUID is parseGUID for the constants of the format.
func mustGUID(s string) guid {
	g, err := parseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}
