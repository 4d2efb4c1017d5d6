package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

var bootRoads = []entry{
	{"boot to the marker, cold", "boot", false, (*bench).bootCold},
	{"boot for the second time", "boot", false, (*bench).bootWarm},
}

// bootMarker is what the guest writes to its serial port when it is up.
const bootMarker = "HOLDFAST-MARKER-"

// bootLimit ends a guest that never comes up.
const bootLimit = 5 * time.Minute

// bootCold boots from a new overlay over the raw file, and over the mounted
// qcow2 file. There is no KVM: where it is, all else takes less of the time.
func (b *bench) bootCold(ctx context.Context) (*Road, error) {
	d, err := b.bootDisk()
	if err != nil {
		return nil, err
	}
	store, err := b.captured(ctx, d)
	if err != nil {
		return nil, err
	}
	return &Road{unit: timeUnit, about: "boot, qemu without KVM, overlay", contestants: []contestant{
		named("overlay on the raw file", rawFile(d, nil, b.booting("raw"))),
		through("overlay on the mounted qcow2", b.mountOf(store, d, "vda.qcow2"), nil, b.booting("qcow2")),
	}, goals: []Goal{atMost("overlay on the mounted qcow2", "overlay on the raw file", byWall, 1.2)}}, nil
}

// bootWarm boots twice on one mount and measures the second time. The scrub of
// the background is left out, so that all that the daemon writes is for the guest.
func (b *bench) bootWarm(ctx context.Context) (*Road, error) {
	d, err := b.bootDisk()
	if err != nil {
		return nil, err
	}
	store, err := b.captured(ctx, d)
	if err != nil {
		return nil, err
	}
	ours := "overlay on the mounted qcow2"
	return &Road{unit: timeUnit, warm: true, about: "boot, qemu without KVM, overlay", contestants: []contestant{
		named("overlay on the raw file", rawFile(d, b.booting("raw"), b.booting("raw"))),
		through(ours, b.mountOf(store, d, "vda.qcow2", "--no-scrub"), b.booting("qcow2"), b.booting("qcow2")),
	}, goals: []Goal{
		atMost(ours, "", byServed, noRead),
		atMost(ours, "overlay on the raw file", byWall, 1.2),
	}}, nil
}

// booting starts a guest from a new overlay and waits for its marker. The time is
// from the start of qemu to the marker; CPU time is qemu's and the daemon's.
func (b *bench) booting(format string) reader {
	return func(ctx context.Context, image string, _ int) (Sample, error) {
		overlay := b.path("boot.overlay")
		if err := removeFile(overlay); err != nil {
			return Sample{}, err
		}
		if _, err := command(ctx, 0, nil, "qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", image, overlay); err != nil {
			return Sample{}, err
		}
		defer removeFile(overlay) //nolint:errcheck // the run's directory goes anyway
		ctx, cancel := context.WithTimeout(ctx, bootLimit)
		defer cancel()
		cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-smp", "2", "-display", "none",
			"-monitor", "none", "-serial", "stdio", "-no-reboot", "-nic", "none", "-drive", "file="+overlay+",format=qcow2,if=virtio,cache=unsafe")
		found := &awaited{text: []byte(bootMarker), stop: cancel}
		cmd.Stdout, cmd.Stderr = found, found
		began := time.Now()
		err := cmd.Run()
		if found.at.IsZero() {
			return Sample{}, fmt.Errorf("boot from %s: no marker: %w\n%s", image, errors.Join(err, ctx.Err()), tail(found.all))
		}
		return Sample{Wall: found.at.Sub(began)}, nil
	}
}

// awaited notes when a text was written to it, and stops the writer.
type awaited struct {
	text []byte
	stop func()
	all  []byte
	at   time.Time
}

// Write implements io.Writer.
func (a *awaited) Write(p []byte) (int, error) {
	a.all = append(a.all, p...)
	if a.at.IsZero() && bytes.Contains(a.all, a.text) {
		a.at = time.Now()
		a.stop()
	}
	return len(p), nil
}
