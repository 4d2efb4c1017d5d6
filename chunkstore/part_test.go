package chunkstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/pack"
)

const (
	testFrame  = 16 << 10
	frameEntry = 20 // of the table: length and sum
)

// injuryKind says what is to be expected.
type injuryKind int

const (
	needsParity injuryKind = iota // without it the read fails
	harmless                      // the bytes are there: they come, if need be as a whole chunk
	tooMuch                       // for the parity of a pack as small as this
)

// partInjuries hurt record a, or a and b, of two chunks whose frames are all
// stored as they are, so that every frame begins where arithmetic says.
var partInjuries = []struct {
	name string
	hurt func(a, b []byte)
	is   injuryKind
}{
	{"a bit of a frame", func(a, _ []byte) { frameIn(a, 1)[500] ^= 1 }, needsParity},
	{"a whole frame zeroed", func(a, _ []byte) { clear(frameIn(a, 2)) }, needsParity},
	{"the last frame", func(a, _ []byte) { a[len(a)-1] ^= 0x80 }, needsParity},
	{"a frame's sum", func(a, _ []byte) { a[pack.RecordHeaderLen+frameEntry+7] ^= 1 }, harmless},
	{"a frame's length", func(a, _ []byte) { a[pack.RecordHeaderLen+1] ^= 1 }, needsParity},
	{"a length beyond the record", func(a, _ []byte) { binary.LittleEndian.PutUint32(a[pack.RecordHeaderLen:], 1<<31) }, needsParity},
	{"a length of nothing", func(a, _ []byte) { binary.LittleEndian.PutUint32(a[pack.RecordHeaderLen+2*frameEntry:], 0) }, needsParity},
	{"two entries exchanged", func(a, _ []byte) {
		swap(a[pack.RecordHeaderLen:][:frameEntry], a[pack.RecordHeaderLen+frameEntry:][:frameEntry])
	}, harmless},
	{"two frames exchanged with their entries", func(a, _ []byte) {
		swap(a[pack.RecordHeaderLen:][:frameEntry], a[pack.RecordHeaderLen+frameEntry:][:frameEntry])
		swap(frameIn(a, 0), frameIn(a, 1))
	}, needsParity},
	{"frames of two chunks exchanged with their entries", func(a, b []byte) {
		swap(a[pack.RecordHeaderLen:][:frameEntry], b[pack.RecordHeaderLen:][:frameEntry])
		swap(frameIn(a, 0), frameIn(b, 0))
	}, needsParity},
	{"all of two chunks exchanged but the headers", func(a, b []byte) { swap(a[pack.RecordHeaderLen:], b[pack.RecordHeaderLen:]) }, tooMuch},
	{"two records exchanged", swap, tooMuch},
	{"the magic", func(a, _ []byte) { a[0] ^= 1 }, needsParity},
	{"the codec", func(a, _ []byte) { a[5] = 0 }, needsParity},
	{"the frames' size, halved", func(a, _ []byte) { a[6]-- }, needsParity},
	{"the frames' size, doubled", func(a, _ []byte) { a[6]++ }, needsParity},
	{"no frames", func(a, _ []byte) { a[6] = 0 }, needsParity},
	{"the plain length", func(a, _ []byte) { a[9] ^= 1 }, needsParity},
	{"the payload's length", func(a, _ []byte) { a[13] ^= 1 }, harmless},
	{"the chunk's id", func(a, _ []byte) { a[20] ^= 1 }, needsParity},
}

func frameIn(rec []byte, i int) []byte {
	at := pack.RecordHeaderLen + 4*frameEntry + i*testFrame
	return rec[at:min(at+testFrame, len(rec))]
}

func swap(a, b []byte) {
	t := bytes.Clone(a)
	copy(a, b)
	copy(b, t)
}

// TestHurtPartsHealOrFail reads all parts of chunks of which one or two are hurt,
// through the cache, in every way a record can be hurt: with parity every byte is
// as it was, without it the bytes are right or the read fails and the damage is
// noted; no other chunk notices.
func TestHurtPartsHealOrFail(t *testing.T) {
	for _, injury := range partInjuries {
		for _, noParity := range []bool{false, true} {
			fsys, want := storeOfNoise(t, CreateOptions{FrameSize: testFrame, NoParity: noParity})
			hurtRecords(t, fsys, want[3], want[7], injury.hurt)
			s := openStore(t, fsys, 0)
			c, err := cache.New(s, cache.Options{Part: testFrame, Poison: true})
			if err != nil {
				t.Fatal(err)
			}
			failed := readParts(t, injury.name, s, c, want)
			c.Close()
			fails := injury.is == tooMuch || injury.is == needsParity && noParity
			if fails != (failed > 0) {
				t.Errorf("%s: no parity %v: %d parts failed", injury.name, noParity, failed)
			}
			known := 0
			if err := s.Damage(context.Background(), func(DamagedChunk) error { known++; return nil }); err != nil {
				t.Fatal(err)
			}
			if (known > 0) != (failed > 0) {
				t.Errorf("%s: %d parts failed, %d chunks are known to be damaged", injury.name, failed, known)
			}
		}
	}
}

// storeOfNoise makes a store of chunks that don't compress and closes it.
func storeOfNoise(t *testing.T, opts CreateOptions) (vfs.FS, [][]byte) {
	t.Helper()
	opts.FS = vfs.NewMem()
	if _, err := Create("/store", opts); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, opts.FS, 0)
	ses := begin(t, s)
	var want [][]byte
	for i := range 12 {
		plain := make([]byte, 60000)
		rand.NewChaCha8([32]byte{byte(i), 9}).Read(plain)
		want = append(want, plain)
		mustPut(t, s, ses, pack.KindData, plain)
	}
	if err := ses.Commit(context.Background(), "v", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return opts.FS, want
}

// readParts reads every part of every chunk, alone, and returns how many failed:
// none but of chunks 3 and 7.
func readParts(t *testing.T, name string, s *Store, c *cache.Cache, want [][]byte) (failed int) {
	t.Helper()
	for n, w := range want {
		for i := range 4 {
			ch := c.BeginPart(s.ID(w), len(w), i)
			err := ch.Wait(context.Background(), len(w))
			from, to := i*testFrame, min(len(w), (i+1)*testFrame)
			var d *pack.Damage
			switch {
			case err == nil && !bytes.Equal(ch.Slice(from, to), w[from:to]):
				t.Fatalf("%s: wrong bytes of chunk %d, part %d were served", name, n, i)
			case err == nil:
			case n != 3 && n != 7 || !errors.As(err, &d) || d.Kind != pack.Corrupt:
				t.Fatalf("%s: chunk %d, part %d: %v", name, n, i, err)
			default:
				failed++
			}
			ch.Release()
		}
	}
	return failed
}

// hurtRecords hurts the records of two chunks where they lie.
func hurtRecords(t *testing.T, fsys vfs.FS, a, b []byte, hurt func(a, b []byte)) {
	t.Helper()
	s := openStore(t, fsys, 0)
	var at [2]place
	for i, plain := range [][]byte{a, b} {
		var ok bool
		if at[i], ok, _ = s.lookup(s.ID(plain)); !ok {
			t.Fatal("a chunk is not there")
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	in := func(p []byte, at place) []byte { return p[at.offset:][:at.recordLen()] }
	hurtPacks(t, fsys, func(p []byte) []byte {
		if h, err := pack.ParseHeader(p); err == nil && h.Pack == at[0].pack && at[1].pack == h.Pack {
			hurt(in(p, at[0]), in(p, at[1]))
		}
		return p
	})
}

// TestPartsOfChunksInFlight reads parts of what is not yet in the index, and of
// what the store does not have.
func TestPartsOfChunksInFlight(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 0)
	ses := begin(t, s)
	plain := chunkOf(1, 60000)
	id := mustPut(t, s, ses, pack.KindData, plain)
	got, whole, err := s.GetPart(context.Background(), id, nil, pack.Part{Chunk: len(plain), From: testFrame, To: 2 * testFrame})
	if err != nil || whole || !bytes.Equal(got, plain[testFrame:2*testFrame]) {
		t.Errorf("whole %v: %v", whole, err)
	}
	if _, _, err = s.GetPart(context.Background(), ID{1}, nil, pack.Part{Chunk: 60000, From: 0, To: testFrame}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}
