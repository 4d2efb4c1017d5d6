package tests

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestHostileMount walks 2,000 mutated volumes through the mount: the campaign of
// package fs without the race detector, under which it would take minutes.
func TestHostileMount(t *testing.T) {
	cmd := exec.Command("go", "test", "-count=1", "-v", "-timeout=10m", "-run=^TestHostileVolumes$", "holdfast/fs")
	cmd.Env = append(os.Environ(), "HOLDFAST_CAMPAIGN=20")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	total := 0
	for line := range strings.Lines(string(out)) {
		var n int
		if _, rest, ok := strings.Cut(line, "hostile_test.go:"); ok {
			_, rest, _ = strings.Cut(rest, ": ")
			if _, err := fmt.Sscanf(rest, "%d mutants,", &n); err == nil {
				total += n
				t.Log(strings.TrimSpace(rest))
			}
		}
	}
	if total < 2000 {
		t.Errorf("%d mutants were walked\n%s", total, out)
	}
}
