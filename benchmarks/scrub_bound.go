package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/klauspost/compress/zstd"

	"holdfast/chunkstore/pack"
)

// What a deep scrub is held against: the same chunks decoded and hashed in memory,
// in the frames in which they lie, and beside it as if each were one frame.
const (
	boundFrames = "zstd decode + BLAKE3 in memory, the same frames"
	boundWhole  = "zstd decode + BLAKE3 in memory, a frame a chunk"
)

// scrubBounds reads all records of a store into memory.
func scrubBounds(store string) (bounds []contestant, err error) {
	enc, err := newEncoder()
	if err != nil {
		return nil, err
	}
	dec, err := newDecoder()
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(store, "packs", "*", "*.pack"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("read the packs of %s: %d packs, %w", store, len(paths), err)
	}
	var records, whole [][]byte
	var bytes int64
	for _, path := range paths {
		recs, err := recordsOf(path)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		plain := make([]byte, 0, chunkSize+slack)
		for _, rec := range recs {
			if plain, err = decodeRecord(dec, rec, plain[:0]); err != nil {
				return nil, fmt.Errorf("read %s: %w", path, err)
			}
			whole, bytes = append(whole, enc.EncodeAll(plain, nil)), bytes+int64(len(plain))
		}
		records = append(records, recs...)
	}
	frames := func(rec []byte, buf *[]byte) error {
		if cap(*buf) < chunkSize+slack {
			*buf = make([]byte, 0, chunkSize+slack)
		}
		plain, err := decodeRecord(dec, rec, (*buf)[:0])
		if err != nil {
			return err
		}
		return hash(plain, nil)
	}
	cores := runtime.NumCPU()
	return []contestant{
		warmed(inMemory(boundFrames, cores, records, bytes, frames)),
		warmed(inMemory(boundWhole, cores, whole, bytes, decode(dec, hash))),
	}, nil
}

// recordsOf returns the records of a pack.
func recordsOf(path string) ([][]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, entries, err := pack.ReadFooter(f, int64(len(b)))
	if err != nil {
		return nil, err
	}
	recs := make([][]byte, len(entries))
	for i, e := range entries {
		end := int64(e.Offset) + int64(e.RecordLen())
		if end > int64(len(b)) {
			return nil, fmt.Errorf("record %d ends at byte %d of %d", i, end, len(b))
		}
		recs[i] = b[e.Offset:end:end]
	}
	return recs, nil
}

// decodeRecord appends the plain bytes of a record that is whole, as package pack
// draws it.
func decodeRecord(dec *zstd.Decoder, rec, buf []byte) ([]byte, error) {
	const tableEntry = 20 // 4 bytes of length, 16 of sum
	plainLen, payload := int(binary.LittleEndian.Uint32(rec[8:])), rec[pack.RecordHeaderLen:]
	if pack.CodecID(rec[5]) == pack.CodecRaw {
		return append(buf, payload...), nil
	}
	if rec[6] == 0 {
		return dec.DecodeAll(payload, buf)
	}
	size := 1 << rec[6]
	frames := (plainLen + size - 1) / size
	table, data := payload[:frames*tableEntry], payload[frames*tableEntry:]
	for i := range frames {
		n, plain := int(binary.LittleEndian.Uint32(table[i*tableEntry:])), min(size, plainLen-i*size)
		var err error
		if n == plain {
			buf = append(buf, data[:n]...)
		} else if buf, err = dec.DecodeAll(data[:n], buf); err != nil {
			return nil, err
		}
		data = data[n:]
	}
	return buf, nil
}
