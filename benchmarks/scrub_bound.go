package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// What a deep scrub is held against: its chunks decoded and hashed in memory, by
// zstd in frames of the store's size. Beside it as if each chunk were one frame, and
// as the store's codec has them.
const (
	boundFrames = "zstd decode + BLAKE3 in memory, the same frames"
	boundWhole  = "zstd decode + BLAKE3 in memory, a frame a chunk"
	boundOwn    = "the store's codec decoded + BLAKE3 in memory"
)

// scrubBounds reads all records of a store into memory.
func scrubBounds(store string) ([]contestant, error) {
	cfg, err := chunkstore.ReadConfig(store)
	if err != nil {
		return nil, err
	}
	own, err := pack.NewCodec(cfg.Key, cfg.FrameSize, cfg.Compression, cfg.FormatVersion)
	if err != nil {
		return nil, err
	}
	framed, err := pack.NewCodec(cfg.Key, cfg.FrameSize, pack.CodecZstd, cfg.FormatVersion)
	if err != nil {
		return nil, err
	}
	whole, err := pack.NewCodec(cfg.Key, pack.MaxChunk, pack.CodecZstd, cfg.FormatVersion)
	if err != nil {
		return nil, err
	}
	list := []*struct {
		name    string
		codec   *pack.Codec
		records [][]byte
	}{{name: boundFrames, codec: framed}, {name: boundWhole, codec: whole}, {name: boundOwn, codec: own}}
	var bytes int64
	err = eachRecord(store, func(e pack.Entry, rec []byte) error {
		plain, err := own.Decode(nil, rec, e.ID)
		if err != nil {
			return err
		}
		for _, b := range list {
			b.records = append(b.records, b.codec.Encode(nil, e.Kind, e.ID, plain).Bytes)
		}
		bytes += int64(len(plain))
		return nil
	})
	if err != nil {
		return nil, err
	}
	var bounds []contestant
	for _, b := range list {
		prove := func(rec []byte, buf *[]byte) error {
			if cap(*buf) < pack.MaxChunk+pack.Slack {
				*buf = make([]byte, 0, pack.MaxChunk+pack.Slack)
			}
			_, err := b.codec.Decode(*buf, rec, pack.ID(rec[16:48]))
			return err
		}
		bounds = append(bounds, warmed(inMemory(b.name, runtime.NumCPU(), b.records, bytes, prove)))
	}
	return bounds, nil
}

// eachRecord calls do for each record of a store's packs.
func eachRecord(store string, do func(pack.Entry, []byte) error) error {
	paths, err := packsOf(store)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := eachRecordOf(path, do); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
	return nil
}

// packsOf are the pack files of a store; none is an error.
func packsOf(store string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(store, "packs", "*", "*.pack"))
	if err == nil && len(paths) == 0 {
		err = errors.New("there are none")
	}
	if err != nil {
		return nil, fmt.Errorf("find the packs of %s: %w", store, err)
	}
	return paths, nil
}

func eachRecordOf(path string, do func(pack.Entry, []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	_, entries, err := pack.ReadFooter(f, st.Size())
	if err != nil {
		return err
	}
	for _, e := range entries {
		rec := make([]byte, e.RecordLen())
		if _, err := f.ReadAt(rec, int64(e.Offset)); err != nil {
			return err
		}
		if err := do(e, rec); err != nil {
			return err
		}
	}
	return nil
}
