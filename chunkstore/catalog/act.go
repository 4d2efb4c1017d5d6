package catalog

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"holdfast/chunkstore"
)

const (
	actPrefix    = "m"
	policyPrefix = "p"

	// seqLen is the length of a sequence number in a root's name: it is on disk.
	seqLen = 16

	actFormat  = 1
	actHead    = 1 + 2
	maxID      = 255
	maxEntries = (chunkstore.MaxRootBody - actHead) / (1 + 16 + 1 + len(idLayout) + 3)
)

// Mark is what was said of a version. The bits are on disk.
type Mark uint8

const (
	Forgotten Mark = 1 << iota // it is not shown, and the next pruning may take it away
	Pinned                     // it is never forgotten; with Forgotten: it is being undeleted

	knownMarks = Forgotten | Pinned
)

// Has reports whether all of the bits are set.
func (m Mark) Has(bits Mark) bool { return m&bits == bits }

// identity tells a version from another that bore the same id before or will
// bear it later: half the SHA-256 of its root's body.
type identity [16]byte

func identityOf(body []byte) identity {
	sum := sha256.Sum256(body)
	return identity(sum[:16])
}

// entry is what an act says of one version: all that is to hold from then on.
type entry struct {
	id   string
	of   identity
	mark Mark
}

// appendSeq adds a sequence number to a root's name.
func appendSeq(prefix string, seq uint64) string { return fmt.Sprintf("%s%016x", prefix, seq) }

// parseSeq reads what stands behind the prefix.
func parseSeq(s string) (uint64, error) {
	seq, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != seqLen || appendSeq("", seq) != s {
		return 0, fmt.Errorf("%q is no sequence number", s)
	}
	return seq, nil
}

// seqPrefix begins the names of a VM's acts or policies; VM "" stands for all.
func seqPrefix(letter, vm string) string {
	return letter + strings.TrimPrefix(vmPrefix(vm), rootPrefix)
}

// parseSeqName splits the name of an act or a policy.
func parseSeqName(letter, name string) (vm string, seq uint64, err error) {
	rest, ok := strings.CutPrefix(name, letter)
	if ok {
		var tail string
		if vm, tail, err = parseRootName(rootPrefix + rest); err == nil {
			seq, err = parseSeq(tail)
		}
	}
	if !ok || err != nil {
		return "", 0, fmt.Errorf("root name %q is not of an act or a policy", name)
	}
	return vm, seq, nil
}

func encodeAct(entries []entry) ([]byte, error) {
	b := []byte{actFormat}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(entries)))
	for _, e := range entries {
		if e.id == "" || len(e.id) > maxID {
			return nil, fmt.Errorf("encode act: version id of %d bytes", len(e.id))
		}
		b = append(b, byte(e.mark))
		b = append(b, e.of[:]...)
		b = append(b, byte(len(e.id)))
		b = append(b, e.id...)
	}
	if len(entries) > 1<<16-1 || len(b) > chunkstore.MaxRootBody {
		return nil, fmt.Errorf("encode act: %d versions take %d bytes, at most %d fit", len(entries), len(b), chunkstore.MaxRootBody)
	}
	return b, nil
}

var errActCut = errors.New("decode act: it is cut off")

// decodeAct reads an act, which is not trusted.
func decodeAct(b []byte) ([]entry, error) {
	if len(b) < actHead {
		return nil, errActCut
	}
	if b[0] != actFormat {
		return nil, fmt.Errorf("decode act: format %d is not known: use a newer holdfast", b[0])
	}
	n := int(binary.LittleEndian.Uint16(b[1:]))
	b = b[actHead:]
	if n > len(b)/(1+16+1+1) {
		return nil, errActCut
	}
	entries := make([]entry, 0, n)
	for range n {
		if len(b) < 1+16+1 || len(b) < 1+16+1+int(b[17]) {
			return nil, errActCut
		}
		e := entry{mark: Mark(b[0]), of: identity(b[1:17]), id: string(b[18 : 18+int(b[17])])}
		if e.mark&^knownMarks != 0 {
			return nil, fmt.Errorf("decode act: marks %#x are not known: use a newer holdfast", e.mark)
		}
		if e.id == "" {
			return nil, errors.New("decode act: a version without an id")
		}
		entries = append(entries, e)
		b = b[18+int(b[17]):]
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("decode act: %d bytes too many", len(b))
	}
	return entries, nil
}
