package tests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/fs"
)

func (k *soak) forget() {
	vm, v := k.pick(seen)
	if v == nil {
		return
	}
	_, err := catalog.Forget(k.ctx, k.open(), vm, v.id)
	if v.pinned {
		k.is(err, catalog.ErrPinned, vm, v.id)
		return
	}
	k.is(err, nil, vm, v.id)
	v.forgotten = true
}

func (k *soak) undelete() {
	vm, v := k.pick(func(v *soakVersion) bool { return v.forgotten })
	if v == nil {
		return
	}
	_, err := catalog.Undelete(k.ctx, k.open(), vm, catalog.UndeleteOptions{}, v.id)
	if v.doomed && (errors.Is(err, catalog.ErrNoVersion) || errors.Is(err, catalog.ErrPruned)) {
		return // a prune was faster, or an index made anew showed what was gone
	}
	k.is(err, nil, vm, v.id)
	v.forgotten = false
	k.compare(vm, v, true)
}

func (k *soak) pin() {
	vm, v := k.pick(func(*soakVersion) bool { return true })
	if v == nil {
		return
	}
	_, err := catalog.Pin(k.ctx, k.open(), vm, v.id)
	if v.forgotten {
		if !v.doomed || !errors.Is(err, catalog.ErrNoVersion) {
			k.is(err, catalog.ErrForgotten, vm, v.id)
		}
		return
	}
	k.is(err, nil, vm, v.id)
	v.pinned = true
}

func (k *soak) unpin() {
	if vm, v := k.pick(func(v *soakVersion) bool { return v.pinned }); v != nil {
		_, err := catalog.Unpin(k.ctx, k.open(), vm, v.id)
		k.is(err, nil, vm, v.id)
		v.pinned = false
	}
}

// retain carries a policy out that is stored by chance, and believes its
// verdicts where they break no promise; catalog's own tests judge them.
func (k *soak) retain() {
	vm, s := k.vm(), k.open()
	p := catalog.Policy{Last: 1 + k.rand.IntN(6), Daily: k.rand.IntN(8), Monthly: k.rand.IntN(3)}
	if k.rand.IntN(2) == 0 {
		if err := catalog.SetPolicy(k.ctx, s, vm, &p); err != nil {
			k.Fatal(err)
		}
		if got, own, ok, err := catalog.PolicyOf(k.ctx, s, vm); err != nil || !own || !ok || got != p {
			k.Fatalf("policy %+v, %v, %v, %v; want %+v", got, own, ok, err, p)
		}
	}
	now, _ := k.when()
	if k.rand.IntN(3) == 0 { // a clock that is behind makes some of the future
		now = now.Add(-time.Duration(k.rand.IntN(300)) * time.Hour)
	}
	states := map[string]chunkstore.Validation{}
	for _, v := range k.vms[vm] {
		st, err := s.RootState(catalog.RootName(vm, v.id))
		if err != nil {
			k.Fatal(err)
		}
		states[v.id] = st.State
	}
	plan, err := catalog.Retain(k.ctx, s, vm, catalog.RetainOptions{Policy: p, Now: now, States: states})
	if !slices.ContainsFunc(k.vms[vm], seen) {
		k.is(err, catalog.ErrNoVM, vm, "")
		return
	}
	k.is(err, nil, vm, "")
	left := 0
	for _, verdict := range plan {
		i := slices.IndexFunc(k.vms[vm], func(v *soakVersion) bool { return v.id == verdict.ID })
		if i < 0 || k.vms[vm][i].forgotten {
			k.Fatalf("the policy speaks of version %s of %q", verdict.ID, vm)
		}
		v := k.vms[vm][i]
		if len(verdict.Keep) > 0 {
			left++
			continue
		}
		if v.pinned || verdict.Time.After(now) {
			k.Fatalf("the policy forgot version %s of %q: %+v", v.id, vm, verdict)
		}
		v.forgotten = true
	}
	if left < min(p.Last, len(plan)) {
		k.Fatalf("%d of %d versions of %q are left of the last %d", left, len(plan), vm, p.Last)
	}
}

// killed runs the program and kills it at a random moment; it reports whether it
// had come to its end.
func (k *soak) killed(within time.Duration, args ...string) bool {
	k.Helper()
	k.closeStore()
	cmd := k.command(args...)
	if err := cmd.Start(); err != nil {
		k.Fatal(err)
	}
	time.Sleep(time.Duration(k.rand.Int64N(int64(within))))
	cmd.Process.Kill()
	return cmd.Wait() == nil
}

// killCapture kills a capture: its version is there and whole, or not at all.
func (k *soak) killCapture() {
	vm := k.vm()
	at, id := k.when()
	v := &soakVersion{id: id, content: k.next(vm)}
	path := filepath.Join(k.TempDir(), "disk.raw")
	if err := os.WriteFile(path, v.content, 0o600); err != nil {
		k.Fatal(err)
	}
	reported := k.killed(150*time.Millisecond, "capture", "--vm", vm, "--at", at.Format(time.RFC3339), "vda="+path)
	_, err := catalog.Get(k.ctx, k.open(), vm, id)
	switch {
	case err == nil:
		k.vms[vm] = append(k.vms[vm], v)
		k.compare(vm, v, true)
	case reported || !errors.Is(err, catalog.ErrNoVersion):
		k.Fatalf("version %s of %q was reported (%v): %v", id, vm, reported, err)
	default:
		k.ended[vm+"@"+id] = fmt.Sprintf("its capture was killed in step %d", k.steps())
	}
	if err := os.Remove(path); err != nil {
		k.Fatal(err)
	}
}

// killForget kills a forget or an undelete, which may be done or not.
func (k *soak) killForget() {
	vm, v := k.pick(func(v *soakVersion) bool { return !v.pinned })
	if v == nil || v.doomed && v.forgotten {
		return
	}
	command := map[bool]string{false: "forget", true: "undelete"}[v.forgotten]
	done := k.killed(100*time.Millisecond, command, vm+"@"+v.id)
	_, err := catalog.Get(k.ctx, k.open(), vm, v.id)
	if err != nil && !errors.Is(err, catalog.ErrForgotten) || done && v.forgotten == (err != nil) {
		k.Fatalf("%s of version %s of %q ended (%v): %v", command, v.id, vm, done, err)
	}
	v.forgotten = err != nil
}

func (k *soak) killRepair() {
	if k.killed(150*time.Millisecond, "scrub", "--repair") {
		k.injured = false
	}
	k.read()
}

// mountAndRead reads through a mounted tree while it is captured into and
// forgotten from, and ends the mount as it comes.
func (k *soak) mountAndRead() {
	k.closeStore()
	m := k.mount()
	vm := k.vm()
	at, id := k.when()
	v := &soakVersion{id: id, content: k.next(vm)}
	path := filepath.Join(k.TempDir(), "disk.raw")
	if err := os.WriteFile(path, v.content, 0o600); err != nil {
		k.Fatal(err)
	}
	k.must("capture", "--vm", vm, "--at", at.Format(time.RFC3339), "vda="+path)
	k.vms[vm] = append(k.vms[vm], v)
	for range 4 {
		vm, v := k.pick(seen)
		got := m.path(fs.Escape(vm), v.id, "vda.raw")
		waitFor(k.T, "version "+v.id, func() bool { _, err := os.Stat(got); return err == nil })
		b, err := os.ReadFile(got)
		if err != nil || string(b) != string(v.content) {
			k.Fatalf("version %s of %q reads wrong through the mount: %v", v.id, vm, err)
		}
	}
	if vm, v := k.pick(func(v *soakVersion) bool { return seen(v) && !v.pinned }); v != nil {
		k.must("forget", vm+"@"+v.id)
		v.forgotten = true
		dir := m.path(fs.Escape(vm), v.id)
		waitFor(k.T, "the end of "+v.id, func() bool { _, err := os.Stat(dir); return errors.Is(err, os.ErrNotExist) })
	}
	if k.rand.IntN(2) == 0 {
		m.unmount()
	} else {
		m.kill()
		waitFor(k.T, "the end of the dead mount", func() bool {
			b, err := os.ReadFile("/proc/self/mounts")
			return err == nil && !strings.Contains(string(b), m.mnt)
		})
	}
	k.list()
}
