// Command build puts a real VM disk into a directory, for shell scripts:
//
//	go run ./tests/vm/build -kind small|debian|xfs -out DIR [-change SEED]
//
// It writes DIR/<kind>.raw and prints its path. With -change it also writes
// DIR/<kind>-changed.raw, the same disk after a day's work, and prints that
// path on a second line; this needs root.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/tests/vm"
)

func main() {
	kind := flag.String("kind", string(vm.KindSmall), "disk to build: small, debian or xfs")
	out := flag.String("out", "", "directory to write to")
	change := flag.Int64("change", 0, "also write a second version, changed with this seed")
	flag.Parse()
	if err := build(vm.Kind(*kind), *out, *change); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func build(kind vm.Kind, dir string, seed int64) error {
	if dir == "" {
		return fmt.Errorf("name a directory with -out")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	disk, err := vm.Build(kind)
	if err != nil {
		return err
	}
	first, err := disk.CloneInto(dir)
	if err != nil {
		return err
	}
	fmt.Println(first)
	if seed == 0 {
		return nil
	}
	second := filepath.Join(dir, string(kind)+"-changed.raw")
	if err := vm.Copy(second, first); err != nil {
		return err
	}
	if err := vm.ChangeDisk(second, seed); err != nil {
		return err
	}
	fmt.Println(second)
	return nil
}
