package main

import (
	"context"
	"os"
	"path/filepath"
)

// peer is another program that does the same work on the same disk.
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
	// mount serves the repository and returns the disk's path in it.
	mount func(ctx context.Context) (string, *mounted, error)
}

func (b *bench) preparePeers(_ context.Context) ([]peer, error) {
	var peers []peer
	if b.has("restic") {
		peers = append(peers, b.restic())
	}
	if b.has("borg") {
		peers = append(peers, b.borg())
	}
	return peers, os.MkdirAll(b.path("home"), 0o755)
}

// repository is what both peers' roads share.
func (b *bench) repository(name string, p *peer) string {
	repo := b.path(name)
	init, backup := p.init, p.backup
	p.init = func(ctx context.Context, round int) error {
		if err := os.RemoveAll(repo); err != nil {
			return err
		}
		return init(ctx, round)
	}
	p.ready = func(ctx context.Context) error {
		if _, err := os.Stat(filepath.Join(repo, "config")); err == nil {
			return nil
		}
		if err := p.init(ctx, 0); err != nil {
			return err
		}
		_, err := backup(ctx, 0)
		return err
	}
	return repo
}

func (b *bench) resticEnv(repo string) []string {
	return []string{"RESTIC_PASSWORD=bench", "RESTIC_REPOSITORY=" + repo, "HOME=" + b.path("home"), "RESTIC_CACHE_DIR=" + b.path("home", "cache")}
}

func (b *bench) borgEnv(repo string) []string {
	return []string{"BORG_REPO=" + repo, "BORG_BASE_DIR=" + b.path("home"), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK=yes"}
}

func (b *bench) restic() peer {
	repo := b.path("restic")
	env := b.resticEnv(repo)
	run := func(ctx context.Context, args ...string) (Sample, error) {
		return command(ctx, b.data.Bytes, env, "restic", append([]string{"-q"}, args...)...)
	}
	p := peer{
		name:   "restic",
		init:   func(ctx context.Context, _ int) error { _, err := run(ctx, "init"); return err },
		backup: func(ctx context.Context, _ int) (Sample, error) { return run(ctx, "backup", "--force", b.image) },
		restore: func(ctx context.Context, _ int) (Sample, error) {
			return run(ctx, "restore", "latest", "--target", b.path("peer-out"))
		},
	}
	p.check = func(ctx context.Context, _ int) (Sample, error) { return run(ctx, "check", "--read-data") }
	b.repository("restic", &p)
	p.mount = func(ctx context.Context) (string, *mounted, error) {
		if err := p.ready(ctx); err != nil {
			return "", nil, err
		}
		mnt := b.path("restic-mnt")
		path := mnt + "/snapshots/latest" + b.image
		m, err := serve(ctx, env, mnt, path, "restic", "mount", mnt)
		return path, m, err
	}
	return p
}

func (b *bench) borg() peer {
	repo := b.path("borg")
	env := b.borgEnv(repo)
	run := func(ctx context.Context, args ...string) (Sample, error) {
		return command(ctx, b.data.Bytes, env, "borg", args...)
	}
	p := peer{
		name: "borg",
		init: func(ctx context.Context, _ int) error { _, err := run(ctx, "init", "-e", "none"); return err },
		backup: func(ctx context.Context, _ int) (Sample, error) {
			// Without the files cache, as nothing tells borg that a disk is unchanged.
			return run(ctx, "create", "-C", "zstd,1", "--files-cache", "disabled", "::{now:%s%f}", b.image)
		},
		restore: func(ctx context.Context, _ int) (Sample, error) {
			out := b.path("peer-out")
			if err := os.MkdirAll(out, 0o755); err != nil {
				return Sample{}, err
			}
			return command(ctx, b.data.Bytes, env, "sh", "-c", `cd "$1" && borg extract "::$(borg list --last 1 --format '{archive}')"`, "sh", out)
		},
	}
	p.check = func(ctx context.Context, _ int) (Sample, error) { return run(ctx, "check", "--verify-data") }
	b.repository("borg", &p)
	p.mount = func(ctx context.Context) (string, *mounted, error) {
		if err := p.ready(ctx); err != nil {
			return "", nil, err
		}
		mnt := b.path("borg-mnt")
		path := mnt + b.image
		m, err := serve(ctx, env, mnt, path, "sh", "-c", `exec borg mount -f "$BORG_REPO::$(borg list --last 1 --format '{archive}')" "$1"`, "sh", mnt)
		return path, m, err
	}
	return p
}
