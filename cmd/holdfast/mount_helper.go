package main

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
)

// mount(8) calls mount.fuse.holdfast for mount -t fuse.holdfast and fstab:
//
//	mount.fuse.holdfast STORE MNT [-sfnv] [-N NS] [-o OPTIONS] [-t TYPE]
//
// and passes its exit status on, so that these follow mount(8), not exit.go.
const (
	mountOK     = 0
	mountUsage  = 1
	mountFailed = 32
)

// isMountHelper tells by the name the program was called with.
func isMountHelper(argv0 string) bool {
	base := filepath.Base(argv0)
	return base == "mount.fuse.holdfast" || base == "mount.holdfast"
}

func mountStatus(s exitStatus) int {
	switch s {
	case exitOK:
		return mountOK
	case exitUsage:
		return mountUsage
	}
	return mountFailed
}

// ignoredMountOptions mean nothing to a read-only tree, or are for mount(8).
var ignoredMountOptions = map[string]bool{
	"rw": true, "ro": true, "suid": true, "nosuid": true, "dev": true, "nodev": true, "exec": true, "noexec": true,
	"atime": true, "noatime": true, "diratime": true, "nodiratime": true, "relatime": true, "norelatime": true,
	"strictatime": true, "nostrictatime": true, "lazytime": true, "nolazytime": true, "sync": true, "async": true,
	"dirsync": true, "mand": true, "nomand": true, "iversion": true, "noiversion": true, "silent": true, "loud": true,
	"auto": true, "noauto": true, "user": true, "nouser": true, "users": true, "nousers": true, "owner": true,
	"noowner": true, "group": true, "nogroup": true, "defaults": true, "_netdev": true, "nofail": true,
	"default_permissions": true, "fsname": true, "subtype": true, "comment": true, "uid": true, "gid": true,
}

// runMountHelper does what mount(8) asks for: mount, and return once the tree
// answers.
func runMountHelper(ctx context.Context, args []string, out io.Writer, con *console, sig *signals) error {
	opts, fake, err := parseMountHelper(args)
	if err != nil {
		return withHint(err, "mount -t fuse.holdfast STORE MNT -o allow_other,cache=512MiB")
	}
	if fake {
		return nil
	}
	opts.Out, opts.Console, opts.Signals, opts.Jobs = out, con, sig, new(jobs)
	opts.Log = slog.New(&logHandler{con: con, level: slog.LevelWarn})
	return runMount(ctx, opts)
}

// parseMountHelper reads mount(8)'s arguments; fake means that nothing is to
// be mounted.
func parseMountHelper(args []string) (opts mountOptions, fake bool, err error) {
	opts = mountOptions{Background: true, LogLevel: "warn"}
	opts.Quiet = true
	var words, settings []string
	sloppy := false
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if len(arg) < 2 || arg[0] != '-' {
			words = append(words, arg)
			continue
		}
		for i, letter := range arg[1:] {
			switch letter {
			case 's':
				sloppy = true
			case 'f':
				fake = true
			case 'v':
				opts.Quiet = false
			case 'n', 'r', 'w':
			case 'o', 't', 'N':
				value := arg[i+2:]
				if value == "" && len(args) > 0 {
					value, args = args[0], args[1:]
				}
				if letter == 'o' {
					settings = append(settings, strings.Split(value, ",")...)
				}
			default:
				return opts, fake, usagef("unknown option -%c", letter)
			}
			if strings.ContainsRune("otN", letter) {
				break
			}
		}
	}
	if len(words) != 2 {
		return opts, fake, usagef("want a store and a directory, but %d arguments were given", len(words))
	}
	opts.Store, opts.Dir = words[0], words[1]
	return opts, fake, applyMountOptions(&opts, settings, sloppy)
}

// applyMountOptions reads what stands behind -o.
func applyMountOptions(opts *mountOptions, settings []string, sloppy bool) (err error) {
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		switch {
		case name == "owner" && value != "": // without a value it is mount(8)'s
			if _, err = parseOwner(value); err != nil {
				return err
			}
			opts.Owner = value
		case name == "", ignoredMountOptions[name], strings.HasPrefix(name, "x-"), strings.HasPrefix(name, "X-"):
		case name == "allow_other":
			opts.AllowOther = true
		case name == "cache":
			if opts.Cache, err = parseSize("cache", value); err != nil {
				return usagef("mount option %q: write a size as 512MiB", s)
			}
		case name == "fill":
			if opts.Fill, err = parseFill(value); err != nil {
				return usagef("mount option %q: write a size as 4GiB, or 0", s)
			}
		case name == "no_scrub":
			opts.NoScrub = true
		case name == "scrub_rate":
			if opts.ScrubRate, err = parseRate("scrub_rate", value); err != nil {
				return usagef("mount option %q: write a rate as 64MiB/s", s)
			}
		case name == "log_file":
			opts.LogFile = value
		case name == "log_level":
			opts.LogLevel = value
		case !sloppy:
			return usagef("unknown mount option %q", s)
		}
	}
	return nil
}
