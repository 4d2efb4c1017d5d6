package exfat

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf16"

	"holdfast/fs/guest"
	"holdfast/fs/guest/fat/chain"
)

// A file is a set of entries of 32 bytes (7.4, 7.6, 7.7): of the file
//
//	0 type 0x85  1 entries that follow 1  2 checksum 2  4 attributes 2
//	8 birth 4  12 change 4  16 access 4  20 birth, 10 ms 1  21 change, 10 ms 1
//	22 zones of birth, change, access 1 each
//
// of its stream
//
//	0 type 0xc0  1 flags 1  3 length of the name 1  8 valid length 8
//	20 cluster 4  24 length 8
//
// and of its name
//
//	0 type 0xc1  2 characters 30
const (
	typeBitmap = 0x81
	typeLabel  = 0x83
	typeFile   = 0x85
	typeStream = 0xc0
	typeName   = 0xc1

	attrReadOnly = 0x01
	attrDir      = 0x10

	flagInOneRun = 0x02

	maxSet       = 1 + 18 // entries of a file's set
	inName       = 15     // characters in an entry
	maxDirectory = 256 << 20

	rootNode = 1
	oneRun   = 1 << 62 // of a node: its directory lies in one run
)

// stream is where content lies.
type stream struct {
	cluster     uint32
	oneRun      bool
	size, valid int64
}

// file is one file, by its first two entries.
type file struct {
	stream
	attr uint16
	raw  [entryLen]byte
}

func (x *file) dir() bool { return x.attr&attrDir != 0 }

// parseFile reads the entries of the file and of its stream.
func (f *FS) parseFile(b []byte) (file, error) {
	s := b[entryLen:]
	x := file{attr: le.Uint16(b[4:]), raw: [entryLen]byte(b)}
	valid, size := le.Uint64(s[8:]), le.Uint64(s[24:])
	x.stream = stream{cluster: le.Uint32(s[20:]), oneRun: s[1]&flagInOneRun != 0, size: int64(size), valid: int64(valid)}
	clusters := (size + uint64(f.g.cluster) - 1) / uint64(f.g.cluster)
	switch {
	case size > math.MaxInt64-1<<32 || valid > size || clusters > uint64(f.g.clusters):
		return x, guest.Corrupt("exfat: a file of %d bytes, %d of them valid", size, valid)
	case size > 0 && !f.g.has(x.cluster), size > 0 && x.oneRun && clusters > uint64(f.g.clusters-(x.cluster-firstCluster)):
		return x, guest.Corrupt("exfat: a file of %d bytes begins with cluster %d of %d", size, x.cluster, f.g.clusters)
	case x.dir() && size > maxDirectory:
		return x, guest.Corrupt("exfat: a directory of %d bytes", size)
	}
	return x, nil
}

// eachRun calls fn for the runs of a stream from a cluster of it on.
func (f *FS) eachRun(ctx context.Context, s stream, from uint32, fn func(chain.Run) bool) error {
	count := uint32((s.size + f.g.cluster - 1) / f.g.cluster)
	if !s.oneRun {
		return f.table.Each(ctx, s.cluster, from, count, fn)
	}
	if from < count {
		fn(chain.Run{Cluster: s.cluster, Count: count})
	}
	return nil
}

// found is one name of a directory.
type found struct {
	file
	name   string
	node   guest.Node
	cookie uint64 // number of the first entry, and 1
}

// set collects the entries of a file.
type set struct {
	b      []byte
	place  int64
	number uint64
	want   int // bytes
}

// eachFound calls fn for the files of a directory, until fn returns false.
// Damaged sets are passed over, and the first is the error in the end.
func (f *FS) eachFound(ctx context.Context, dir stream, fn func(found) bool) error {
	var s set
	var damage error
	number, more := uint64(0), true
	err := f.eachEntry(ctx, dir, func(place int64, b []byte) bool {
		number++
		if b[0] == typeFile {
			s = set{place: place, number: number, want: (1 + int(b[1])) * entryLen}
		}
		if s.want == 0 {
			return true
		}
		s.b = append(s.b, b...)
		if len(s.b) < s.want && b[0]&0x80 != 0 && len(s.b) < maxSet*entryLen {
			return true
		}
		x, err := f.parseSet(s)
		s = set{}
		if err != nil {
			if damage == nil {
				damage = fmt.Errorf("byte %d of the volume: %w", place, err)
			}
			return true
		}
		if dir.oneRun {
			x.node |= oneRun
		}
		more = fn(x)
		return more
	})
	if err != nil || !more {
		return err
	}
	return damage
}

// parseSet verifies a set and reads it.
func (f *FS) parseSet(s set) (found, error) {
	const least = 3 * entryLen
	if len(s.b) != s.want || len(s.b) < least || s.b[entryLen] != typeStream {
		return found{}, guest.Corrupt("exfat: a set of %d entries is not whole", s.want/entryLen)
	}
	if !f.lax && setSum(s.b) != le.Uint16(s.b[2:]) {
		return found{}, guest.Corrupt("exfat: the checksum of a set of entries is wrong")
	}
	x, err := f.parseFile(s.b)
	if err != nil {
		return found{}, err
	}
	var units []uint16
	length := int(s.b[entryLen+3])
	for e := s.b[2*entryLen:]; len(e) >= entryLen && e[0] == typeName; e = e[entryLen:] {
		for i := range inName {
			units = append(units, le.Uint16(e[2+2*i:]))
		}
	}
	if length == 0 || length > len(units) {
		return found{}, guest.Corrupt("exfat: a name of %d characters in %d", length, len(units))
	}
	name := string(utf16.Decode(units[:length]))
	if name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return found{}, guest.Corrupt("exfat: a name that can't be, %.40q", name)
	}
	return found{x, name, guest.Node(s.place / entryLen), s.number + 1}, nil
}

// setSum is the checksum of a set but for itself (6.3.3).
func setSum(b []byte) (sum uint16) {
	for i, c := range b {
		if i != 2 && i != 3 {
			sum = sum>>1 + sum<<15 + uint16(c)
		}
	}
	return sum
}

// eachEntry calls fn for the entries of a directory up to its end mark.
func (f *FS) eachEntry(ctx context.Context, dir stream, fn func(place int64, b []byte) bool) error {
	var failed error
	more := true
	err := f.eachRun(ctx, dir, 0, func(r chain.Run) bool {
		start := f.g.place(r.Cluster)
		for at, end := start, start+int64(r.Count)*f.g.cluster; at < end && more; {
			n := min(end-at, pageBytes-at%pageBytes)
			var b []byte
			if b, failed = f.read(ctx, at, n); failed != nil {
				return false
			}
			for i := int64(0); i+entryLen <= n && more; i += entryLen {
				more = b[i] != 0 && fn(at+i, b[i:][:entryLen])
			}
			at += n
		}
		return more
	})
	if failed != nil {
		return failed
	}
	return err
}

// file reads the file of a node.
func (f *FS) file(ctx context.Context, n guest.Node) (file, error) {
	if n == rootNode {
		return file{stream: f.root, attr: attrDir}, nil
	}
	place := int64(n&^oneRun) * entryLen
	absent := fmt.Errorf("exfat: node %d: %w", n, guest.ErrNotExist)
	if n&^oneRun >= guest.Node(f.g.size/entryLen) || place < f.g.heapAt {
		return file{}, absent
	}
	b, err := f.read(ctx, place, entryLen)
	if err != nil {
		return file{}, err
	}
	next, err := f.behind(ctx, place, n&oneRun != 0)
	if err != nil {
		return file{}, err
	}
	s, err := f.read(ctx, next, entryLen)
	if err != nil {
		return file{}, err
	}
	if b[0] != typeFile || s[0] != typeStream {
		return file{}, absent
	}
	return f.parseFile(append(b[:entryLen:entryLen], s...))
}

// behind gives the place of the entry that follows one.
func (f *FS) behind(ctx context.Context, place int64, contiguous bool) (int64, error) {
	next := place + entryLen
	if (next-f.g.heapAt)%f.g.cluster != 0 {
		return next, nil
	}
	cluster := uint32((place-f.g.heapAt)/f.g.cluster) + firstCluster
	following := cluster + 1
	var err error
	if !contiguous && f.g.has(cluster) {
		following, err = f.step(ctx, cluster)
	}
	if err == nil && !f.g.has(following) {
		err = guest.Corrupt("exfat: the set of entries at byte %d is cut off", place)
	}
	if err != nil {
		return 0, err
	}
	return f.g.place(following), nil
}

// parseTime reads a time (7.4.8) with its zone in quarters of an hour.
func parseTime(b []byte, hundredths, zone byte) time.Time {
	v := le.Uint32(b)
	month, day := max(int(v>>21&15), 1), max(int(v>>16&31), 1)
	t := time.Date(1980+int(v>>25), time.Month(month), day, int(v>>11&31), int(v>>5&63), int(v&31)*2, 0, time.UTC)
	t = t.Add(time.Duration(hundredths) * 10 * time.Millisecond)
	if zone&0x80 != 0 {
		t = t.Add(-time.Duration(int8(zone<<1)>>1) * 15 * time.Minute)
	}
	return t
}
