package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
)

// peer is another program that does the same work on one disk. What it can't do
// is nil.
type peer struct {
	name string
	// init makes an empty repository in place of one that is there.
	init   func(ctx context.Context, round int) error
	backup func(ctx context.Context, round int) (Sample, error)
	// ready sees to it that a repository with the disk in it is there.
	ready   func(ctx context.Context) error
	restore func(ctx context.Context, round int) (Sample, error)
	// check proves all data of the repository.
	check func(ctx context.Context, round int) (Sample, error)
	// mount serves the disk as a file.
	mount mount
}

// prepared is ready as a contestant's prepare.
func (p *peer) prepared(ctx context.Context, _ int) error { return p.ready(ctx) }

// peerPrograms are the peers, and where each comes from.
var peerPrograms = []struct {
	name, program, from string
	make                func(*bench, disk) peer
}{
	{"restic", "restic", "Debian's package restic", (*bench).restic},
	{"borg", "borg", "Debian's package borgbackup", (*bench).borg},
	{"zbackup", "zbackup", "Debian's package zbackup", (*bench).zbackup},
	{"casync", "casync", "Debian's package casync", (*bench).casync},
	{"desync", "desync", "no Debian package, and the Go checksum database does not know its module, so go install refuses it", (*bench).desync},
}

// missingPeers names each peer that can't be had, and why.
func missingPeers() (list []string) {
	for _, p := range peerPrograms {
		if _, err := exec.LookPath(p.program); err != nil {
			list = append(list, p.name+": not installed ("+p.from+")")
		}
	}
	if _, err := exec.LookPath("nbdkit"); err != nil {
		list = append(list, "nbdkit: not installed (Debian's package nbdkit)")
	}
	return list
}

// peers are those that can be had, each with a repository for the disk.
func (b *bench) peers(d disk) (list []peer) {
	for _, p := range peerPrograms {
		if b.has(p.name) {
			list = append(list, b.prepared(d, p.make(b, d)))
		}
	}
	return list
}

// repository is where a peer keeps a disk.
func (b *bench) repository(peer string, d disk) string { return b.path(d.name + "." + peer) }

// prepared makes init replace the repository, and adds ready.
func (b *bench) prepared(d disk, p peer) peer {
	repo, init := b.repository(p.name, d), p.init
	p.init = func(ctx context.Context, round int) error {
		delete(b.made, repo)
		if err := os.RemoveAll(repo); err != nil {
			return err
		}
		return init(ctx, round)
	}
	p.ready = func(ctx context.Context) error {
		_, err := once(b, repo, func() (bool, error) {
			if err := p.init(ctx, 0); err != nil {
				return false, err
			}
			_, err := p.backup(ctx, 0)
			return true, err
		})
		return err
	}
	if serve := p.mount; serve != nil {
		p.mount = func(ctx context.Context) (string, *mounted, error) {
			if err := p.ready(ctx); err != nil {
				return "", nil, err
			}
			return serve(ctx)
		}
	}
	return p
}

func (b *bench) resticEnv(repo string) []string {
	return []string{"RESTIC_PASSWORD=bench", "RESTIC_REPOSITORY=" + repo, "HOME=" + b.path("home"), "RESTIC_CACHE_DIR=" + b.path("home", "cache")}
}

func (b *bench) borgEnv(repo string) []string {
	return []string{"BORG_REPO=" + repo, "BORG_BASE_DIR=" + b.path("home"), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK=yes"}
}

func (b *bench) restic(d disk) peer {
	env := b.resticEnv(b.repository("restic", d))
	run := func(ctx context.Context, args ...string) (Sample, error) {
		return command(ctx, d.data, env, "restic", append([]string{"-q"}, args...)...)
	}
	return peer{
		name: "restic",
		init: func(ctx context.Context, _ int) error { _, err := run(ctx, "init"); return err },
		// Nothing tells restic that a disk is unchanged: --force reads it.
		backup: func(ctx context.Context, _ int) (Sample, error) { return run(ctx, "backup", "--force", d.path) },
		restore: func(ctx context.Context, _ int) (Sample, error) {
			return run(ctx, "restore", "latest", "--target", b.path("peer-out"))
		},
		check: func(ctx context.Context, _ int) (Sample, error) { return run(ctx, "check", "--read-data") },
		mount: func(ctx context.Context) (string, *mounted, error) {
			mnt := b.path("restic-mnt")
			path := mnt + "/snapshots/latest" + d.path
			m, err := serve(ctx, env, mnt, path, "restic", "mount", mnt)
			return path, m, err
		},
	}
}

func (b *bench) borg(d disk) peer {
	env := b.borgEnv(b.repository("borg", d))
	run := func(ctx context.Context, args ...string) (Sample, error) {
		return command(ctx, d.data, env, "borg", args...)
	}
	return peer{
		name: "borg",
		init: func(ctx context.Context, _ int) error { _, err := run(ctx, "init", "-e", "none"); return err },
		backup: func(ctx context.Context, _ int) (Sample, error) {
			// Without the files cache, as nothing tells borg that a disk is unchanged.
			return run(ctx, "create", "-C", "zstd,1", "--files-cache", "disabled", "::{now:%s%f}", d.path)
		},
		restore: func(ctx context.Context, _ int) (Sample, error) {
			out := b.path("peer-out")
			if err := os.MkdirAll(out, 0o755); err != nil {
				return Sample{}, err
			}
			return command(ctx, d.data, env, "sh", "-c", `cd "$1" && exec borg extract --sparse "::$(borg list --last 1 --format '{archive}')"`, "sh", out)
		},
		check: func(ctx context.Context, _ int) (Sample, error) { return run(ctx, "check", "--verify-data") },
		mount: func(ctx context.Context) (string, *mounted, error) {
			mnt := b.path("borg-mnt")
			path := mnt + d.path
			m, err := serve(ctx, env, mnt, path, "sh", "-c", `exec borg mount -f "$BORG_REPO::$(borg list --last 1 --format '{archive}')" "$1"`, "sh", mnt)
			return path, m, err
		},
	}
}

// zbackup packs with LZO: its default, LZMA, is many times slower.
func (b *bench) zbackup(d disk) peer {
	repo := b.repository("zbackup", d)
	kept := filepath.Join(repo, "backups", "disk")
	run := func(ctx context.Context, args ...string) (Sample, error) {
		return command(ctx, d.data, nil, "zbackup", append([]string{"--silent", "--non-encrypted"}, args...)...)
	}
	return peer{
		name: "zbackup",
		init: func(ctx context.Context, _ int) error {
			_, err := run(ctx, "-o", "bundle.compression_method=lzo", "init", repo)
			return err
		},
		backup: func(ctx context.Context, _ int) (Sample, error) {
			if err := removeFile(kept); err != nil { // it overwrites no backup
				return Sample{}, err
			}
			// From a pipe: given the file's name it fails («Error writing to the file»).
			return command(ctx, d.data, nil, "sh", "-c", `exec zbackup --silent --non-encrypted backup "$2" <"$1"`, "sh", d.path, kept)
		},
		restore: func(ctx context.Context, _ int) (Sample, error) {
			out := b.path("peer-out")
			if err := os.MkdirAll(out, 0o755); err != nil {
				return Sample{}, err
			}
			return run(ctx, "restore", kept, filepath.Join(out, "disk.raw"))
		},
	}
}

// casync stores the disk as a blob, and for its mount, which shows only trees,
// a tree with the disk in it.
func (b *bench) casync(d disk) peer {
	repo := b.repository("casync", d)
	store, index, tree := filepath.Join(repo, "disk.castr"), filepath.Join(repo, "disk.caibx"), filepath.Join(repo, "tree.caidx")
	run := func(ctx context.Context, args ...string) (Sample, error) {
		return command(ctx, d.data, nil, "casync", append([]string{"--compression=zstd", "--store=" + store}, args...)...)
	}
	return peer{
		name:   "casync",
		init:   func(ctx context.Context, _ int) error { return os.MkdirAll(repo, 0o755) },
		backup: func(ctx context.Context, _ int) (Sample, error) { return run(ctx, "make", index, d.path) },
		restore: func(ctx context.Context, _ int) (Sample, error) {
			out := b.path("peer-out")
			if err := os.MkdirAll(out, 0o755); err != nil {
				return Sample{}, err
			}
			return run(ctx, "extract", "--punch-holes=yes", index, filepath.Join(out, "disk.raw"))
		},
		mount: func(ctx context.Context) (string, *mounted, error) {
			if _, err := once(b, repo+" tree", func() (bool, error) {
				dir := b.path("casync-tree")
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return false, err
				}
				defer os.RemoveAll(dir)
				if _, err := command(ctx, 0, nil, "cp", "--sparse=always", d.path, filepath.Join(dir, "disk.raw")); err != nil {
					return false, err
				}
				_, err := run(ctx, "make", "--with=fuse", tree, dir)
				return true, err
			}); err != nil {
				return "", nil, err
			}
			mnt := b.path("casync-mnt")
			path := filepath.Join(mnt, "disk.raw")
			m, err := serve(ctx, nil, mnt, path, "casync", "--store="+store, "mount", tree, mnt)
			return path, m, err
		},
	}
}

func (b *bench) desync(d disk) peer {
	repo := b.repository("desync", d)
	store, index := filepath.Join(repo, "store"), filepath.Join(repo, "disk.caibx")
	run := func(ctx context.Context, args ...string) (Sample, error) {
		return command(ctx, d.data, []string{"HOME=" + b.path("home")}, "desync", args...)
	}
	return peer{
		name:   "desync",
		init:   func(ctx context.Context, _ int) error { return os.MkdirAll(store, 0o755) },
		backup: func(ctx context.Context, _ int) (Sample, error) { return run(ctx, "make", "-s", store, index, d.path) },
		restore: func(ctx context.Context, _ int) (Sample, error) {
			out := b.path("peer-out")
			if err := os.MkdirAll(out, 0o755); err != nil {
				return Sample{}, err
			}
			return run(ctx, "extract", "-s", store, index, filepath.Join(out, "disk.raw"))
		},
		check: func(ctx context.Context, _ int) (Sample, error) { return run(ctx, "verify", "-s", store) },
		mount: func(ctx context.Context) (string, *mounted, error) {
			mnt := b.path("desync-mnt")
			path := filepath.Join(mnt, "disk.caibx")
			m, err := serve(ctx, nil, mnt, path, "desync", "mount-index", "-s", store, index, mnt)
			return path, m, err
		},
	}
}
