package files

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"holdfast/fs/guest"
)

// Partitions of Windows that bear no letter (UEFI specification 5.3.3 and
// Microsoft's list of PARTITION_INFORMATION_GPT), and the types of MBRs.
var hiddenTypes = []string{
	"c12a7328-f81f-11d2-ba4b-00a0c93ec93b", // EFI system
	"e3c9e316-0b5c-4db8-817d-f92df00215ae", // Microsoft reserved
	"de94bba4-06d1-4d40-a16a-bfd50179d6ac", // recovery
	"0x27", "0xef",
}

// drives makes the Space of a guest with Windows, by the letters that its
// registry tells. Where that can't be read C is the volume that holds Windows, and
// the others of Microsoft's filesystems follow in their order. Without Windows the
// Space is empty.
func drives(ctx context.Context, f *Found) (*Space, error) {
	s := &Space{covered: map[Place]int{}}
	var system *Volume
	for _, v := range f.Volumes[:min(len(f.Volumes), maxSearched)] {
		is, err := holdsWindows(ctx, v)
		if err != nil {
			return nil, err
		}
		if is && system == nil {
			system = v
		} else if is {
			s.note("%s/%s holds Windows too", v.Disk(), v.Name)
		}
	}
	if system == nil {
		return s, nil
	}
	s.System = Windows
	s.mounts = []mounted{{}} // the top, which has no volume
	if err := s.byRegistry(ctx, f, system); err != nil {
		return nil, err
	}
	return s, ctx.Err()
}

// byRegistry gives the letters that the guest's registry tells, or else those
// of the volumes' order. The error is not the guest's.
func (s *Space) byRegistry(ctx context.Context, f *Found, system *Volume) error {
	known, dirty, err := registered(ctx, system)
	if ours(ctx, err) {
		return err
	}
	if err == nil && len(known) == 0 {
		err = fmt.Errorf("the registry tells none: %w", guest.ErrNotExist)
	}
	if err != nil {
		s.note("letters are given in the order of the volumes, the guest may use others: %v", err)
		s.byOrder(ctx, f, system)
		return nil
	}
	if dirty {
		s.note("the registry was being written: letters that were given shortly before may be others")
	}
	if !slices.ContainsFunc(known, func(a assigned) bool { return f.assignedTo(a) == system }) {
		i := slices.IndexFunc([]rune(letters), func(l rune) bool {
			return !slices.ContainsFunc(known, func(a assigned) bool { return a.letter == l })
		})
		if i < 0 {
			return nil
		}
		s.note("the registry tells no letter of the volume that holds it")
		s.letter(ctx, rune(letters[i]), "", system)
	}
	for _, a := range known {
		if v := f.assignedTo(a); v != nil {
			s.letter(ctx, a.letter, a.source(), v)
		} else {
			s.add(Mount{Path: "/" + string(a.letter), Source: a.source(), Problem: f.lacking(a)}, nil)
		}
	}
	slices.SortFunc(s.drives, func(a, b drive) int { return strings.Compare(a.Letter, b.Letter) })
	for _, v := range f.Volumes {
		if lettered(v) && !slices.Contains(s.shown, v) {
			s.note("%s/%s has no letter", v.Disk(), v.Name)
		}
	}
	return nil
}

// letters in the order in which Windows gives them.
const letters = "CDEFGHIJKLMNOPQRSTUVWXYZAB"

// byOrder gives C to the volume that holds Windows and the next ones to the
// others.
func (s *Space) byOrder(ctx context.Context, f *Found, system *Volume) {
	s.letter(ctx, 'C', "", system)
	next := 'D'
	for _, v := range f.Volumes {
		if v != system && lettered(v) && next <= 'Z' {
			s.letter(ctx, next, "", v)
			next++
		}
	}
}

// letter gives a volume its letter.
func (s *Space) letter(ctx context.Context, letter rune, source string, v *Volume) {
	m := Mount{Path: "/" + string(letter), Source: source}
	fs, err := v.Open(ctx)
	if err != nil {
		m.Problem = err.Error()
		s.add(m, v)
		return
	}
	s.add(m, v)
	s.drives = append(s.drives, drive{string(letter), len(s.mounts)})
	s.mounts = append(s.mounts, mounted{v, fs.Root()})
}

// lettered tells whether Windows would give a volume a letter.
func lettered(v *Volume) bool {
	switch v.Type {
	case "ntfs", "exfat", "fat12", "fat16", "fat32":
	default:
		return false
	}
	if v.Partition == nil {
		return true
	}
	for _, t := range hiddenTypes {
		if strings.EqualFold(v.Partition.Type, t) {
			return false
		}
	}
	return !strings.EqualFold(v.Label, "System Reserved") && !strings.EqualFold(v.Label, "Recovery")
}

// holdsWindows looks for Windows\System32\config.
func holdsWindows(ctx context.Context, v *Volume) (bool, error) {
	if v.Type != "ntfs" {
		return false, nil
	}
	s, err := Single(ctx, v)
	if err == nil {
		var p Place
		if p, err = s.anyCase(ctx, "Windows/System32/config"); err == nil {
			a, err := s.Stat(ctx, p)
			return err == nil && a.Type == guest.Directory, nil
		}
	}
	if ours(ctx, err) {
		return false, err
	}
	return false, nil
}

// maxNames is how many names of a directory anyCase looks at.
const maxNames = 4096

// anyCase resolves a path whose letters may be written large or small.
func (s *Space) anyCase(ctx context.Context, path string) (Place, error) {
	at := s.Root()
	for _, part := range strings.Split(path, "/") {
		next, err := s.Lookup(ctx, at, part)
		if err == nil {
			at = next
			continue
		}
		found, left := false, maxNames
		err = s.ReadDir(ctx, at, 0, func(e Entry) bool {
			if found = strings.EqualFold(e.Name, part); found {
				at = e.Place
			}
			left--
			return !found && left > 0
		})
		if err != nil {
			return Place{}, err
		}
		if !found {
			return Place{}, fmt.Errorf("%s: %w", part, guest.ErrNotExist)
		}
	}
	return at, nil
}
