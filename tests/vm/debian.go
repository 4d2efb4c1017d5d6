package vm

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// recipeVersion changes whenever the code that builds a disk changes what the
// disk holds; the texts below are in the cached name by themselves.
const recipeVersion = "1"

const debianSize = 2 << 30

// debianPackages is a minimal Debian that boots: the cloud kernel is small and
// has virtio, ext4 and XFS.
var debianPackages = []string{"linux-image-cloud-amd64", "systemd-sysv", "udev", "e2fsprogs", "xfsprogs"}

func recipeOf(kind Kind) (recipe, error) {
	switch kind {
	case KindSmall:
		return smallRecipe(), nil
	case KindDebian:
		return debianRecipe(kind, "ext4")
	case KindXFS:
		return debianRecipe(kind, "xfs")
	}
	return recipe{}, fmt.Errorf("unknown kind of disk %q: use small, debian or xfs", kind)
}

// rootfsRecipe is the Debian tree as a tar file, shared by all Debian disks.
func rootfsRecipe() (recipe, error) {
	suite, err := hostSuite()
	if err != nil {
		return recipe{}, err
	}
	r := recipe{name: "rootfs", ext: ".tar"}
	r.text = strings.Join(append([]string{recipeVersion, suite}, debianPackages...), "\n")
	r.make = func(_, out string) error { return bootstrap(suite, "minbase", debianPackages, out) }
	return r, nil
}

func debianRecipe(kind Kind, fsType string) (recipe, error) {
	rootfs, err := rootfsRecipe()
	if err != nil {
		return recipe{}, err
	}
	var text strings.Builder
	fmt.Fprintln(&text, rootfs.text, fsType, debianSize, fsUUID, grubModules)
	fmt.Fprintln(&text, guestFiles(fsType, "", "")) // fmt prints maps in key order
	r := recipe{name: string(kind), ext: ".raw", text: text.String()}
	r.make = func(work, out string) error {
		if err := needRoot("building a Debian disk"); err != nil {
			return err
		}
		tar, err := ensure(rootfs)
		if err != nil {
			return err
		}
		return makeDisk(work, out, fsType, debianSize, func(mnt string) error { return unpackTar(work, tar, mnt) })
	}
	return r, nil
}

// makeDisk unpacks a tree onto a new root filesystem, makes it our guest and
// puts it on a disk. The filesystem is made as a file of its own: neither mkfs
// nor the kernel then needs to know about partitions.
func makeDisk(work, out, fsType string, size int64, unpack func(mnt string) error) error {
	part := filepath.Join(work, "part.img")
	if err := makeFS(part, fsType, rootSize(size)); err != nil {
		return err
	}
	mnt := filepath.Join(work, "mnt")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		return err
	}
	if err := mountLoop(part, mnt, "loop"); err != nil {
		return err
	}
	err := unpack(mnt)
	if err == nil {
		err = dressGuest(mnt, fsType)
	}
	if err := errors.Join(err, unmount(mnt)); err != nil {
		return err
	}
	if err := assemble(out, part, size); err != nil {
		return err
	}
	return installGRUB(work, out)
}

// makeFS makes an empty filesystem of size bytes in a new file.
func makeFS(path, fsType string, size int64) error {
	if err := createSized(path, size); err != nil {
		return err
	}
	var err error
	switch fsType {
	case "ext4":
		_, err = run("mkfs.ext4", "-q", "-F", "-L", "root", "-U", fsUUID, path)
	case "xfs":
		_, err = run("mkfs.xfs", "-q", "-L", "root", "-m", "uuid="+fsUUID, path)
	default:
		err = fmt.Errorf("unknown filesystem %q", fsType)
	}
	return err
}

func createSized(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// bootstrap writes a Debian tree to tar file out, from the package sources that
// this machine is configured with. variant is mmdebstrap's: extract only unpacks
// the packages.
func bootstrap(suite, variant string, packages []string, out string) error {
	if err := needRoot("running mmdebstrap"); err != nil {
		return err
	}
	sources, err := aptSources(suite)
	if err != nil {
		return err
	}
	args := []string{"--quiet", "--mode=root", "--format=tar", "--variant=" + variant,
		"--include=" + strings.Join(packages, ",")}
	options, err := aptOptions()
	if err != nil {
		return err
	}
	args = append(args, options...)
	args = append(args, suite, out)
	_, err = run("mmdebstrap", append(args, sources...)...)
	return err
}

// aptOptions hands on how this machine reaches its sources: proxies, and
// whether a mirror that stands still in time is taken.
func aptOptions() (args []string, err error) {
	dump, err := run("apt-config", "dump")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(dump) {
		line = strings.TrimSuffix(strings.TrimSpace(line), ";")
		for _, prefix := range []string{"Acquire::Check-", "Acquire::http::", "Acquire::https::", "Acquire::Retries"} {
			if strings.HasPrefix(line, prefix) && !strings.HasSuffix(line, ` ""`) {
				args = append(args, "--aptopt="+line)
			}
		}
	}
	return args, nil
}

// aptSources lists the source files of this machine that name the suite.
func aptSources(suite string) ([]string, error) {
	files := []string{"/etc/apt/sources.list"}
	for _, pattern := range []string{"*.list", "*.sources"} {
		more, err := filepath.Glob("/etc/apt/sources.list.d/" + pattern)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	var found []string
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && namesSuite(string(text), suite) {
			found = append(found, file)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no apt source of this machine names suite %s", suite)
	}
	return found, nil
}

// namesSuite tells whether a sources file, of the one-line or the deb822
// form, has an active entry for the suite.
func namesSuite(text, suite string) bool {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 0 && (fields[0] == "deb" || fields[0] == "Suites:") && slices.Contains(fields[1:], suite) {
			return true
		}
	}
	return false
}

// hostSuite is the Debian release that this machine runs: its package sources
// serve that one.
func hostSuite() (string, error) {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, ok := strings.CutPrefix(s.Text(), "VERSION_CODENAME="); ok {
			return strings.Trim(name, `"`), nil
		}
	}
	return "", errors.New("/etc/os-release names no VERSION_CODENAME: Debian disks are built on Debian")
}
