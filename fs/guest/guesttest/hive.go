package guesttest

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Hive makes a registry hive with an empty root and runs a script of hivexsh on
// it.
func Hive(t testing.TB, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hive")
	if err := os.WriteFile(path, emptyHive(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("hivexsh", "-w", path)
	cmd.Stdin = strings.NewReader(script + "\ncommit\nquit\n")
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "hivexsh:") {
		t.Fatalf("hivexsh: %v\n%s", err, out)
	}
	return path
}

// emptyHive is a base block and one bin: the root key, whom it belongs to, and
// a free cell.
func emptyHive() []byte {
	const block, root, owner, free = 4096, 32, 32 + 96, 32 + 96 + 48
	le := binary.LittleEndian
	b := make([]byte, 2*block)
	copy(b, "regf")
	for at, v := range map[int]uint32{4: 1, 8: 1, 20: 1, 24: 3, 32: 1, 36: root, 40: block, 44: 1} {
		le.PutUint32(b[at:], v)
	}
	bin := b[block:]
	copy(bin, "hbin")
	le.PutUint32(bin[8:], block)
	cell := func(at, size int, mark string) []byte {
		le.PutUint32(bin[at:], uint32(-int32(size)))
		copy(bin[at+4:], mark)
		return bin[at+4 : at+size]
	}
	key := cell(root, owner-root, "nk")
	le.PutUint16(key[2:], 0x2c) // the root, not to be deleted, name in Latin-1
	for _, at := range []int{28, 32, 40, 48} {
		le.PutUint32(key[at:], 0xffffffff)
	}
	le.PutUint32(key[44:], owner)
	le.PutUint16(key[72:], 4)
	copy(key[76:], "ROOT")
	sk := cell(owner, free-owner, "sk")
	for at, v := range map[int]uint32{4: owner, 8: owner, 12: 1, 16: 20} {
		le.PutUint32(sk[at:], v)
	}
	le.PutUint32(bin[free:], block-free)
	return sealHive(b)
}

// sealHive sets the checksum of a hive's base block.
func sealHive(b []byte) []byte {
	sum := uint32(0)
	for i := 0; i < 508; i += 4 {
		sum ^= binary.LittleEndian.Uint32(b[i:])
	}
	binary.LittleEndian.PutUint32(b[508:], sum)
	return b
}
