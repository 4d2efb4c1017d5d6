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
	{"boot to the marker", "boot", false, (*bench).boot},
}

// bootMarker is what the guest writes to its serial port when it is up.
const bootMarker = "HOLDFAST-MARKER-"

// bootLimit ends a guest that never comes up.
const bootLimit = 5 * time.Minute

// boot boots from a new overlay over the raw file, over the mounted qcow2
// file, and over that once more. There is no KVM: where it is, all else takes
// less of the time. The scrub of the background is left out, so that all that the
// daemon writes is for the guest.
func (b *bench) boot(ctx context.Context) (*Road, error) {
	d, err := b.bootDisk()
	if err != nil {
		return nil, err
	}
	store, err := b.captured(ctx, d)
	if err != nil {
		return nil, err
	}
	var daemon *mounted
	serve := b.mountOf(store, d, "vda.qcow2", "--no-scrub")
	first := through(bootOurs, func(ctx context.Context) (path string, _ *mounted, err error) {
		path, daemon, err = serve(ctx)
		return path, daemon, err
	}, nil, b.booting("qcow2"))
	second := warmed(named(bootAgain, first))
	unmount := first.finish
	first.finish = nil // the second boot is on the mount of the first
	second.prepare = func(ctx context.Context, _ int) error { return daemon.rest(ctx, bootRest) }
	b.closers = append(b.closers, unmount)
	return &Road{unit: timeUnit, about: bootAbout, contestants: []contestant{
		named(bootRaw, rawFile(d, nil, b.booting("raw"))), first, second,
	}, goals: []Goal{
		atMost(bootOurs, bootRaw, byWall, 1.2),
		atMost(bootAgain, "", byServed, noRead),
	}}, nil
}

// bootRest is more than the quiet after which the daemon fills the page cache with what
// the first boot did not read, and than its pauses while it does.
const bootRest = 4 * time.Second

const bootAbout = "boot, qemu without KVM; the first two cold, the third when the daemon has rested for 4 s (it fills the page cache then; that is in no one's time)"

const (
	bootRaw   = "overlay on the raw file"
	bootOurs  = "overlay on the mounted qcow2"
	bootAgain = "the same once more, warm"
)

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
