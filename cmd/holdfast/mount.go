package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
	"holdfast/fs"
)

type mountOptions struct {
	common
	Dir        string
	Cache      int64 // bytes; 0: the default
	Fill       int64 // as fs.Options has it
	AllowOther bool
	Owner      string // of guests' files, as the user wrote it
	Background bool
	LogFile    string // of a mount in the background
	LogLevel   string
	NoScrub    bool
	ScrubRate  int64 // bytes a second; 0: no bound
}

func mountCommand() *cli.Command {
	return &cli.Command{
		Name:      "mount",
		Usage:     "show every version of every disk as plain files",
		UsageText: "holdfast mount MNT",
		Description: `The tree under MNT is read-only:

   MNT/README.txt
   MNT/<vm>/latest -> 2026-11-21T02-00-00Z
   MNT/<vm>/2026-11-21T02-00-00Z/version.json
                                /<disk>.raw .qcow2 .vhd .vhdx .vmdk
                                /files/root/...             the guest's files as it sees them
                                /files/<disk>/<volume>/...  those of one volume

New versions appear by themselves. The command stays until Ctrl-C, SIGTERM or
umount MNT; where the mount is in use it says by whom, and a second Ctrl-C detaches
it at once. With a link /sbin/mount.fuse.holdfast to this program, also:

   mount -t fuse.holdfast STORE MNT -o allow_other,cache=512MiB
   # /etc/fstab
   /srv/holdfast /mnt/holdfast fuse.holdfast allow_other,_netdev,nofail 0 0`,
		CustomHelpTemplate: commandHelp(`
holdfast mount /mnt/holdfast
holdfast mount --background --allow-other /mnt/holdfast
qemu-img convert -O qcow2 /mnt/holdfast/web/latest/vda.qcow2 web.qcow2
`, exitOK, exitFailure, exitUsage, exitNotFound, exitStore, exitInterrupted),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "f", DisableDefaultText: true, Aliases: []string{"foreground"}, Usage: "stay in the foreground (the default)"},
			&cli.BoolFlag{Name: "background", DisableDefaultText: true, Usage: "detach once the tree answers"},
			&cli.BoolFlag{Name: "allow-other", DisableDefaultText: true, Usage: "let other users use the mount, as qemu under libvirt needs"},
			&cli.StringFlag{Name: "cache", Usage: "keep up to `SIZE` of decoded chunks in memory", Value: "256MiB"},
			&cli.StringFlag{Name: "fill", Usage: "once somebody booted from an image, put all of it into the page cache if it takes up to `SIZE`; 0: never", Value: "4GiB"},
			&cli.StringFlag{Name: "owner", Usage: "show guests' files as those of `OWNER`: user (who mounts), NAME[:GROUP] or UID[:GID]; guest keeps theirs", Value: ownerGuest},
			&cli.BoolFlag{Name: "no-scrub", DisableDefaultText: true, Usage: "don't prove the store in the background"},
			&cli.StringFlag{Name: "scrub-rate", Usage: "read at most `RATE` for that", Value: defaultScrubRate},
			&cli.StringFlag{Name: "log-file", Usage: "with --background: append messages to `FILE`", TakesFile: true},
		},
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			if c.NArg() != 1 {
				return withHint(usagef("mount needs one directory"), "holdfast mount /mnt/holdfast")
			}
			o := mountOptions{common: opts, Dir: c.Args().First(), AllowOther: c.Bool("allow-other"), Background: c.Bool("background"),
				Owner: c.String("owner"), LogFile: c.String("log-file"), LogLevel: c.String("log-level"), NoScrub: c.Bool("no-scrub")}
			if o.ScrubRate, err = parseRate("scrub-rate", c.String("scrub-rate")); err != nil {
				return err
			}
			if o.Cache, err = parseSize("cache", c.String("cache")); err != nil {
				return err
			}
			if o.Fill, err = parseFill(c.String("fill")); err != nil {
				return err
			}
			if _, err := parseOwner(o.Owner); err != nil {
				return err
			}
			if o.Background && c.Bool("f") {
				return usagef("-f and --background exclude each other")
			}
			return runMount(c.Context, o)
		},
	}
}

// parseFill reads --fill, of which 0 means none.
func parseFill(s string) (int64, error) {
	n, err := parseSize("fill", s)
	if err == nil && n == 0 {
		n = -1
	}
	return n, err
}

// defaultScrubRate bounds what the scrub in the background reads.
const defaultScrubRate = "64MiB/s"

// mountResult is what mount --json prints once the tree answers.
type mountResult struct {
	Mountpoint string `json:"mountpoint"`
	Store      string `json:"store"`
	PID        int    `json:"pid"`
	VMs        int    `json:"vms"`
}

// runMount mounts and stays until the tree is unmounted, or, in the
// background, until it answers.
func runMount(ctx context.Context, opts mountOptions) error {
	if opts.Store == "" {
		return noStore()
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return err
	}
	opts.Dir = dir
	if opts.Background {
		return mountInBackground(ctx, opts)
	}
	ready, err := readyPipe()
	if err != nil {
		return err
	}
	return withStore(ctx, opts.common, func(h *owner.Handle) error {
		guests, err := parseOwner(opts.Owner)
		if err != nil {
			return err
		}
		m, err := mountTree(h, opts.common, dir, fs.Options{Cache: opts.Cache, Fill: opts.Fill, AllowOther: opts.AllowOther, Owner: guests})
		if err != nil {
			return err
		}
		if err := announce(ctx, h, opts); err != nil {
			opts.Log.Warn("the store's VMs can't be listed", "error", err)
		}
		defer runJobs(h, opts.common, jobOptions{opts.NoScrub, opts.ScrubRate})()
		if err := ready.tell(opts.LogFile); err != nil {
			opts.Log.Warn("can't detach from the terminal", "error", err)
		}
		return stay(ctx, m, opts.common)
	})
}

// announce says that the tree answers.
func announce(ctx context.Context, h *owner.Handle, opts mountOptions) error {
	vms, err := catalog.VMs(ctx, h)
	if opts.JSON {
		return errors.Join(err, printJSON(opts.Out, mountResult{opts.Dir, opts.Store, os.Getpid(), len(vms)}))
	}
	if opts.Quiet {
		return err
	}
	fmt.Fprintf(opts.Out, "Mounted %s on %s (%s, read-only).\n", oneLine(opts.Store), oneLine(opts.Dir), countText(int64(len(vms)), "VM"))
	if os.Getenv(readyVariable) == "" {
		fmt.Fprintf(opts.Out, "Ctrl-C or umount %s ends it.\n", shellWord(opts.Dir))
	} else {
		fmt.Fprintf(opts.Out, "It stays in the background (process %s); umount %s ends it.\n", strconv.Itoa(os.Getpid()), shellWord(opts.Dir))
	}
	return err
}
