package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"time"
)

// guard runs fn and turns a panic, which is always a mistake of ours, into an
// error that says so. The trace goes to a file for a report.
func guard(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = bugError(v, debug.Stack())
		}
	}()
	return fn()
}

// bugError saves the trace of a panic and words the error.
func bugError(v any, stack []byte) error {
	err := fmt.Errorf("this is a bug in holdfast, not a mistake of yours: %v", v)
	f, ferr := os.CreateTemp("", "holdfast-bug-*.txt")
	if ferr != nil {
		return withHint(err, "the trace could not be saved: "+ferr.Error())
	}
	defer f.Close()
	fmt.Fprintf(f, "time: %s\narguments: %q\n%s\npanic: %v\n\n%s", time.Now().UTC().Format(time.RFC3339), os.Args, buildText(), v, stack)
	return withHint(err, "the store is safe: a version is complete or not there at all", "please report it with this file: "+f.Name())
}
