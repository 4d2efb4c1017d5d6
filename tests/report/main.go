// Command report reads the stream of go test -json and prints what a person
// wants of it: one line a package, the whole output of each failed test, the
// slowest tests, every skip, and the counts last:
//
//	go test -json ./... | go run ./tests/report -allowed-skips .ci/allowed-skips
//
// It exits with 1 when a test or a build failed, when no test ran, or when a
// test was skipped that the file of allowed skips does not name.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	allowed := flag.String("allowed-skips", "", "file that names the tests which may be skipped")
	flag.Parse()
	ok, err := run(*allowed)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

func run(allowedPath string) (ok bool, err error) {
	var allowed map[string]bool
	if allowedPath != "" {
		text, err := os.ReadFile(allowedPath)
		if err != nil {
			return false, err
		}
		allowed = parseAllowed(string(text))
	}
	r := newReport(os.Stdout, allowed)
	if err := r.read(os.Stdin); err != nil {
		return false, err
	}
	return r.finish(), nil
}
