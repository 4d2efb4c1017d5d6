package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
)

// profileEnv names the directory that profiles are written to. It is for those
// who work on holdfast: ARCHITECTURE says how benchmarks/LIMITS.md was made.
const profileEnv = "HOLDFAST_PROFILE"

// profiled runs do, and keeps a CPU and an allocation profile of the process
// when the environment asks for it. A profile that can't be written costs a log
// line: do's result stands.
func profiled(do func() error) error {
	dir := os.Getenv(profileEnv)
	if dir == "" {
		return do()
	}
	base := filepath.Join(dir, fmt.Sprintf("holdfast-%d", os.Getpid()))
	stop, err := profileTo(base)
	if err != nil {
		slog.Warn("no profile is kept", "err", err)
		return do()
	}
	defer func() {
		if err := stop(); err != nil {
			slog.Warn("the profile is incomplete", "err", err)
		}
	}()
	return do()
}

// profileTo begins the profile base.cpu; the function it returns ends it and
// writes base.allocs.
func profileTo(base string) (stop func() error, err error) {
	cpu, err := os.Create(base + ".cpu")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		err := cpu.Close()
		allocs, created := os.Create(base + ".allocs")
		if created != nil {
			return errors.Join(err, created)
		}
		runtime.GC() // the profile is of the last collection
		return errors.Join(err, pprof.Lookup("allocs").WriteTo(allocs, 0), allocs.Close())
	}, nil
}
