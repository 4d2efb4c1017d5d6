package vmdk

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"

	"holdfast/capture/source"
)

const (
	maxExtents = 4096
	noParent   = 0xffffffff

	// MaxDescriptor is the longest text in bytes; 4096 extents take 250 KiB.
	MaxDescriptor = 1 << 20
	// Signature begins the text of a descriptor.
	Signature = "# Disk DescriptorFile"
)

// descriptor is the parsed text that describes a disk.
type descriptor struct {
	cid        uint32
	parentCID  uint32
	parentHint string // file name of the parent
	createType string
	extents    []extentLine
}

// extentLine is one extent of the disk as the descriptor gives it.
type extentLine struct {
	sectors int64
	kind    string // FLAT, SPARSE, ZERO, ...
	file    string
	start   int64 // first sector in a flat file
}

// parseDescriptor reads the text of a descriptor, which may be padded with
// NUL. at is its byte in f, for errors.
func parseDescriptor(f *source.File, at int64, text []byte) (*descriptor, error) {
	text, _, _ = bytes.Cut(text, []byte{0})
	if !bytes.HasPrefix(text, []byte(Signature)) {
		return nil, f.Corrupt(at, "no VMDK descriptor here")
	}
	d := &descriptor{parentCID: noParent}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, MaxDescriptor+1)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := d.parseLine(f, at, line); err != nil {
			return nil, err
		}
	}
	return d, lines.Err()
}

func (d *descriptor) parseLine(f *source.File, at int64, line string) error {
	key, value, isKey := strings.Cut(line, "=")
	if first, _, _ := strings.Cut(line, " "); first == "RW" || first == "RDONLY" || first == "NOACCESS" {
		return d.parseExtent(f, at, line)
	}
	if !isKey {
		return nil // nothing that reading needs
	}
	key, value = strings.ToLower(strings.TrimSpace(key)), strings.Trim(strings.TrimSpace(value), `"`)
	var err error
	switch key {
	case "cid":
		d.cid, err = parseCID(value)
	case "parentcid":
		d.parentCID, err = parseCID(value)
	case "parentfilenamehint":
		d.parentHint = value
	case "createtype":
		d.createType = value
	case "encryption.keysafe":
		return f.Unsupported("VMDK encryption", "decrypt the virtual machine first")
	}
	if err != nil {
		return f.Corrupt(at, "descriptor line %q: %v", line, err)
	}
	return nil
}

func parseCID(value string) (uint32, error) {
	cid, err := strconv.ParseUint(value, 16, 32)
	return uint32(cid), err
}

// parseExtent reads `ACCESS SECTORS TYPE ["FILE" [START]]`.
func (d *descriptor) parseExtent(f *source.File, at int64, line string) error {
	bad := func(why string) error { return f.Corrupt(at, "descriptor line %q: %s", line, why) }
	head, rest, quoted := strings.Cut(line, `"`)
	fields := strings.Fields(head)
	if len(fields) != 3 {
		return bad("not an extent")
	}
	if fields[0] == "NOACCESS" {
		return f.Unsupported("an extent that must not be accessed ("+line+")", "")
	}
	e := extentLine{kind: fields[2]}
	var err error
	if e.sectors, err = strconv.ParseInt(fields[1], 10, 64); err != nil || e.sectors < 0 || e.sectors > math.MaxInt64/source.SectorSize {
		return bad("not a number of sectors")
	}
	if quoted {
		var tail string
		var closed bool
		if e.file, tail, closed = strings.Cut(rest, `"`); !closed {
			return bad("the file name does not end")
		}
		if tail = strings.TrimSpace(tail); tail != "" {
			first, _, _ := strings.Cut(tail, " ")
			if e.start, err = strconv.ParseInt(first, 10, 64); err != nil || e.start < 0 || e.start > math.MaxInt64/source.SectorSize {
				return bad("not a first sector")
			}
		}
	} else if e.kind != "ZERO" {
		return bad("no file name")
	}
	if d.extents = append(d.extents, e); len(d.extents) > maxExtents {
		return f.Corrupt(at, "the descriptor lists more than %d extents", maxExtents)
	}
	return nil
}

// size is the sum of the extents in bytes.
func (d *descriptor) size(f *source.File) (int64, error) {
	total := int64(0)
	for _, e := range d.extents {
		if e.sectors > math.MaxInt64/source.SectorSize-total {
			return 0, f.Corrupt(0, "the extents are larger than any disk")
		}
		total += e.sectors
	}
	return total * source.SectorSize, nil
}

// hasParent tells whether unallocated grains are to be read from a parent.
func (d *descriptor) hasParent() bool { return d != nil && d.parentCID != noParent }

// checkType refuses what cannot be read, by the name the descriptor gives it.
func (e extentLine) checkType(f *source.File) error {
	switch e.kind {
	case "FLAT", "VMFS", "SPARSE", "ZERO":
		return nil
	}
	return f.Unsupported(fmt.Sprintf("an extent of type %q", e.kind), "convert the disk with vmkfstools or qemu-img first")
}
