// Command scale makes the catalog and index of a store of many chunks, without
// their data, and measures what must not grow with it:
//
//	make bench-scale CHUNKS=100000000
//
// Maps are real records in real packs, 64 chunks to a region; the chunks are
// entries in the index alone, of packs that are empty files. It prints how long
// the store takes to open, to list and to forget a version, and the rate and the
// memory of a prune's mark, and says what 100 million chunks would need where it
// made fewer. It takes 190 bytes of disk a chunk and removes them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	perRegion = 64 // chunks of a region: 4 MiB on the grid
	perPack   = 20000
	full      = 100_000_000
)

func main() {
	chunks := flag.Int("chunks", 10_000_000, "chunks in the index")
	versions := flag.Int("versions", 10_000, "versions in the catalog")
	dir := flag.String("dir", "", "directory to work in (default a temporary one)")
	measure := flag.Bool("measure", false, "measure the store in dir; for the program itself")
	flag.Parse()
	err := func() error {
		if *measure {
			return measureStore(context.Background(), *dir, *chunks)
		}
		return run(*dir, *chunks, *versions)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(dir string, chunks, versions int) error {
	work, err := os.MkdirTemp(dir, "holdfast-scale-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	store := filepath.Join(work, "store")
	if err := makeStore(context.Background(), store, chunks, versions); err != nil {
		return fmt.Errorf("make the store: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// A process of its own: its memory is that of the measured work.
	cmd := exec.Command(self, "-measure", "-dir", store, "-chunks", fmt.Sprint(chunks))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
