package vhdx

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer"
	"holdfast/capture/source/vhd/layer/layertest"
)

// TestFailedWriter reads what qemu leaves when its disk fails it: each write to
// the sector that holds the BAT fails, so the log keeps what belongs there.
func TestFailedWriter(t *testing.T) {
	path := qemuDisk(t)
	layertest.Run(t, "qemu-io", "-f", "vhdx", "-c", "write -P 9 0 4k", path)
	bat := batOfFile(t, path)
	image := fmt.Sprintf("driver=vhdx,file.driver=blkdebug,file.image.driver=file,file.image.filename=%s,"+
		"file.inject-error.0.event=none,file.inject-error.0.iotype=write,file.inject-error.0.sector=%d", path, bat/512)
	out, err := exec.Command("qemu-io", "-c", "write -P 7 8M 4k", "--image-opts", image).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Input/output error") {
		t.Fatalf("the write to the BAT did not fail: %v\n%s", err, out)
	}
	opened := layertest.Open(t, Open, path)
	if len(opened.Notices) != 1 || !strings.Contains(opened.Notices[0], "were replayed") {
		t.Fatalf("no log was replayed: %q", opened.Notices)
	}
	want := replayed(t, path)
	if want[8<<20] != 7 {
		t.Fatal("qemu does not show the write that its log holds")
	}
	layertest.Check(t, opened, want, 1)
}

// TestKilledWriter reads what qemu leaves when it is killed among its writes.
// It empties the log after each allocation; the kill comes when the header names
// a log, a little later at each try, and hits what it hits.
func TestKilledWriter(t *testing.T) {
	args := []string{"-f", "vhdx"}
	for i := range 30 {
		args = append(args, "-c", fmt.Sprintf("write -P %d %dM 4k", i+1, i))
	}
	for try := range 8 {
		path := qemuDisk(t)
		cmd := exec.CommandContext(t.Context(), "qemu-io", append(args, path)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitForLog(t, path)
		time.Sleep(time.Duration(try) * 500 * time.Microsecond)
		cmd.Process.Kill()
		cmd.Wait()
		opened := layertest.Open(t, Open, path)
		t.Logf("try %d: %q", try, opened.Notices)
		layertest.Check(t, opened, replayed(t, path), uint64(try))
	}
}

func qemuDisk(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.vhdx")
	layertest.Run(t, "qemu-img", "create", "-q", "-f", "vhdx", "-o", "block_size=1M", path, "30M")
	return path
}

// batOfFile returns where the BAT lies in a file that was closed cleanly.
func batOfFile(t *testing.T, path string) int64 {
	t.Helper()
	f, err := source.OpenFile(path, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := readRegions(f, layer.Bytes(f), span{})
	if err != nil {
		t.Fatal(err)
	}
	return r.bat.off
}

// waitForLog waits until a valid header of a file in use names a log, or
// for a second: it may have been seen too late.
func waitForLog(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); {
		f, err := source.OpenFile(path, source.Options{})
		if err != nil {
			t.Fatal(err)
		}
		h, err := readHeader(f)
		f.Close()
		if err == nil && h.log != (guid{}) {
			return
		}
	}
}
