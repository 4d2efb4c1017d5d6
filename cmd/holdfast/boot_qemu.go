package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"holdfast/chunkstore/catalog"
	"holdfast/fs"
	"holdfast/fs/image"
)

const (
	qemuSystem    = "qemu-system-x86_64"
	qemuImg       = "qemu-img"
	displaySerial = "serial"
	displayNone   = "none"
)

// bootPlan is how a version is booted.
type bootPlan struct {
	overlays []overlay
	accel    string // "kvm" or "tcg"
	qemu     []string
}

// findPrograms says how to install what is not there.
func findPrograms(names ...string) error {
	packages := map[string]string{qemuSystem: "qemu-system-x86", qemuImg: "qemu-utils"}
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			return withHint(fmt.Errorf("boot needs %s, which is not installed", name), "apt-get install qemu-system-x86 qemu-utils   (here: "+packages[name]+")")
		}
	}
	return nil
}

// planBoot words qemu's command line.
func planBoot(ctx context.Context, opts bootOptions, v *catalog.Version, mnt, dir string) (*bootPlan, error) {
	list, err := overlaysOf(v, mnt, dir)
	if err != nil {
		return nil, err
	}
	p := &bootPlan{overlays: list, accel: opts.Accel}
	if p.accel == "auto" {
		p.accel = chooseAccel(ctx)
	}
	cpu := "max"
	if p.accel == "kvm" {
		cpu = "host"
	}
	p.qemu = []string{
		qemuSystem, "-name", "holdfast " + printable(v.VM) + "@" + v.ID, "-machine", "q35,accel=" + p.accel, "-cpu", cpu,
		"-m", strconv.FormatInt(opts.Memory>>20, 10) + "M", "-smp", strconv.Itoa(opts.CPUs),
	}
	p.qemu[2] = strings.ReplaceAll(p.qemu[2], ",", ",,") // in qemu's options a comma is doubled
	for _, o := range p.overlays {
		p.qemu = append(p.qemu, "-drive", driveOption(o.path, opts))
	}
	p.qemu = append(p.qemu, displayOptions(opts.Display)...)
	if opts.Net == "user" {
		p.qemu = append(p.qemu, "-nic", "user,model=virtio-net-pci")
	} else {
		p.qemu = append(p.qemu, "-nic", "none")
	}
	p.qemu = append(p.qemu, opts.Extra...)
	return p, nil
}

func driveOption(path string, opts bootOptions) string {
	drive := "file=" + strings.ReplaceAll(path, ",", ",,") + ",format=qcow2,discard=unmap"
	if opts.Bus == "virtio" {
		drive += ",if=virtio"
	} else {
		drive += ",if=ide,media=disk" // on q35 that is AHCI
	}
	if opts.Keep == "" {
		drive += ",cache=unsafe" // it is thrown away: no flush is worth its wait
	}
	return drive
}

func displayOptions(display string) []string {
	switch display {
	case displaySerial:
		return []string{"-display", "none", "-serial", "mon:stdio"}
	case displayNone:
		return []string{"-display", "none"}
	}
	return []string{"-display", display}
}

// backingPath is the mounted image that the guest reads.
func backingPath(mnt string, v *catalog.Version, disk string) string {
	return fs.ImagePath(mnt, v, disk, image.Qcow2)
}

// run runs the guest on this terminal until it is switched off.
func (p *bootPlan) run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, p.qemu[0], p.qemu[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%s ended with %v", qemuSystem, exit)
	}
	return err
}
