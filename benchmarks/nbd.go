package main

import (
	"context"
	"fmt"
)

// nbdFile is nbdkit's plugin that serves a file as it is.
const nbdFile = "file"

// served reads a whole disk over NBD from nbdkit with qemu-img: what a server of
// blocks without a store reaches.
func (b *bench) served(name string, d disk, format, plugin string) contestant {
	return contestant{name: name, peer: true, run: func(ctx context.Context, _ int) (Sample, error) {
		target := fmt.Sprintf("driver=null-co,size=%d", d.size)
		return command(ctx, d.size, nil, "nbdkit", "-r", "-U", "-", plugin, d.path,
			"--run", `qemu-img convert -n -f `+format+` --target-image-opts "$uri" `+target)
	}}
}
