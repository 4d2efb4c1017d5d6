package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"time"
)

// kvmProbeTime is how long a guest without disks runs to prove that KVM works.
const kvmProbeTime = 700 * time.Millisecond

// chooseAccel returns "kvm" where it really works, else "tcg". Inside of some
// virtual machines /dev/kvm is there, opens, and then fails with an internal
// error as soon as a guest runs; so a guest is run.
func chooseAccel(ctx context.Context) string {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return "tcg"
	}
	f.Close()
	if kvmRuns(ctx) {
		return "kvm"
	}
	return "tcg"
}

// kvmRuns starts the firmware under KVM and asks after a moment whether it is
// still running (QEMU Machine Protocol, query-status).
func kvmRuns(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemuSystem, "-machine", "q35,accel=kvm", "-cpu", "host", "-m", "64M",
		"-nodefaults", "-display", "none", "-qmp", "stdio")
	in, err := cmd.StdinPipe()
	if err != nil {
		return false
	}
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return false
	}
	defer cmd.Wait() //nolint:errcheck // the answer counts
	defer cancel()
	time.Sleep(kvmProbeTime)
	io.WriteString(in, `{"execute":"qmp_capabilities"}{"execute":"query-status"}{"execute":"quit"}`)
	return readsRunning(out)
}

// readsRunning looks for the answer to query-status.
func readsRunning(r io.Reader) bool {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var answer struct {
			Return struct {
				Status string `json:"status"`
			} `json:"return"`
		}
		if json.Unmarshal(lines.Bytes(), &answer) == nil && answer.Return.Status != "" {
			return answer.Return.Status == "running"
		}
	}
	return false
}
