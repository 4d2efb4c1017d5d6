package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
	"holdfast/fs"
	"holdfast/fs/image"
)

type bootOptions struct {
	common
	Ref     string
	Memory  int64
	CPUs    int
	Net     string // "none" or "user"
	Accel   string // "auto", "kvm" or "tcg"
	Display string // "serial", "none", or what qemu calls it
	Bus     string // "virtio" or "sata"
	Keep    string // directory of the overlays; "": a temporary one
	Print   bool
	Extra   []string // more arguments for qemu
}

func bootCommand() *cli.Command {
	return &cli.Command{
		Name:      "boot",
		Usage:     "start a version in qemu; the store is never written",
		UsageText: "holdfast boot VM[@VERSION] [options] [-- QEMU-ARGUMENT...]",
		Description: refHelp + `

Each disk gets a qcow2 overlay over its mounted image; what the guest writes goes
there and is thrown away at the end, unless --keep names a directory, from which the
same boot can go on another day. Where the store is not mounted, boot mounts it for
its own time. The guest's console is the terminal: Ctrl-A X ends qemu, Ctrl-A C is
its monitor. A guest that shows nothing has no serial console: try --display gtk or
--display vnc=:1. A UEFI guest needs its firmware
(apt-get install ovmf):

   holdfast boot VM -- -bios /usr/share/ovmf/OVMF.fd`,
		BashComplete: completeVMs,
		CustomHelpTemplate: commandHelp(`
holdfast boot web
holdfast boot web@2026-11-20 --net user --memory 4GiB --cpus 4
holdfast boot web --keep /var/tmp/web-test
holdfast boot web --print
holdfast boot web --display none -- -vnc :1
`, exitOK, exitFailure, exitUsage, exitDamage, exitNotFound, exitStore, exitInterrupted),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "memory", Usage: "the guest's memory, a `SIZE`", Value: "2GiB"},
			&cli.IntFlag{Name: "cpus", Usage: "the guest's `NUMBER` of CPUs", Value: 2},
			&cli.StringFlag{Name: "net", Usage: "`NETWORK`: none, or user (behind qemu's own NAT)", Value: "none"},
			&cli.StringFlag{Name: "accel", Usage: "`ACCEL`: kvm, tcg, or auto (kvm where it works)", Value: "auto"},
			&cli.StringFlag{Name: "display", Usage: "`DISPLAY`: serial (this terminal), none, or one of qemu's: gtk, sdl, vnc=:1", Value: "serial"},
			&cli.StringFlag{Name: "bus", Usage: "attach disks to `BUS`: virtio or sata", Value: "virtio"},
			&cli.StringFlag{Name: "keep", Usage: "keep the overlays in `DIR`, or go on with those that are there", TakesFile: true},
			&cli.BoolFlag{Name: "print", DisableDefaultText: true, Usage: "only print the commands"},
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			o := bootOptions{common: opts, Ref: c.Args().First(), CPUs: c.Int("cpus"), Net: c.String("net"), Accel: c.String("accel"),
				Display: c.String("display"), Bus: c.String("bus"), Keep: c.String("keep"), Print: c.Bool("print"), Extra: c.Args().Tail()}
			if o.Memory, err = parseSize("memory", c.String("memory")); err != nil {
				return err
			}
			return runBoot(c.Context, o)
		},
	}
}

// check reports what is wrong with the options.
func (o *bootOptions) check() error {
	in := func(s string, words ...string) bool {
		return strings.Contains(" "+strings.Join(words, " ")+" ", " "+s+" ")
	}
	switch {
	case o.Ref == "":
		return withHint(usagef("boot needs one VM or version"), "holdfast boot VM[@VERSION]")
	case len(o.Extra) > 0 && !strings.HasPrefix(o.Extra[0], "-"):
		return withHint(usagef("boot takes one version, and %q is one more", o.Extra[0]), "arguments for qemu stand behind --")
	case o.Memory < 16<<20:
		return usagef("--memory %s is too little for a guest", sizeText(o.Memory))
	case o.CPUs < 1 || o.CPUs > 255:
		return usagef("--cpus %d: want 1 to 255", o.CPUs)
	case !in(o.Net, "none", "user"):
		return usagef("--net %q: want none or user", o.Net)
	case !in(o.Accel, "auto", "kvm", "tcg"):
		return usagef("--accel %q: want auto, kvm or tcg", o.Accel)
	case !in(o.Bus, "virtio", "sata"):
		return usagef("--bus %q: want virtio or sata", o.Bus)
	case o.JSON && !o.Print:
		return withHint(usagef("boot gives the terminal to the guest and has no JSON of its own"), "holdfast boot "+shellWord(o.Ref)+" --print --json")
	}
	return nil
}

// runBoot boots a version, or prints how.
func runBoot(ctx context.Context, opts bootOptions) error {
	if err := opts.check(); err != nil {
		return err
	}
	if !opts.Print {
		if err := findPrograms(qemuSystem, qemuImg); err != nil {
			return err
		}
	}
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		v, err := resolve(ctx, h, opts.Ref)
		if err != nil {
			return err
		}
		if opts.Print {
			return printBoot(ctx, h, opts, v)
		}
		return boot(ctx, h, opts, v)
	})
}

// boot makes the overlays, runs the guest and tidies up.
func boot(ctx context.Context, h *owner.Handle, opts bootOptions, v *catalog.Version) (err error) {
	dir, remove, err := bootDir(opts, h.Info().StoreID, v)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	mnt, unmount, err := bootMount(h, opts, v)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	plan, err := planBoot(ctx, opts, v, mnt, dir)
	if err != nil {
		return err
	}
	if err := plan.makeOverlays(ctx); err != nil {
		return err
	}
	opts.Console.note("booting %s@%s from overlays in %s (%s)", nameText(v.VM), v.ID, dir, plan.accel)
	if opts.Display == displaySerial {
		opts.Console.note("the guest's console follows; Ctrl-A X ends qemu")
	}
	return plan.run(ctx)
}

// bootMount finds the mount with the version's images, or mounts the store for
// the time of this boot.
func bootMount(h *owner.Handle, opts bootOptions, v *catalog.Version) (mnt string, unmount func() error, err error) {
	if mnt := mountOf(h.Info()); mnt != "" && readable(mnt, v) {
		return mnt, func() error { return nil }, nil
	}
	mnt, err = os.MkdirTemp("", "holdfast-mount-*")
	if err != nil {
		return "", nil, err
	}
	m, err := mountTree(h, opts.common, mnt, fs.Options{})
	if err != nil {
		return "", nil, errors.Join(err, os.Remove(mnt))
	}
	return mnt, func() error { return errors.Join(takeDown(m, opts.common), os.Remove(mnt)) }, nil
}

// readable tells whether a mount, which another user may have made, shows the
// version's images to this one.
func readable(mnt string, v *catalog.Version) bool {
	for _, d := range v.Disks {
		f, err := os.Open(fs.ImagePath(mnt, v, d.Name, image.Qcow2))
		if err != nil {
			return false
		}
		f.Close()
	}
	return true
}

// bootResult is what boot --print --json prints.
type bootResult struct {
	VM         string     `json:"vm"`
	Version    string     `json:"version"`
	Mountpoint string     `json:"mountpoint"` // where the images are, or will be after the first command
	Commands   [][]string `json:"commands"`
}

// printBoot prints the commands that do the same. Where no mount is found they
// begin with one.
func printBoot(ctx context.Context, h *owner.Handle, opts bootOptions, v *catalog.Version) error {
	dir := opts.Keep
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "holdfast-boot-"+v.ID)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	var commands [][]string
	mnt := mountOf(h.Info())
	if mnt == "" {
		mnt = filepath.Join(dir, "mnt")
		commands = append(commands, []string{"mkdir", "-p", mnt}, []string{programName, "--store", opts.Store, "mount", "--background", mnt})
	} else {
		commands = append(commands, []string{"mkdir", "-p", dir})
	}
	plan, err := planBoot(ctx, opts, v, mnt, dir)
	if err != nil {
		return err
	}
	for _, o := range plan.overlays {
		commands = append(commands, o.create())
	}
	commands = append(commands, plan.qemu)
	if opts.JSON {
		return printJSON(opts.Out, bootResult{v.VM, v.ID, mnt, commands})
	}
	for _, c := range commands {
		if _, err := fmt.Fprintln(opts.Out, shellLine(c)); err != nil {
			return err
		}
	}
	return nil
}
