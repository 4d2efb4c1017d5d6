package chunkstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

const (
	keyChunk = 'c'
	keyPack  = 'p'
	keyRoot  = 'r'

	// What follows is rebuilt by the next scrub where it is lost.
	keyDamage   = 'd'
	keyProof    = 's'
	keyReplaced = 'q'
	keyState    = 'w'
	keyItem     = 'v'
	keyJob      = 'j'

	// What a prune knows; see prune.go. Lost with the index, it costs another
	// prune.
	keyPrune     = 'g'
	keyCondemned = 'x'
	keyWalked    = 'y'
	keySeen      = 'm'
	keyLooked    = 'l'
	keyDropped   = 'z'
	keyTrash     = 't'
	keyLostRoot  = 'u' // of a root whose record can't be read; see prune_lost.go

	placeLen    = 16
	packInfoLen = 29
)

// place is where a chunk lies.
type place struct {
	pack       uint64
	offset     uint32
	payloadLen uint32
}

func (p place) recordLen() int { return pack.RecordHeaderLen + int(p.payloadLen) }

func (p place) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, p.pack)
	b = binary.LittleEndian.AppendUint32(b, p.offset)
	return binary.LittleEndian.AppendUint32(b, p.payloadLen)
}

func parsePlace(b []byte) (place, error) {
	if len(b) != placeLen {
		return place{}, fmt.Errorf("index entry of %d bytes, want %d", len(b), placeLen)
	}
	p := place{
		pack:       binary.LittleEndian.Uint64(b),
		offset:     binary.LittleEndian.Uint32(b[8:]),
		payloadLen: binary.LittleEndian.Uint32(b[12:]),
	}
	if p.payloadLen > pack.MaxRecord-pack.RecordHeaderLen {
		return place{}, fmt.Errorf("index entry: payload of %d bytes", p.payloadLen)
	}
	return p, nil
}

// packInfo is what the index tells of a pack.
type packInfo struct {
	class   pack.Class
	records uint32
	plain   uint64
	stored  uint64
	size    uint64
}

func (p packInfo) append(b []byte) []byte {
	b = append(b, byte(p.class))
	b = binary.LittleEndian.AppendUint32(b, p.records)
	b = binary.LittleEndian.AppendUint64(b, p.plain)
	b = binary.LittleEndian.AppendUint64(b, p.stored)
	return binary.LittleEndian.AppendUint64(b, p.size)
}

func parsePackInfo(b []byte) (packInfo, error) {
	if len(b) != packInfoLen {
		return packInfo{}, fmt.Errorf("index: pack entry of %d bytes, want %d", len(b), packInfoLen)
	}
	return packInfo{
		class:   pack.Class(b[0]),
		records: binary.LittleEndian.Uint32(b[1:]),
		plain:   binary.LittleEndian.Uint64(b[5:]),
		stored:  binary.LittleEndian.Uint64(b[13:]),
		size:    binary.LittleEndian.Uint64(b[21:]),
	}, nil
}

func chunkKey(id ID) []byte { return append([]byte{keyChunk}, id[:]...) }

func packKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyPack}, n) }

func rootKey(name string) []byte { return append([]byte{keyRoot}, name...) }

// defaultIndexCache bounds Pebble's block cache, in bytes. Larger ones were measured to be
// no faster until everything fits; the page cache does the work.
const defaultIndexCache = 16 << 20

// openOrReplaceIndex opens the index. One that is damaged, or was half made when
// a crash came, is set aside and an empty one takes its place: adopt then fills
// it from the packs.
func openOrReplaceIndex(fsys vfs.FS, dir string, cache int64, log *slog.Logger, fatal func(error)) (*pebble.DB, error) {
	db, err := openIndex(fsys, dir, cache, log, fatal)
	if err == nil || !pebble.IsCorruptionError(err) && !errors.Is(err, fs.ErrNotExist) {
		return db, err
	}
	aside, serr := setAside(fsys, dir, "damaged")
	if serr != nil {
		return nil, errors.Join(err, serr)
	}
	log.Error("the index is damaged; it is set aside and made anew from the packs", "err", err, "aside", aside)
	return openIndex(fsys, dir, cache, log, fatal)
}

// setAside renames a directory to the first free name of its kind.
func setAside(fsys vfs.FS, dir, why string) (string, error) {
	for n := 1; ; n++ {
		aside := fmt.Sprintf("%s.%s-%d", dir, why, n)
		if _, err := fsys.Stat(aside); errors.Is(err, fs.ErrNotExist) {
			return aside, fsys.Rename(dir, aside)
		} else if err != nil {
			return "", err
		}
	}
}

// indexBaseBytes bounds the level that what was written last is merged into. Ids lie
// anywhere, so each merge of a few MiB rewrites all of that level: with Pebble's own
// 64 MiB, a capture in 50 million chunks had the index write 35 MB for 1.2, with these 12.
const indexBaseBytes = 16 << 20

// IndexOptions are those that decide how the index is written; for programs that
// make one without a store (benchmarks/scale).
func IndexOptions(fsys vfs.FS) *pebble.Options {
	opts := &pebble.Options{FS: fsys, MemTableSize: 16 << 20, MaxOpenFiles: 256, LBaseMaxBytes: indexBaseBytes}
	// Hashes don't compress; without compression gets cost a quarter less.
	opts.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	return opts
}

// openIndex opens the index, whose block cache has so many bytes at the most.
func openIndex(fsys vfs.FS, dir string, cache int64, log *slog.Logger, fatal func(error)) (*pebble.DB, error) {
	blocks := pebble.NewCache(cache)
	defer blocks.Unref()
	opts := IndexOptions(fsys)
	opts.Cache, opts.Logger = blocks, indexLog{log, fatal}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("open index %s: %w", dir, err)
	}
	return db, nil
}

// indexLog hands Pebble's own messages on: chatter as debug, failures as errors.
type indexLog struct {
	log   *slog.Logger
	fatal func(error)
}

func (l indexLog) Infof(format string, args ...any) {
	l.log.Debug(fmt.Sprintf(format, args...), "part", "index")
}

func (l indexLog) Errorf(format string, args ...any) {
	l.log.Error(fmt.Sprintf(format, args...), "part", "index")
}

// Fatalf is called where Pebble can't go on, such as a failed write of its
// log where not even the reserve helps. It must not return. What is on disk is as after a crash, which loses
// nothing.
func (l indexLog) Fatalf(format string, args ...any) {
	err := fmt.Errorf("index: "+format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok && errors.Is(full(cause), ErrFull) {
			err = fmt.Errorf("%w: %w", ErrFull, err)
			break
		}
	}
	l.log.Error(err.Error(), "part", "index")
	if l.fatal != nil {
		l.fatal(err)
	}
	panic(err)
}

// hasKey reports whether the index has a key.
func (s *Store) hasKey(key []byte) (bool, error) {
	_, closer, err := s.index.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, closer.Close()
}

// lookup returns where a published chunk lies.
func (s *Store) lookup(id ID) (place, bool, error) {
	v, closer, err := s.index.Get(chunkKey(id))
	if errors.Is(err, pebble.ErrNotFound) {
		return place{}, false, nil
	}
	if err != nil {
		return place{}, false, fmt.Errorf("look up chunk %v: %w", id, err)
	}
	defer closer.Close()
	p, err := parsePlace(v)
	if err != nil {
		return place{}, false, fmt.Errorf("look up chunk %v: %w", id, err)
	}
	return p, true, nil
}
