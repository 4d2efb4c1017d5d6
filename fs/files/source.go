package files

import (
	"strconv"
	"strings"
)

// find returns the volume that a source in fstab names, or nil.
func (f *Found) find(source string) *Volume {
	if tag, value, ok := strings.Cut(source, "="); ok && !strings.HasPrefix(source, "/") {
		return f.byTag(strings.ToUpper(tag), strings.Trim(value, `"'`))
	}
	dev, ok := strings.CutPrefix(source, "/dev/")
	if !ok {
		return nil
	}
	if by, ok := strings.CutPrefix(dev, "disk/by-"); ok {
		kind, value, _ := strings.Cut(by, "/")
		return f.byLink(kind, unhex(value))
	}
	if name, ok := strings.CutPrefix(dev, "mapper/"); ok {
		return f.named("lvm", name)
	}
	if name, ok := strings.CutPrefix(dev, "md/"); ok {
		if v := f.named("md", "md"+name); v != nil {
			return v
		}
		return f.named("md", "md-"+name)
	}
	if v := f.named("md", dev); v != nil {
		return v
	}
	if group, lv, ok := strings.Cut(dev, "/"); ok {
		return f.named("lvm", strings.ReplaceAll(group, "-", "--")+"-"+strings.ReplaceAll(lv, "-", "--"))
	}
	return f.byKernelName(dev)
}

// first returns the first volume for which is says so.
func (f *Found) first(is func(*Volume) bool) *Volume {
	for _, v := range f.Volumes {
		if is(v) {
			return v
		}
	}
	return nil
}

func (f *Found) byTag(tag, value string) *Volume {
	if value == "" {
		return nil
	}
	return f.first(func(v *Volume) bool {
		switch p := v.Partition; {
		case tag == "UUID":
			return strings.EqualFold(v.UUID, value)
		case tag == "LABEL":
			return v.Label == value
		case tag == "PARTUUID" && p != nil:
			return strings.EqualFold(p.UUID, value)
		case tag == "PARTLABEL" && p != nil:
			return p.Name == value
		}
		return false
	})
}

func (f *Found) byLink(kind, value string) *Volume {
	switch kind {
	case "uuid", "label", "partuuid", "partlabel":
		return f.byTag(strings.ToUpper(kind), value)
	case "id":
		if name, ok := strings.CutPrefix(value, "dm-name-"); ok {
			return f.named("lvm", name)
		}
		if id, ok := strings.CutPrefix(value, "dm-uuid-"); ok && id != "" {
			return f.first(func(v *Volume) bool { return v.MapperID == id })
		}
	}
	return nil
}

// named finds a volume of a layer by its name.
func (f *Found) named(layer, name string) *Volume {
	return f.first(func(v *Volume) bool {
		return v.Name == name && (strings.HasPrefix(v.Layer, layer+" ") || layer == "md" && strings.HasPrefix(v.Name, "md"))
	})
}

// byKernelName finds sda1, nvme0n1p2 and the like: on the disk of that name, or
// else on the disk at that place among the version's.
func (f *Found) byKernelName(dev string) *Volume {
	for _, name := range f.disks { // a disk may be called anything
		part, ok := strings.CutPrefix(dev, name)
		if !ok || strings.Trim(strings.TrimPrefix(part, "p"), "0123456789") != "" {
			continue
		}
		if v := f.onDisk(name, strings.TrimPrefix(part, "p")); v != nil {
			return v
		}
	}
	place, part := kernelPlace(dev)
	if place < 0 || place >= len(f.disks) {
		return nil
	}
	return f.onDisk(f.disks[place], part)
}

// kernelPlace tells which disk a kernel's name means, from 0, and the number of
// the partition; -1 where it is none of a disk.
func kernelPlace(dev string) (place int, part string) {
	for _, prefix := range []string{"sd", "vd", "xvd", "hd"} {
		rest, ok := strings.CutPrefix(dev, prefix)
		if ok && rest != "" && rest[0] >= 'a' && rest[0] <= 'z' {
			return int(rest[0] - 'a'), rest[1:]
		}
	}
	for _, prefix := range []string{"nvme", "mmcblk"} {
		rest, ok := strings.CutPrefix(dev, prefix)
		if !ok {
			continue
		}
		disk, part, _ := strings.Cut(rest, "p")
		disk, _, _ = strings.Cut(disk, "n") // its namespace
		if n, err := strconv.Atoi(disk); err == nil {
			return n, part
		}
	}
	return -1, ""
}

// onDisk finds the volume on a partition; part "" is the whole disk.
func (f *Found) onDisk(disk, part string) *Volume {
	want := "p" + part
	if part == "" {
		want = "disk"
	}
	v, _ := f.Volume(disk, want)
	return v
}

// unhex undoes udev's \x20 in the names of links.
func unhex(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if i+3 < len(s) && s[i] == '\\' && s[i+1] == 'x' {
			if c, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
