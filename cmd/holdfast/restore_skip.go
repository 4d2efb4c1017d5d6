package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/chunkstore/owner"
	"holdfast/fs/restore"
	"holdfast/heal"
)

// skippedMap is the map of what a restore has left out, as it lies beside the
// image.
type skippedMap struct {
	VM      string            `json:"vm"`
	VMBytes []byte            `json:"vm_bytes,omitempty"` // where it is not UTF-8
	Version string            `json:"version"`
	Disk    string            `json:"disk"`
	DiskRaw []byte            `json:"disk_bytes,omitempty"`
	Out     string            `json:"out"`
	Format  string            `json:"format"`
	Bytes   int64             `json:"skipped_bytes"`
	Ranges  []restore.Skipped `json:"ranges"` // of the guest's disk; zeros in the image
	Files   []heal.HurtFile   `json:"files"`  // the guest's that lie there

	Unlisted int `json:"unlisted,omitempty"` // files beyond the bound of the list
}

// nameFiles names the guest's files that lie in what is left out. It reads the
// filesystems' metadata; the error is ctx's.
func (m *skippedMap) nameFiles(ctx context.Context, h *owner.Handle) error {
	chunk := heal.HurtChunk{}
	for _, r := range m.Ranges {
		chunk.Uses = append(chunk.Uses, heal.Use{VM: m.VM, Version: m.Version, Disk: m.Disk, Kind: r.What, Offset: r.Offset, Length: r.Length})
	}
	hurt := heal.HurtReport{Chunks: []heal.HurtChunk{chunk}, Files: []heal.HurtFile{}}
	err := heal.GuestFiles(ctx, h, &hurt)
	m.Files, m.Unlisted = hurt.Files, hurt.Unlisted
	return err
}

// writeSkipped writes the map, durably, and returns where it is: beside the
// image, or in the current directory where that is a device.
func writeSkipped(m skippedMap) (string, error) {
	for _, r := range m.Ranges {
		m.Bytes += r.Length
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return "", err
	}
	path := m.Out + ".skipped.json"
	if st, err := os.Stat(m.Out); err == nil && st.Mode()&os.ModeDevice != 0 {
		path = filepath.Base(path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".skipped-*")
	if err != nil {
		return "", fmt.Errorf("write the map of what is left out: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("write the map of what is left out: %w", err), os.Remove(f.Name()))
	}
	return path, nil
}

// skippedStatus is the error of a restore that left something out.
func skippedStatus(res restoreResult) error {
	var bytes int64
	for _, d := range res.Disks {
		bytes += d.SkippedBytes
	}
	if bytes == 0 {
		return nil
	}
	err := fmt.Errorf("%s are damaged and were left out: they are zeros in what was written", sizeText(bytes))
	return withStatus(exitDamage, withHint(err, "mend what can be mended and restore again: holdfast scrub --repair"))
}
