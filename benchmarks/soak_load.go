package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"holdfast/tests/vm"
)

const (
	soakReaders  = 4
	soakCapture  = 3 * time.Minute  // between two versions of the disk that changes
	soakPrune    = 13 * time.Minute // between two prunes
	soakVersions = 4                // of it that are kept
	soakChanges  = "changing"       // its VM
	soakRun      = 16 << 20         // of a sequential read
	soakPaths    = 4000             // guest files that are known by name
	soakEmptied  = 2                // collections after which no pool holds what nobody used between them
	soakRest     = time.Minute      // for which they are waited for at the most
)

// soakLoad is the mixed load of a soak: readers that choose at random what they do,
// and beside them captures of a disk that changes, forgetting and prunes.
type soakLoad struct {
	b          *bench
	store, mnt string
	share      float64 // of a core that all of it may take
	daemon     int
	disks      map[string]vm.Member // by VM; the newest of it
	vms        []string
	changing   string // path of the disk that changes
	changed    [][2]int64
	rested     func()     // is told each time that the mount has come to rest
	collected  func() int // collections of the daemon

	reading sync.RWMutex // held while somebody reads; a rest holds all of it

	mu     sync.Mutex // guards what follows
	done   map[string]int64
	read   int64
	paths  []string // of guests' files
	placed map[string][]int64
}

// newSoakLoad makes the store: every byte of the disks, so that the raw files are
// what the disks are.
func (b *bench) newSoakLoad(ctx context.Context, share float64) (*soakLoad, error) {
	l := &soakLoad{b: b, mnt: b.path("soak.mnt"), share: share, changing: b.path("changing.raw"),
		disks: map[string]vm.Member{}, done: map[string]int64{}, placed: map[string][]int64{}}
	members, err := b.soakDisks()
	if err != nil {
		return nil, err
	}
	if l.store, err = b.freshStore(ctx, "soak.store"); err != nil {
		return nil, err
	}
	for _, m := range members {
		if err := l.capture(ctx, m.VM, m.Path); err != nil {
			return nil, err
		}
		if _, there := l.disks[m.VM]; !there {
			l.vms = append(l.vms, m.VM)
		}
		l.disks[m.VM] = m
		extents, err := dataExtents(m.Path)
		if err != nil {
			return nil, err
		}
		l.placed[m.VM] = randomPlaces(extents, 1<<16, len(l.vms))
	}
	if _, err := command(ctx, 0, nil, "cp", "--sparse=always", "--no-preserve=mode", b.web.path, l.changing); err != nil {
		return nil, err
	}
	if l.changed, err = dataExtents(l.changing); err != nil {
		return nil, err
	}
	return l, l.capture(ctx, soakChanges, l.changing)
}

func (l *soakLoad) capture(ctx context.Context, vm, path string) error {
	_, err := l.b.holdfast(ctx, 0, l.store, "--quiet", "capture", "--vm", vm, "--keep-free", "--keep-swap", "vda="+path)
	return err
}

func (l *soakLoad) totals() (map[string]int64, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done, l.read
}

// run loads the mount until the context is done.
func (l *soakLoad) run(ctx context.Context) error {
	if err := l.findPaths(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for i := range soakReaders {
		g.Go(func() error { return l.reader(ctx, rand.New(rand.NewPCG(uint64(i), 11))) })
	}
	g.Go(func() error { return l.changes(ctx) })
	return g.Wait()
}

// pace waits until the load has taken no more than its share of a core since began.
func (l *soakLoad) pace(ctx context.Context, began time.Time, before time.Duration) error {
	for l.used()-before > time.Duration(l.share*float64(time.Since(began))) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return ctx.Err()
}

func (l *soakLoad) used() time.Duration { return ownCPU() + processCPU(l.daemon) }

// reader does one kind of work after the other.
func (l *soakLoad) reader(ctx context.Context, r *rand.Rand) error {
	kinds := []struct {
		name string
		do   func(context.Context, *rand.Rand) (int64, error)
	}{
		{"random reads of .raw, compared", l.readPlaces}, {"sequential reads of an image", l.readRun},
		{"O_DIRECT reads of an image", l.readDirect}, {"guest files", l.readFiles}, {"ls -lR", l.listTree},
	}
	for began, before := time.Now(), l.used(); ; {
		if err := l.pace(ctx, began, before); err != nil {
			return err
		}
		k := kinds[r.IntN(len(kinds))]
		l.reading.RLock()
		n, err := k.do(ctx, r)
		l.reading.RUnlock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		l.mu.Lock()
		l.done[k.name]++
		l.read += n
		l.mu.Unlock()
	}
}

// readPlaces reads 4 KiB at random places of a raw file and compares them with the
// disk that was captured.
func (l *soakLoad) readPlaces(_ context.Context, r *rand.Rand) (int64, error) {
	name := l.vms[r.IntN(len(l.vms))]
	return l.through(filepath.Join(l.mnt, name, "latest/vda.raw"), 0, func(f *os.File) (int64, error) {
		disk, err := os.Open(l.disks[name].Path)
		if err != nil {
			return 0, err
		}
		defer disk.Close()
		got, want := make([]byte, blockSize), make([]byte, blockSize)
		const count = 300
		for range count {
			at := l.placed[name][r.IntN(len(l.placed[name]))]
			if _, err := f.ReadAt(got, at); err != nil {
				return 0, err
			}
			if _, err := disk.ReadAt(want, at); err != nil {
				return 0, err
			}
			if !bytes.Equal(got, want) {
				return 0, fmt.Errorf("%s differs from %s at %d", f.Name(), disk.Name(), at)
			}
		}
		return count * blockSize, nil
	})
}

// through opens a file, and takes what was read out of the page cache again: the
// next read comes to the daemon too.
func (l *soakLoad) through(path string, flags int, read func(*os.File) (int64, error)) (int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|flags, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := read(f)
	unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) //nolint:errcheck // then less comes to the daemon
	return n, err
}

// image is one of the images of one of the VMs, the one that changes included.
func (l *soakLoad) image(r *rand.Rand) string {
	name := soakChanges
	if i := r.IntN(len(l.vms) + 1); i < len(l.vms) {
		name = l.vms[i]
	}
	format := []string{"raw", "qcow2", "vhd", "vhdx", "vmdk"}[r.IntN(5)]
	return filepath.Join(l.mnt, name, "latest", "vda."+format)
}

func (l *soakLoad) readRun(_ context.Context, r *rand.Rand) (int64, error) { return l.readSome(r, 0) }

func (l *soakLoad) readDirect(_ context.Context, r *rand.Rand) (int64, error) {
	return l.readSome(r, unix.O_DIRECT)
}

// readSome reads a run of an image in pieces of 1 MiB.
func (l *soakLoad) readSome(r *rand.Rand, flags int) (int64, error) {
	return l.through(l.image(r), flags, func(f *os.File) (total int64, err error) {
		st, err := f.Stat()
		if err != nil {
			return 0, err
		}
		buf, err := aligned(1 << 20)
		if err != nil {
			return 0, err
		}
		defer unix.Munmap(buf)
		at := r.Int64N(max(1, st.Size()-soakRun)) &^ (blockSize - 1)
		for end := min(at+soakRun, st.Size()&^(blockSize-1)); at < end; {
			n, err := f.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
			if err != nil {
				return total, err
			}
			at, total = at+int64(n), total+int64(n)
		}
		return total, nil
	})
}

// findPaths remembers some of the guests' files, of all VMs alike.
func (l *soakLoad) findPaths(ctx context.Context) error {
	for _, name := range l.vms {
		n := 0
		err := filepath.WalkDir(filepath.Join(l.mnt, name, "latest/files/root/usr"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || ctx.Err() != nil {
				return ctx.Err() // what can't be listed is not read
			}
			if !d.Type().IsRegular() {
				return nil
			}
			l.paths = append(l.paths, path)
			if n++; n >= soakPaths/len(l.vms) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if len(l.paths) == 0 && !l.b.quick {
		return fmt.Errorf("no guest's files under %s", l.mnt)
	}
	return ctx.Err()
}

// readFiles reads guests' files from begin to end.
func (l *soakLoad) readFiles(ctx context.Context, r *rand.Rand) (total int64, err error) {
	for i := 0; i < 40 && len(l.paths) > 0 && ctx.Err() == nil; i++ {
		n, err := l.through(l.paths[r.IntN(len(l.paths))], 0, func(f *os.File) (int64, error) {
			s, err := readSequential(ctx, f.Name(), 0, soakRun)
			return s.Bytes, err
		})
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, ctx.Err()
}

// listTree lists a part of a guest's tree, or of the VM that changes.
func (l *soakLoad) listTree(ctx context.Context, r *rand.Rand) (int64, error) {
	dir := []string{soakChanges + "/latest/files/root/etc", soakChanges, l.vms[0] + "/latest/files/root/usr/bin", ""}[r.IntN(4)]
	if l.b.quick {
		dir = soakChanges
	}
	flags := "-lR"
	if dir == "" || dir == soakChanges {
		flags = "-l"
	}
	_, err := command(ctx, 0, nil, "ls", flags, filepath.Join(l.mnt, dir)+"/")
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && strings.HasPrefix(dir, soakChanges) {
		err = nil // a version was forgotten meanwhile, or noise was written over its directories
	}
	return 0, err
}

// rest stops all readers until the daemon has collected what they left: how much is in
// buffers for replies, which the garbage collector empties, says how busy the last second
// was. A name that isn't there is asked for meanwhile, which takes no such buffer and
// leaves garbage, or there would be no collection. Where that takes too long nobody is told.
func (l *soakLoad) rest(ctx context.Context) error {
	l.reading.Lock()
	defer l.reading.Unlock()
	nobody := filepath.Join(l.mnt, "nobody")
	deadline, until := time.Now().Add(soakRest), l.collected()+soakEmptied
	for l.collected() < until {
		if ctx.Err() != nil || time.Now().After(deadline) {
			return ctx.Err()
		}
		for range 1000 {
			if _, err := os.Lstat(nobody); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("stat %s: want none such, not %v", nobody, err)
			}
		}
	}
	l.rested()
	return nil
}

// changes captures the disk that changes, forgets its old versions and prunes.
func (l *soakLoad) changes(ctx context.Context) error {
	pruned := time.Now()
	for seed := uint64(1); ; seed++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(soakCapture):
		}
		if err := l.rest(ctx); err != nil {
			return err
		}
		if _, err := overwriteShare(l.changing, l.changed, 0.01, seed); err != nil {
			return err
		}
		work := [][]string{
			{"capture", "--vm", soakChanges, "--keep-free", "--keep-swap", "vda=" + l.changing},
			{"forget", soakChanges, "--keep-last", fmt.Sprint(soakVersions)},
		}
		if time.Since(pruned) > soakPrune {
			pruned = time.Now()
			work = append(work, []string{"prune", "--grace", "0s"})
		}
		for _, args := range work {
			if _, err := l.b.holdfast(ctx, 0, l.store, append([]string{"--quiet"}, args...)...); err != nil && ctx.Err() == nil {
				return err
			}
			l.mu.Lock()
			l.done[args[0]]++
			l.mu.Unlock()
		}
	}
}
