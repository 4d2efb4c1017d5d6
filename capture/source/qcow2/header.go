package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"holdfast/capture/source"
)

const (
	magic         = "QFI\xfb"
	headerLenV2   = 72
	headerLenV3   = 104 // smallest one of version 3
	minClusterLog = 9   // 512 bytes
	maxClusterLog = 21  // 2 MiB
	maxL1Bytes    = 32 << 20
	maxNameLen    = 1023 // of the backing file
	subclusters   = 32   // in a cluster with extended L2 entries
	minSubCluster = 512
)

// Bits of incompatible_features.
const (
	incompatDirty       = 1 << 0
	incompatCorrupt     = 1 << 1
	incompatDataFile    = 1 << 2
	incompatCompression = 1 << 3
	incompatExtendedL2  = 1 << 4
	incompatKnown       = 1<<5 - 1
)

// Types of header extensions.
const (
	extEnd           = 0
	extBackingFormat = 0xe2792aca
	extFeatureNames  = 0x6803f857
	extDataFile      = 0x44415441
)

// Values of compression_type.
const (
	compressionZlib = 0
	compressionZstd = 1
)

// header is the checked content of the image's first cluster.
type header struct {
	version     uint32
	clusterLog  uint
	size        int64 // guest bytes
	l1Off       int64
	l1Entries   int64
	snapshots   uint32
	features    uint64 // incompatible ones
	compression uint8

	backing       string // "" for none
	backingFormat string // in qemu's words; "" if not told
	dataFile      string // "" for none
}

func (h *header) clusterSize() int64 { return 1 << h.clusterLog }

// extendedL2 tells whether L2 entries are 16 bytes with a subcluster bitmap.
func (h *header) extendedL2() bool { return h.features&incompatExtendedL2 != 0 }

// entryLen is the length of an L2 entry in bytes.
func (h *header) entryLen() int64 {
	if h.extendedL2() {
		return 16
	}
	return 8
}

// perL2 is the number of clusters that one L2 table maps.
func (h *header) perL2() int64 { return h.clusterSize() / h.entryLen() }

// readHeader reads and checks the first cluster of f.
func readHeader(f *source.File) (*header, error) {
	fixed := make([]byte, min(headerLenV3+1, max(f.Size(), headerLenV2)))
	if err := f.ReadFull(fixed, 0, "qcow2 header"); err != nil {
		return nil, err
	}
	h := &header{version: binary.BigEndian.Uint32(fixed[4:])}
	switch {
	case string(fixed[:4]) != magic:
		return nil, f.Corrupt(0, "not a qcow2 image: no magic number")
	case h.version != 2 && h.version != 3:
		return nil, f.Unsupported(fmt.Sprintf("qcow2 version %d", h.version), "")
	case h.version == 3 && len(fixed) < headerLenV3:
		return nil, f.Corrupt(f.Size(), "the qcow2 header is truncated")
	}
	headerLen, err := h.parseFixed(f, fixed)
	if err != nil {
		return nil, err
	}
	first := make([]byte, min(h.clusterSize(), f.Size()))
	if err := f.ReadFull(first, 0, "qcow2 header"); err != nil {
		return nil, err
	}
	names, err := h.parseExtensions(f, first, headerLen)
	if err != nil {
		return nil, err
	}
	return h, h.checkFeatures(f, names)
}

// parseFixed reads the fixed part and the backing file's name; it returns the
// length of the header, where the extensions begin.
func (h *header) parseFixed(f *source.File, b []byte) (int64, error) {
	clusterLog := binary.BigEndian.Uint32(b[20:])
	if clusterLog < minClusterLog || clusterLog > maxClusterLog {
		return 0, f.Corrupt(20, "cluster size of 2^%d bytes; 2^%d to 2^%d are possible", clusterLog, minClusterLog, maxClusterLog)
	}
	h.clusterLog = uint(clusterLog)
	switch method := binary.BigEndian.Uint32(b[32:]); method {
	case 0:
	case 1:
		return 0, f.Unsupported("AES encryption", decryptFirst)
	case 2:
		return 0, f.Unsupported("LUKS encryption", decryptFirst)
	default:
		return 0, f.Unsupported(fmt.Sprintf("encryption method %d", method), decryptFirst)
	}
	h.snapshots = binary.BigEndian.Uint32(b[60:])
	headerLen := int64(headerLenV2)
	if h.version == 3 {
		h.features = binary.BigEndian.Uint64(b[72:])
		headerLen = int64(binary.BigEndian.Uint32(b[100:]))
		if headerLen < headerLenV3 || headerLen > h.clusterSize() {
			return 0, f.Corrupt(100, "header length of %d bytes; %d to %d are possible", headerLen, headerLenV3, h.clusterSize())
		}
		if headerLen > headerLenV3 {
			if len(b) <= headerLenV3 {
				return 0, f.Corrupt(headerLenV3, "the qcow2 header is truncated")
			}
			h.compression = b[headerLenV3]
		}
	}
	if err := h.parseSizes(f, b); err != nil {
		return 0, err
	}
	return headerLen, h.parseBacking(f, b)
}

const decryptFirst = "capture the disk from inside the guest or decrypt the image with qemu-img convert"

// parseSizes checks the disk's size against the L1 table that must map it.
func (h *header) parseSizes(f *source.File, b []byte) error {
	size := binary.BigEndian.Uint64(b[24:])
	perL1 := uint64(h.perL2()) << h.clusterLog
	need := size / perL1
	if size%perL1 != 0 {
		need++
	}
	entries := uint64(binary.BigEndian.Uint32(b[36:]))
	if size > math.MaxInt64 || need > maxL1Bytes/8 || entries > maxL1Bytes/8 {
		return f.Corrupt(24, "disk size of %d bytes needs an L1 table beyond the limit of %d bytes", size, maxL1Bytes)
	}
	if entries < need {
		return f.Corrupt(36, "the L1 table has %d entries, the disk of %d bytes needs %d", entries, size, need)
	}
	l1Off := binary.BigEndian.Uint64(b[40:])
	if l1Off > math.MaxInt64 || l1Off%uint64(h.clusterSize()) != 0 {
		return f.Corrupt(40, "the L1 table at byte %d does not begin at a cluster", l1Off)
	}
	// Guests see whole sectors; so does qemu, which rounds down.
	h.size = int64(size) / source.SectorSize * source.SectorSize
	h.l1Off, h.l1Entries = int64(l1Off), int64(need)
	if h.l1Off > f.Size() || h.l1Entries*8 > f.Size()-h.l1Off {
		return f.Corrupt(h.l1Off, "the L1 table reaches beyond the end of the file (%d bytes): the image is truncated", f.Size())
	}
	return nil
}

func (h *header) parseBacking(f *source.File, b []byte) error {
	off, n := binary.BigEndian.Uint64(b[8:]), int64(binary.BigEndian.Uint32(b[16:]))
	if off == 0 || n == 0 {
		return nil
	}
	if n > maxNameLen || off > uint64(h.clusterSize()) || n > h.clusterSize()-int64(off) {
		return f.Corrupt(8, "the backing file's name (%d bytes at byte %d) lies outside of the first cluster", n, off)
	}
	name := make([]byte, n)
	if err := f.ReadFull(name, int64(off), "name of the backing file"); err != nil {
		return err
	}
	h.backing = string(name)
	return nil
}

// parseExtensions walks the header extensions in the first cluster; it
// returns the names of incompatible features that the image itself gives.
func (h *header) parseExtensions(f *source.File, first []byte, off int64) (map[int]string, error) {
	names := map[int]string{}
	end := int64(len(first))
	if back := int64(binary.BigEndian.Uint64(first[8:])); h.backing != "" && back >= off {
		end = min(end, back) // the name may follow the extensions without an end mark
	}
	for off+8 <= end {
		kind, n := binary.BigEndian.Uint32(first[off:]), int64(binary.BigEndian.Uint32(first[off+4:]))
		if kind == extEnd {
			return names, nil
		}
		if n > end-off-8 {
			return nil, f.Corrupt(off, "header extension %#x of %d bytes reaches out of the first cluster", kind, n)
		}
		body := first[off+8 : off+8+n]
		switch kind {
		case extBackingFormat:
			h.backingFormat = string(body)
		case extDataFile:
			h.dataFile = string(body)
		case extFeatureNames:
			readFeatureNames(body, names)
		}
		off += 8 + (n+7)/8*8
	}
	return names, nil
}

// readFeatureNames reads the table of feature names: entries of 48 bytes with
// type (0 is incompatible), bit number and name padded with NUL.
func readFeatureNames(body []byte, names map[int]string) {
	for ; len(body) >= 48; body = body[48:] {
		if body[0] == 0 {
			names[int(body[1])] = strings.TrimRight(string(body[2:48]), "\x00")
		}
	}
}

// checkFeatures refuses what cannot be read rightly, by name.
func (h *header) checkFeatures(f *source.File, names map[int]string) error {
	if unknown := h.features &^ incompatKnown; unknown != 0 {
		var list []string
		for bit := range 64 {
			if unknown>>bit&1 == 0 {
				continue
			}
			name := fmt.Sprintf("bit %d", bit)
			if names[bit] != "" {
				name += fmt.Sprintf(" (%q)", names[bit])
			}
			list = append(list, name)
		}
		return f.Unsupported("the incompatible feature "+strings.Join(list, ", "), "")
	}
	if h.features&incompatCorrupt != 0 {
		return fmt.Errorf("%w; repair it with qemu-img check -r all", f.Corrupt(72, "the image is marked as corrupt"))
	}
	switch {
	case h.compression > compressionZstd:
		return f.Unsupported(fmt.Sprintf("compression type %d", h.compression), "")
	case (h.compression != compressionZlib) != (h.features&incompatCompression != 0):
		return f.Corrupt(headerLenV3, "compression type %d does not agree with the feature bits %#x", h.compression, h.features)
	case h.extendedL2() && h.clusterSize() < subclusters*minSubCluster:
		return f.Corrupt(20, "extended L2 entries with clusters of %d bytes; %d are needed", h.clusterSize(), subclusters*minSubCluster)
	case h.features&incompatDataFile != 0 && h.dataFile == "":
		return errors.New(f.Name() + ": keeps its data in an external file but does not name it; set it with qemu-img amend -o data_file=FILE")
	}
	return nil
}
