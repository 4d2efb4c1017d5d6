package md

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/volume/mapped"
)

// spec is an array for which the test writes superblocks, as the kernel would
// (md_p.h); mdadm judges them. This machine's kernel has no md.
type spec struct {
	version  string
	level    int
	layout   uint32
	disks    int
	chunk    int64 // bytes
	sizes    []int64
	events   []uint64
	features []uint32
	roles    []uint16 // nil: each its own
}

const memberSize = 8 << 20

var arrayID = [16]byte{0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

func (s spec) size(i int) int64 {
	if i < len(s.sizes) {
		return s.sizes[i]
	}
	return memberSize
}

// place gives where superblock and data of a member lie, in bytes.
func (s spec) place(i int) (super, data, length int64) {
	size := s.size(i)
	switch s.version {
	case "1.0":
		super = (size/512 - 16) &^ 7 * 512
		return super, 0, super
	case "1.1":
		return 0, 1 << 20, size - 1<<20
	case "1.2":
		return 4096, 1 << 20, size - 1<<20
	}
	super = size&^(64<<10-1) - 64<<10
	return super, 0, super
}

// used is how much of each member the array takes.
func (s spec) used() int64 {
	least := int64(math.MaxInt64)
	for i := range s.disks {
		_, _, length := s.place(i)
		least = min(least, length)
	}
	return least &^ (128<<10 - 1) // whole rows of chunks, for far copies too
}

// member writes a member: each word of the data tells member and offset.
func (s spec) member(i int) []byte {
	b := make([]byte, s.size(i))
	for at := 0; at < len(b); at += 8 {
		binary.BigEndian.PutUint64(b[at:], word(i, int64(at)))
	}
	at, data, length := s.place(i)
	clear(b[at:min(at+4096, int64(len(b)))])
	if s.version == "0.90" {
		s.super090(b[at:], i)
	} else {
		s.super1(b[at:], i, at, data, length)
	}
	return b
}

func word(member int, off int64) uint64 { return uint64(member+1)<<56 | uint64(off) }

func (s spec) events1(i int) uint64 {
	if i < len(s.events) {
		return s.events[i]
	}
	return 17
}

func (s spec) super1(b []byte, i int, at, data, length int64) {
	le := binary.LittleEndian
	le.PutUint32(b, magic)
	le.PutUint32(b[4:], 1)
	if i < len(s.features) {
		le.PutUint32(b[8:], s.features[i])
	}
	copy(b[16:], arrayID[:])
	copy(b[32:], "host:data")
	le.PutUint64(b[64:], 1700000000)
	le.PutUint32(b[72:], uint32(s.level))
	le.PutUint32(b[76:], s.layout)
	if s.level > 0 {
		le.PutUint64(b[80:], uint64(s.used()/512))
	}
	le.PutUint32(b[88:], uint32(s.chunk/512))
	le.PutUint32(b[92:], uint32(s.disks))
	le.PutUint64(b[128:], uint64(data/512))
	le.PutUint64(b[136:], uint64(length/512))
	le.PutUint64(b[144:], uint64(at/512))
	le.PutUint32(b[160:], uint32(i))
	b[168] = byte(i + 1)
	le.PutUint64(b[192:], 1700000001)
	le.PutUint64(b[200:], s.events1(i))
	le.PutUint64(b[208:], math.MaxUint64)
	roles := s.roles
	if roles == nil {
		for k := range s.disks {
			roles = append(roles, uint16(k))
		}
	}
	le.PutUint32(b[220:], uint32(len(roles)))
	for k, r := range roles {
		le.PutUint16(b[256+2*k:], r)
	}
	le.PutUint32(b[216:], sum1(b[:256+2*len(roles)]))
}

func (s spec) super090(b []byte, i int) {
	put := func(word int, v uint32) { binary.LittleEndian.PutUint32(b[4*word:], v) }
	put(0, magic)
	put(2, 90)
	put(5, 0xdeadbeef)
	put(13, 1)
	put(14, 2)
	put(15, 3)
	put(7, uint32(s.level))
	if s.level > 0 {
		put(8, uint32(s.used()>>10))
	}
	put(9, uint32(s.disks))
	put(10, uint32(s.disks))
	put(11, 3)
	put(33, 1)
	put(34, uint32(s.disks))
	put(39, uint32(s.events1(i)))
	put(64, s.layout)
	put(65, uint32(s.chunk))
	for k := range s.disks {
		d := 128 + 32*k
		put(d, uint32(k))
		put(d+3, uint32(k))
		put(d+4, 6)
	}
	copy(b[4*992:4*1024], b[4*(128+32*i):])
	sum := uint64(0)
	for k := range 1024 {
		sum += uint64(binary.LittleEndian.Uint32(b[4*k:]))
	}
	put(38, uint32(sum)+uint32(sum>>32))
}

// members writes all members but those to leave out.
func (s spec) members(t testing.TB, without ...int) (list []Member, content map[string][]byte) {
	t.Helper()
	content = map[string][]byte{}
	for i := range s.disks {
		if contains(without, i) {
			continue
		}
		content[fmt.Sprint(i)] = s.member(i)
		list = append(list, probe(t, fmt.Sprint(i), content[fmt.Sprint(i)]))
	}
	return list, content
}

func probe(t testing.TB, name string, b []byte) Member {
	t.Helper()
	d := mapped.Disk(name, io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))))
	s, err := Probe(t.Context(), d)
	if err != nil {
		t.Fatalf("member %s: %v", name, err)
	}
	return Member{s, d}
}

func contains(list []int, i int) bool {
	for _, x := range list {
		if x == i {
			return true
		}
	}
	return false
}

// array assembles the one array of the members.
func array(t testing.TB, members []Member) Array {
	t.Helper()
	arrays, err := Assemble(t.Context(), members)
	if err != nil || len(arrays) != 1 {
		t.Fatalf("%d arrays, %v", len(arrays), err)
	}
	return arrays[0]
}

// examine has mdadm read a member; it gives its fields by name.
func examine(t testing.TB, content []byte) map[string]string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "member")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for _, line := range strings.Split(guesttest.Run(t, "mdadm", "--examine", path), "\n") {
		if k, v, ok := strings.Cut(line, " : "); ok {
			fields[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
	}
	return fields
}
