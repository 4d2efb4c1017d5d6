package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/tests/vm"
)

// drivers are qemu's names of the formats in the tree.
var drivers = map[string]string{"raw": "raw", "qcow2": "qcow2", "vhd": "vpc", "vhdx": "vhdx", "vmdk": "vmdk"}

// TestRealVM goes the product's main road on a real Debian VM: capture, mount,
// compare every format, mount the guest's root, boot, change, capture while
// mounted, restore. It compares whole disks, so it keeps what the guest does not
// use; TestLeftOut goes the same road without.
func TestRealVM(t *testing.T) {
	p := newStore(t)
	dir := t.TempDir()
	disk := vm.Debian(t).Clone(t, dir)
	want := sum(t, disk)
	qcow2 := filepath.Join(dir, "copy.qcow2")
	tool(t, "qemu-img", "convert", "-c", "-O", "qcow2", disk, qcow2)

	capture := p.command("capture", "--keep-free", "--keep-swap", "--vm", "web", "vda="+disk)
	if msg, err := capture.CombinedOutput(); err != nil {
		t.Fatalf("capture: %v\n%s", err, msg)
	}
	if got := peakMemory(t, capture); got > 256<<20 {
		t.Errorf("the capture held %d MiB", got>>20)
	}
	out := p.must("capture", "--keep-free", "--keep-swap", "--json", "--vm", "clone", "vda="+qcow2)
	if !strings.Contains(out, `"new_bytes": 0`) {
		t.Errorf("the same disk as qcow2 stored new bytes:\n%s", out)
	}

	m := p.mount()
	first := p.versions("web")[0]
	for _, machine := range []string{"web", "clone"} {
		if got := sum(t, m.path(machine, "latest", "vda.raw")); got != want {
			t.Fatalf("%s: the mounted raw disk has sum %s, the source %s", machine, got, want)
		}
	}
	for format, driver := range drivers {
		tool(t, "qemu-img", "compare", "-f", "raw", "-F", driver, disk, m.path("web", first, "vda."+format))
	}
	tool(t, "qemu-img", "check", m.path("web", first, "vda.qcow2"))
	t.Run("the kernel mounts the guest's root", func(t *testing.T) {
		root := vm.MountRoot(t, m.path("web", first, "vda.raw"), vm.ReadOnly)
		inside := sum(t, filepath.Join(root, vm.DataFile))
		mine := vm.MountRoot(t, disk, vm.ReadOnly)
		if want := sum(t, filepath.Join(mine, vm.DataFile)); inside != want {
			t.Errorf("%s has sum %s through the mount, %s in the source", vm.DataFile, inside, want)
		}
	})
	bootFrom(t, m.path("web", first, "vda.qcow2"), vm.FirstMarker)

	// A day later, captured beside the mount.
	vm.Change(t, disk, 1)
	changed := sum(t, disk)
	if changed == want {
		t.Fatal("the disk did not change")
	}
	p.must("capture", "--keep-free", "--keep-swap", "--vm", "web", "vda="+disk)
	ids := p.versions("web")
	if len(ids) != 2 {
		t.Fatalf("versions %q", ids)
	}
	took := waitFor(t, "the new version in the tree", func() bool {
		link, err := os.Readlink(m.path("web", "latest"))
		return err == nil && link == ids[1]
	})
	t.Logf("the new version appeared after %v", took)
	if took > 20*time.Second { // the promise is a second; a busy machine gets more
		t.Errorf("the new version appeared after %v", took)
	}
	if got := sum(t, m.path("web", first, "vda.raw")); got != want {
		t.Errorf("the old version changed: %s, was %s", got, want)
	}
	if got := sum(t, m.path("web", ids[1], "vda.raw")); got != changed {
		t.Errorf("the new version has sum %s, the source %s", got, changed)
	}

	// Restore beside the mount: anew, and onto the disk as it is now.
	restored := filepath.Join(dir, "restored.raw")
	p.must("restore", "web@"+first, restored)
	if got := sum(t, restored); got != want {
		t.Errorf("the restored disk has sum %s, want %s", got, want)
	}
	p.must("restore", "--overwrite", "web@"+first, disk)
	if got := sum(t, disk); got != want {
		t.Errorf("the disk rolled back has sum %s, want %s", got, want)
	}
	m.unmount()
	noTraces(t, m.mnt)
}

// bootFrom boots the guest from an overlay on a mounted image.
func bootFrom(t *testing.T, image, marker string) {
	t.Helper()
	before := sum(t, image)
	overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, overlay)
	vm.Boot(t, []string{"-drive", "file=" + overlay + ",format=qcow2,if=virtio,cache=unsafe"}, marker, vm.BootTimeout)
	if after := sum(t, image); after != before {
		t.Error("booting changed the image")
	}
}

// TestBootCommand boots the changed version of a VM by the command alone, which
// mounts by itself. The version lacks what the guest has freed.
func TestBootCommand(t *testing.T) {
	p := newStore(t)
	disk := vm.Debian(t).Clone(t, t.TempDir())
	vm.Change(t, disk, 7)
	p.must("capture", "--vm", "web", "vda="+disk)
	vm.Await(t, p.command("boot", "--accel", "tcg", "--memory", "512MiB", "web"), vm.ChangedMarker(7), vm.BootTimeout)
	noTraces(t, p.store)
}

// TestKilledInTheMiddle kills the owner with SIGKILL in a capture and in a
// mount; everything goes on without a person.
func TestKilledInTheMiddle(t *testing.T) {
	p := newStore(t)
	disk := vm.Debian(t).Clone(t, t.TempDir())
	want := sum(t, disk)

	cmd := p.command("capture", "--keep-free", "--keep-swap", "--vm", "web", "vda="+disk)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a pack under way", func() bool {
		files, _ := filepath.Glob(filepath.Join(p.store, "packs", "unfinished", "*"))
		return len(files) > 0
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if v := p.versions("web"); len(v) != 0 {
		t.Fatalf("a killed capture left versions %q", v)
	}
	p.must("capture", "--keep-free", "--keep-swap", "--vm", "web", "vda="+disk)

	m := p.mount()
	f, err := os.Open(m.path("web", "latest", "vda.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	if _, err := f.Read(buf); err != nil {
		t.Fatal(err)
	}
	m.kill()
	if _, err := f.ReadAt(buf, 1<<30); err == nil {
		t.Error("a read after the owner's death gave bytes")
	}
	f.Close()
	// The watchdog takes the dead mount away, the lock is free, and all is there.
	waitFor(t, "the end of the dead mount", func() bool {
		b, err := os.ReadFile("/proc/self/mounts")
		return err == nil && !strings.Contains(string(b), m.mnt)
	})
	again := p.mount()
	if got := sum(t, again.path("web", "latest", "vda.raw")); got != want {
		t.Errorf("after the kills the disk has sum %s, want %s", got, want)
	}
	again.unmount()
}

// TestCaptureSurvivesTheOwnersDeath kills the mount that owns the store while a
// capture works through it: the capture starts again by itself.
func TestCaptureSurvivesTheOwnersDeath(t *testing.T) {
	p := newStore(t)
	disk := vm.Debian(t).Clone(t, t.TempDir())
	want := sum(t, disk)
	m := p.mount()
	cmd := p.command("capture", "--keep-free", "--keep-swap", "--vm", "web", "vda="+disk)
	log := new(syncBuffer)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a pack under way", func() bool {
		files, _ := filepath.Glob(filepath.Join(p.store, "packs", "unfinished", "*"))
		return len(files) > 0
	})
	m.kill()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("capture: %v\n%s", err, log)
	}
	again := p.mount()
	if got := sum(t, again.path("web", "latest", "vda.raw")); got != want {
		t.Errorf("the disk has sum %s, want %s", got, want)
	}
	again.unmount()
}

// TestBusyMountSaysWho holds a mount busy and ends it.
func TestBusyMountSaysWho(t *testing.T) {
	p := newStore(t)
	p.must("capture", "--vm", "web", "vda="+vm.Small(t))
	m := p.mount()
	holder := exec.Command("sleep", "60")
	holder.Dir = m.path("web", "latest")
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { holder.Process.Kill(); holder.Wait() }()
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the holder's name", func() bool {
		return strings.Contains(m.log.String(), "sleep") || len(m.done) > 0
	})
	if !strings.Contains(m.log.String(), "sleep") {
		t.Errorf("the holder is not named:\n%s", m.log)
	}
	holder.Process.Kill()
	holder.Wait()
	select {
	case err := <-m.done:
		m.done <- err
	case <-time.After(time.Minute):
		t.Fatalf("the mount stays though nobody holds it\n%s", m.log)
	}
	noTraces(t, m.mnt)
}
