package vm

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// ChangedMarker is what /etc/holdfast-marker holds after Change with seed.
func ChangedMarker(seed int64) string { return fmt.Sprintf("changed-%d", seed) }

// Change makes a second version of a disk as a day's work would: it mounts the
// root of the raw disk, adds, rewrites in place, replaces, appends to and
// deletes files, and unmounts. The same seed on the same disk changes the same
// files; what it writes differs from seed to seed.
func Change(t testing.TB, raw string, seed int64) {
	t.Helper()
	if err := ChangeDisk(raw, seed); err != nil {
		t.Fatal(err)
	}
}

// ChangeDisk is [Change] for programs that are not tests.
func ChangeDisk(raw string, seed int64) error {
	root, err := mountRoot(raw, ReadWrite)
	if err != nil {
		return err
	}
	err = changeTree(root, seed)
	if err := errors.Join(err, unmountRoot(root)); err != nil {
		return fmt.Errorf("change %s: %w", raw, err)
	}
	return nil
}

func changeTree(root string, seed int64) error {
	rng := rand.New(rand.NewPCG(uint64(seed), 3))
	marker := map[string]string{"etc/holdfast-marker": ChangedMarker(seed) + "\n"}
	return errors.Join(
		writeFiles(root, marker),
		rewriteParts(filepath.Join(root, DataFile), rng),
		appendLog(filepath.Join(root, "var/log/messages"), rng),
		replaceAndDelete(root, rng),
		fillMany(filepath.Join(root, "srv", fmt.Sprintf("added-%d", seed)), rng, 60),
	)
}

// rewriteParts overwrites 20 runs of up to 64 KiB in place, as databases do.
func rewriteParts(path string, rng *rand.Rand) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	for range 20 {
		run := randomBytes(rng, 1+rng.IntN(64<<10))
		if _, err := f.WriteAt(run, rng.Int64N(dataSize-int64(len(run)))); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

func appendLog(path string, rng *rand.Rand) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.ReplaceAll(words(rng, 300_000), []byte("done"), []byte("done\n")))
	return errors.Join(err, f.Close())
}

// replaceAndDelete takes files that no boot needs: of 40 it deletes every
// fourth and replaces the others whole, by rename, as package upgrades do.
func replaceAndDelete(root string, rng *rand.Rand) error {
	files, err := expendable(root)
	if err != nil {
		return err
	}
	for i, pick := range rng.Perm(len(files))[:min(40, len(files))] {
		if i%4 == 0 {
			err = os.Remove(files[pick])
		} else {
			err = replaceFile(files[pick], rng)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func replaceFile(path string, rng *rand.Rand) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text = append(words(rng, 200), text...)
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// expendable lists regular files, in a fixed order, that the guest boots
// without.
func expendable(root string) (files []string, err error) {
	for _, dir := range []string{"srv/many", "usr/share/doc", "usr/share/zoneinfo"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				files = append(files, path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return files, nil
}
