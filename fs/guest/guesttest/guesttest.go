// Package guesttest holds what the tests of all guest filesystem readers
// share, with the kernel as the judge:
//
//	Mkfs, Mount      make an image, mount it through a loop device
//	Populate         fills a mounted filesystem with hard cases
//	CompareTree      every file of a reader equals the kernel's
//	CrashImages      copies of an image made while a workload runs
//	Mutate, Fuzz     bytes that the reader reads, changed; within limits
//	Truncate         images that end early
//
// The tests need root and loop devices, and fail without them.
package guesttest

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"holdfast/fs/guest"
)

// OpenFunc opens a volume with the reader under test.
type OpenFunc func(ctx context.Context, v guest.Volume) (guest.Filesystem, error)

// Opener makes an OpenFunc of a reader's own constructor.
func Opener[F guest.Filesystem](open func(context.Context, guest.Volume) (F, error)) OpenFunc {
	return func(ctx context.Context, v guest.Volume) (guest.Filesystem, error) {
		fs, err := open(ctx, v)
		if err != nil {
			return nil, err // not an interface that holds a nil pointer
		}
		return fs, nil
	}
}

// Rounds is the number of rounds of a random campaign: few in CI, as many as
// HOLDFAST_CAMPAIGN says in a long run.
func Rounds(t testing.TB, few int) int {
	n, err := strconv.Atoi(os.Getenv("HOLDFAST_CAMPAIGN"))
	if err != nil {
		return few
	}
	t.Logf("%d rounds", n)
	return n
}

// Run runs a tool and gives its output; a missing or failing tool fails the test.
func Run(t testing.TB, tool string, args ...string) string {
	t.Helper()
	out, err := exec.Command(tool, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

// OpenFile opens the image at path as a volume, until the test ends.
func OpenFile(t testing.TB, path string) guest.Volume {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return io.NewSectionReader(f, 0, info.Size())
}

// OpenImage opens the filesystem in the image at path.
func OpenImage(t testing.TB, path string, open OpenFunc) guest.Filesystem {
	t.Helper()
	fs, err := open(t.Context(), OpenFile(t, path))
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	return fs
}
