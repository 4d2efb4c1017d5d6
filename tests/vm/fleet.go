package vm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Member is one disk of a fleet, cached: nobody may write to it.
type Member struct {
	VM   string // whose disk it is
	What string // for a person
	Path string // the raw image
}

const fleetSize = 3 << 30

// Packages of the fleet's VMs, and what is installed into one of them later.
var (
	webPackages = append([]string{"python3", "nginx-light", "git", "openssh-server", "vim", "less", "curl", "rsync", "locales", "man-db"}, debianPackages...)
	dbPackages  = append([]string{"postgresql", "python3", "openssh-server", "less"}, debianPackages...)
	laterOnes   = [][]string{{"php-cli", "php-fpm"}, {"nodejs"}, {"redis-server", "python3-django"}}
)

// Fleet returns the disks of a small data centre in the order in which they
// would be captured, and builds what is absent (some minutes): a VM in three
// versions, a clone that went its own way, the same packages unpacked in
// another order, and a different VM on XFS.
func Fleet() ([]Member, error) {
	web, err := treeRecipe("fleet-web", "minbase", webPackages)
	if err != nil {
		return nil, err
	}
	db, err := treeRecipe("fleet-db", "minbase", dbPackages)
	if err != nil {
		return nil, err
	}
	first := fleetDisk("fleet-web-1", "ext4", web, unpackTar)
	second, err := fleetLater("fleet-web-2", first, 1, laterOnes[0])
	if err != nil {
		return nil, err
	}
	third, err := fleetLater("fleet-web-3", second, 2, laterOnes[1])
	if err != nil {
		return nil, err
	}
	clone, err := fleetLater("fleet-clone", first, 9, laterOnes[2])
	if err != nil {
		return nil, err
	}
	var members []Member
	for _, m := range []struct {
		vm, what string
		recipe
	}{
		{"web", "a web server on ext4", first},
		{"web", "a week later", second},
		{"web", "a month later", third},
		{"clone", "a clone of the first that went its own way", clone},
		{"again", "the same packages unpacked in another order", fleetDisk("fleet-again", "ext4", web, unpackShuffled)},
		{"db", "another VM, on XFS", fleetDisk("fleet-db-1", "xfs", db, unpackTar)},
	} {
		path, err := ensure(m.recipe)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", m.name, err)
		}
		members = append(members, Member{m.vm, m.what, path})
	}
	return members, nil
}

// treeRecipe is a tree of packages as a tar file.
func treeRecipe(name, variant string, packages []string) (recipe, error) {
	suite, err := hostSuite()
	if err != nil {
		return recipe{}, err
	}
	return recipe{
		name: name + "-tree", ext: ".tar",
		text: strings.Join(append([]string{recipeVersion, suite, variant}, packages...), "\n"),
		make: func(_, out string) error { return bootstrap(suite, variant, packages, out) },
	}, nil
}

// fleetDisk is a VM as it is installed.
func fleetDisk(name, fsType string, tree recipe, unpack func(work, tar, mnt string) error) recipe {
	return recipe{
		name: name, ext: ".raw",
		text: fmt.Sprintln(tree.text, name, fsType, fleetSize, grubModules, guestFiles(fsType, "", "")),
		make: func(work, out string) error {
			tar, err := ensure(tree)
			if err != nil {
				return err
			}
			return makeDisk(work, out, fsType, fleetSize, func(mnt string) error { return unpack(work, tar, mnt) })
		},
	}
}

// fleetLater is a VM that was changed and into which packages were installed.
func fleetLater(name string, before recipe, seed int64, packages []string) (recipe, error) {
	added, err := treeRecipe(name, "extract", packages)
	if err != nil {
		return recipe{}, err
	}
	return recipe{
		name: name, ext: ".raw",
		text: fmt.Sprintln(before.text, added.text, name, seed),
		make: func(work, out string) error {
			disk, err := ensure(before)
			if err != nil {
				return err
			}
			tar, err := ensure(added)
			if err != nil {
				return err
			}
			if err := Copy(out, disk); err != nil {
				return err
			}
			if err := ChangeDisk(out, seed); err != nil {
				return err
			}
			root, err := mountRoot(out, ReadWrite)
			if err != nil {
				return err
			}
			return errors.Join(unpackTar(work, tar, root), unmountRoot(root))
		},
	}, nil
}

func unpackTar(_, tar, mnt string) error {
	_, err := run("tar", "-C", mnt, "--numeric-owner", "--xattrs", "--xattrs-include=*", "--keep-directory-symlink", "-xf", tar)
	return err
}

// unpackShuffled unpacks the tree package by package, in an order of its own.
func unpackShuffled(work, tar, mnt string) error {
	stage := filepath.Join(work, "stage")
	if err := os.Mkdir(stage, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	if err := unpackTar(work, tar, stage); err != nil {
		return err
	}
	list, err := shuffled(stage)
	if err != nil {
		return err
	}
	names := filepath.Join(work, "names")
	if err := os.WriteFile(names, []byte(strings.Join(list, "\x00")+"\x00"), 0o644); err != nil {
		return err
	}
	_, err = run("bash", "-c", `set -o pipefail
		tar -C "$1" --numeric-owner --xattrs --xattrs-include='*' --no-recursion --null -T "$2" -cf - |
		tar -C "$3" --numeric-owner --xattrs --xattrs-include='*' -xf -`, "bash", stage, names, mnt)
	return err
}

// shuffled lists the tree: directories first, then the files of each package,
// then what belongs to none.
func shuffled(root string) ([]string, error) {
	var dirs, files []string
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case e.IsDir():
			dirs = append(dirs, "./"+name)
		default:
			files = append(files, "./"+name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	lists, err := filepath.Glob(filepath.Join(root, "var/lib/dpkg/info/*.list"))
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(77, 1))
	rank := map[string]int{}
	for i, pick := range rng.Perm(len(lists)) {
		text, err := os.ReadFile(lists[pick])
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			name := strings.TrimSuffix(line, "\n")
			rank["."+name] = i
			rank["./usr"+name] = i // /bin and its like are links into /usr
		}
	}
	place := func(name string) int {
		if r, ok := rank[name]; ok {
			return r
		}
		return len(lists)
	}
	sort.SliceStable(files, func(i, j int) bool { return place(files[i]) < place(files[j]) })
	return append(dirs, files...), nil
}
