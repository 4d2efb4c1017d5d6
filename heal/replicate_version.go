package heal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

const (
	copyWorkers = 4
	copyBatch   = 1024    // ids that are asked for at once
	copyBytes   = 4 << 20 // records that are put at once
	// writeBehind is how many record bytes a pack's writer may still have in
	// memory: what is read back must come from the file.
	writeBehind = 4 << 20
)

// versionCopy is the copying of one version.
type versionCopy struct {
	*replication
	job   replicaJob
	ses   chunkstore.Session
	fresh map[[16]byte]bool // maps that this copy has walked

	mu       sync.Mutex // guards what follows
	chunks   int64
	bytes    int64
	asked    map[pack.ID]bool // with DryRun: missing ones, counted
	lost     error            // the first chunk that is damaged here
	unread   error            // the first one that could not be read
	behind   []written
	buffered int64
}

// written is a chunk that is to be read back, and the proved record that was put.
type written struct {
	id  pack.ID
	rec []byte
}

func (c *versionCopy) run(ctx context.Context) error {
	if err := c.learn(ctx, c.job.base); err != nil {
		return err
	}
	ses, err := c.dst.Begin(ctx, "replicate "+c.job.id)
	if err != nil {
		return err
	}
	defer ses.Close()
	c.ses = ses
	if err := c.copy(ctx); err != nil || c.opts.DryRun || c.lost != nil || c.unread != nil {
		return err
	}
	if !c.job.there {
		if err := c.commit(ctx); err != nil {
			return err
		}
	}
	if err := c.readBack(ctx, 0); err != nil {
		return err
	}
	for k := range c.fresh { // a version that shows reaches them
		c.whole[k] = true
	}
	c.basis = append(c.basis, c.job.version)
	return nil
}

// commit makes the version visible in the replica.
func (c *versionCopy) commit(ctx context.Context) error {
	if err := c.stillThere(ctx); err != nil {
		return err
	}
	err := c.ses.Commit(ctx, catalog.RootName(c.job.vm, c.job.id), c.job.body)
	if errors.Is(err, chunkstore.ErrRootExists) {
		return nil // another replication was quicker
	}
	return err
}

// stillThere checks that the versions on which the copy relies were not
// forgotten by the replica meanwhile.
func (c *versionCopy) stillThere(ctx context.Context) error {
	for _, v := range c.basis {
		_, err := catalog.Get(ctx, c.dst, v.vm, v.id)
		if errors.Is(err, catalog.ErrNoVersion) {
			return errForgotten
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *versionCopy) result() ReplicatedVersion {
	v := ReplicatedVersion{VM: c.job.vm, Version: c.job.id, State: VersionCopied, Chunks: c.chunks, Bytes: c.bytes}
	switch {
	case c.lost != nil:
		v.State, v.Text = VersionDamaged, c.lost.Error()
	case c.unread != nil:
		v.State, v.Text = VersionIncomplete, c.unread.Error()
	case c.job.there && c.chunks > 0:
		v.State = VersionMended
	case c.job.there:
		v.State = VersionThere
	}
	return v
}

// copy walks the version's maps and lets workers deal with the chunks that it
// meets, in batches.
func (c *versionCopy) copy(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	work := make(chan []pack.ID)
	g.Go(func() error {
		defer close(work)
		return c.walkDisks(ctx, work)
	})
	for range copyWorkers {
		g.Go(func() error {
			for ids := range work {
				if err := c.batch(ctx, ids); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (c *versionCopy) walkDisks(ctx context.Context, work chan<- []pack.ID) error {
	var ids []pack.ID
	send := func() error {
		if len(ids) == 0 {
			return nil
		}
		select {
		case work <- ids:
			ids = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for i := range c.job.Disks {
		m := c.job.Disks[i].Map
		rd, err := disk.Open(nil, c.maps, m)
		if err != nil {
			return err
		}
		done := int64(0)
		err = rd.Parts(ctx, func(p disk.Part) (bool, error) {
			c.opts.Progress.Done.Add(p.Off - done)
			done = p.Off
			if k := [16]byte(p.ID[:16]); p.Kind != pack.KindData {
				if c.whole[k] || c.fresh[k] {
					return false, nil
				}
				c.fresh[k] = true
			}
			if ids = append(ids, p.ID); len(ids) < copyBatch {
				return true, nil
			}
			return true, send()
		})
		c.opts.Progress.Done.Add(m.Size - done)
		if err = c.judge(ctx, err); err != nil {
			return err
		}
	}
	return send()
}

// judge takes in an error of reading here: damage and what can't be read end
// this version's copy and no more.
func (c *versionCopy) judge(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d, isDamage := errors.AsType[*pack.Damage](err)
	switch {
	case isDamage && d.Kind == pack.Unreadable:
		c.unread = errors.Join(c.unread, err)
	case isDamage, errors.Is(err, chunkstore.ErrNotFound):
		if c.lost == nil {
			c.lost = err
		}
	default:
		return err
	}
	return nil
}

// batch copies those of some chunks that the replica does not have.
func (c *versionCopy) batch(ctx context.Context, ids []pack.ID) error {
	have := make([]bool, len(ids))
	if err := c.ses.Has(ctx, ids, have); err != nil {
		return err
	}
	var recs []pack.Record
	size := 0
	for i, id := range ids {
		if have[i] || c.given(id) {
			continue
		}
		rec, err := c.read(ctx, id)
		if err != nil {
			if err = c.judge(ctx, err); err != nil {
				return err
			}
			continue
		}
		if recs, size = append(recs, rec), size+len(rec.Bytes); size >= copyBytes {
			if err := c.put(ctx, recs); err != nil {
				return err
			}
			recs, size = nil, 0
		}
	}
	return c.put(ctx, recs)
}

// given counts a missing chunk in a dry run, which reads nothing. It reports
// whether there is nothing more to do for it.
func (c *versionCopy) given(id pack.ID) bool {
	if !c.opts.DryRun {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked == nil {
		c.asked = map[pack.ID]bool{}
	}
	if !c.asked[id] && len(c.asked) < maxAskedIDs {
		c.asked[id] = true
		c.chunks++
		if n, ok, err := c.src.RecordLen(id); err == nil && ok {
			c.bytes += int64(n)
		}
	}
	return true
}

// maxAskedIDs bounds the memory of a dry run; chunks beyond it are not counted.
const maxAskedIDs = 4 << 20

// read returns a record of the source, proved against its chunk's id.
func (c *versionCopy) read(ctx context.Context, id pack.ID) (rec pack.Record, err error) {
	err = patiently(ctx, c.opts.Retry, func() error {
		rec, err = c.readOnce(ctx, id)
		return err
	})
	return rec, err
}

func (c *versionCopy) readOnce(ctx context.Context, id pack.ID) (pack.Record, error) {
	b, err := c.src.ProvedRecord(ctx, id)
	if err != nil {
		return pack.Record{}, err
	}
	if err := c.pace.wait(ctx, len(b)); err != nil {
		return pack.Record{}, err
	}
	return pack.CheckStored(b)
}

// put stores records in the replica and reads back those that are in the file
// by now.
func (c *versionCopy) put(ctx context.Context, recs []pack.Record) error {
	if len(recs) == 0 {
		return nil
	}
	res, err := c.ses.Put(ctx, recs)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.chunks += int64(res.Records)
	c.bytes += res.StoredBytes
	for _, rec := range recs {
		c.behind = append(c.behind, written{rec.ID, rec.Bytes})
		c.buffered += int64(len(rec.Bytes))
	}
	c.mu.Unlock()
	return c.readBack(ctx, writeBehind)
}

// readBack reads chunks back from the replica and proves them, until at most leave
// bytes are left to do.
func (c *versionCopy) readBack(ctx context.Context, leave int64) error {
	for {
		batch := c.takeBehind(leave)
		if len(batch) == 0 {
			return nil
		}
		if err := c.proveBack(ctx, batch); err != nil {
			return fmt.Errorf("read back what was written to the replica: %w", err)
		}
	}
}

// proveBack proves some chunks in the replica: by the bytes of their records, which
// were proved when they were read here, or by their ids.
func (c *versionCopy) proveBack(ctx context.Context, batch []written) error {
	ids := make([]pack.ID, len(batch))
	for i := range batch {
		ids[i] = batch[i].id
	}
	recs, err := ask(ctx, ids, c.dst.StoredRecords)
	if err != nil {
		return err
	}
	others := ids[:0]
	for i := range batch {
		if !bytes.Equal(recs[i], batch[i].rec) {
			others = append(others, batch[i].id)
		}
	}
	if len(others) == 0 {
		return nil
	}
	if recs, err = ask(ctx, others, c.dst.OwnRecords); err != nil {
		return err
	}
	var buf []byte
	for i, id := range others {
		if buf, err = c.src.Codec().Decode(buf, recs[i], id); err != nil {
			return fmt.Errorf("chunk %v did not come back: %w", id, err)
		}
	}
	return nil
}

// ask refuses answers of another number.
func ask(ctx context.Context, ids []pack.ID, from func(context.Context, []pack.ID) ([][]byte, error)) ([][]byte, error) {
	recs, err := from(ctx, ids)
	if err == nil && len(recs) != len(ids) {
		err = fmt.Errorf("%d records for %d chunks", len(recs), len(ids))
	}
	return recs, err
}

// takeBehind returns the next chunks that are to be read back.
func (c *versionCopy) takeBehind(leave int64) (batch []written) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.behind) > 0 && c.buffered > leave && len(batch) < chunkstore.MaxRecords {
		batch = append(batch, c.behind[0])
		c.buffered -= int64(len(c.behind[0].rec))
		c.behind[0].rec = nil
		c.behind = c.behind[1:]
	}
	c.report.Verified += int64(len(batch))
	return batch
}
