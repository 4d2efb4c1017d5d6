package qcow2

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"holdfast/capture/source"
)

const (
	inflatedCacheBytes = 8 << 20
	// maxZstdWindow is far above what a cluster of 2 MiB needs.
	maxZstdWindow = 8 << 20
)

// inflaters keeps decoders of one compression type for reuse: making one
// costs more than inflating a cluster. Safe for concurrent use.
type inflaters struct {
	compression uint8
	pool        sync.Pool // of io.ReadCloser or *zstd.Decoder
	inputs      sync.Pool // of *bytes.Buffer, for compressed bytes
}

// inflate fills out from the compressed bytes in, which may be followed by
// foreign ones: the image tells the length in whole sectors.
func (s *inflaters) inflate(out, in []byte) error {
	if s.compression == compressionZstd {
		return s.zstd(out, in)
	}
	r, _ := s.pool.Get().(io.ReadCloser)
	if r == nil {
		r = flate.NewReader(bytes.NewReader(in))
	} else if err := r.(flate.Resetter).Reset(bytes.NewReader(in), nil); err != nil {
		return err
	}
	defer s.pool.Put(r)
	_, err := io.ReadFull(r, out)
	return err
}

func (s *inflaters) zstd(out, in []byte) error {
	d, _ := s.pool.Get().(*zstd.Decoder)
	if d == nil {
		var err error
		// One goroutine: none is left behind when the pool drops a decoder.
		d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return err
		}
	}
	defer s.pool.Put(d)
	if err := d.Reset(bytes.NewReader(in)); err != nil {
		return err
	}
	_, err := io.ReadFull(d, out)
	return err
}

// fillCompressed reads guest bytes that lie wholly in the compressed run r. A
// cluster that is wanted whole goes straight to p; it would not be asked for
// again soon.
func (d *disk) fillCompressed(p []byte, off int64, r run) error {
	if int64(len(p)) == d.h.clusterSize() {
		return d.inflate(p, r)
	}
	host, _ := r.compressed(d.h)
	cluster, err := d.inflated.Get(host, func() ([]byte, error) {
		out := make([]byte, d.h.clusterSize())
		return out, d.inflate(out, r)
	})
	if err == nil {
		copy(p, cluster[off-r.guest:])
	}
	return err
}

// compressed gives the place of a compressed cluster in the file and the most
// bytes that it can have there.
func (r run) compressed(h *header) (host, length int64) {
	bits := 62 - (h.clusterLog - 8)
	host = int64(r.entry & (1<<bits - 1))
	sectors := int64(r.entry>>bits&(1<<(h.clusterLog-8)-1)) + 1
	return host, sectors*source.SectorSize - host%source.SectorSize
}

// inflate fills out with the whole cluster of r.
func (d *disk) inflate(out []byte, r run) error {
	host, length := r.compressed(d.h)
	if host >= d.f.Size() {
		return d.f.Corrupt(host, "a compressed cluster beyond the end of the file (%d bytes): the image is truncated", d.f.Size())
	}
	buf, _ := d.inflaters.inputs.Get().(*bytes.Buffer)
	if buf == nil {
		buf = &bytes.Buffer{}
	}
	defer d.inflaters.inputs.Put(buf)
	buf.Reset()
	// The last sector of the file need not be whole.
	length = min(length, d.f.Size()-host)
	buf.Grow(int(length))
	in := buf.AvailableBuffer()[:length]
	if err := d.f.ReadFull(in, host, "compressed cluster"); err != nil {
		return err
	}
	if err := d.inflaters.inflate(out, in); err != nil {
		return d.f.Corrupt(host, "inflate the cluster of guest byte %d: %v", r.guest, err)
	}
	return nil
}

// snapshotNotice says what becomes of internal snapshots.
func snapshotNotice(name string, n uint32) string {
	return fmt.Sprintf("%s: %d internal snapshots are ignored, only the current state is read", name, n)
}
