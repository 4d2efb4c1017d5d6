package restore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	// maxListed bounds the ranges of a list that lie apart, and with them its memory:
	// of 64 KiB each, with as much between them, they are half a TiB.
	maxListed = 4 << 20
	maxText   = 256 << 20
)

// ParseChanged reads a list of what was changed on a disk of size bytes. Its numbers
// are bytes; its ranges may come in any order and must not overlap. It is one of
//
//	[{"offset":0,"length":65536,"type":1,"description":"dirty"}, ...]
//	    nbdinfo --json --map=qemu:dirty-bitmap:NAME (libnbd, nbdinfo(1)); type 0 is
//	    clean. Where anything is called clean, the map has to tell of the whole disk.
//	{"startOffset":0,"length":N,"changedArea":[{"start":0,"length":65536}, ...]}
//	    vSphere's DiskChangeInfo, as QueryChangedDiskAreas returns it; several, in an
//	    array or one behind the other, have to tell of the whole disk together. An
//	    array of its DiskChangeExtents alone is taken as it is. Keys in any case, as
//	    PowerCLI writes them.
//	0 65536 [1 [dirty]]
//	    lines of offset, length, and what nbdinfo prints behind them without --json; #
//	    begins a comment. The last line has an end too: a number that was cut is a number.
//
// Errors name the line. Nothing at all is an error: what names no change is []. A
// list is kept in memory whole, and is 256 MiB at the most.
func ParseChanged(r io.Reader, size int64) (Changed, error) {
	return parseChanged(r, maxText, &collected{size: size, most: maxListed})
}

func parseChanged(r io.Reader, most int64, c *collected) (Changed, error) {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > most {
		return nil, fmt.Errorf("it has more than %d bytes; join ranges that lie near one another (more than what changed may be named), or restore without the list", most)
	}
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return nil, errors.New("it is UTF-16; write it as UTF-8 (PowerShell: Out-File -Encoding utf8)")
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	rest := bytes.TrimSpace(text)
	var end int
	switch {
	case len(rest) == 0:
		return nil, errors.New("it is empty; a list that names no change is []")
	case rest[0] == '[' || rest[0] == '{':
		end, err = parseJSON(text, c)
	default:
		end, err = parseLines(text, c)
	}
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", lineOf(text, end), err)
	}
	return c.finish(text)
}

// lineOf is the line of the last byte before end that is no white space.
func lineOf(text []byte, end int) int {
	return 1 + bytes.Count(bytes.TrimRight(text[:min(end, len(text))], " \t\r\n"), []byte{'\n'})
}

// parseLines reads lines, and returns how far it came.
func parseLines(text []byte, c *collected) (end int, err error) {
	found := false
	for line := range bytes.Lines(text) {
		end += len(line)
		said, _, _ := bytes.Cut(line, []byte{'#'})
		if len(bytes.TrimSpace(said)) == 0 {
			continue
		}
		found = true
		if err := parseLine(string(said), c, end); err != nil {
			return end, err
		}
		if line[len(line)-1] != '\n' {
			return end, errors.New("the last line has no end: the list was cut short, perhaps within a number; make it anew")
		}
	}
	if !found {
		return 0, errors.New("it has comments only; a list that names no change is []")
	}
	return end, nil
}

// parseLine reads a line that ends at byte at.
func parseLine(line string, c *collected, at int) error {
	fields := strings.Fields(line)
	if len(fields) < 2 || len(fields) > 4 {
		return fmt.Errorf("%s: want OFFSET LENGTH, in bytes, or JSON", quoted(strings.Join(fields, " ")))
	}
	e := entry{at: at}
	var err error
	if e.off, err = wholeNumber(fields[0]); err != nil {
		return err
	}
	if e.length, err = wholeNumber(fields[1]); err != nil {
		return err
	}
	if len(fields) > 2 {
		if e.kind, err = wholeNumber(fields[2]); err != nil {
			return err
		}
		e.typed = true
	}
	if len(fields) > 3 {
		e.text = &fields[3]
	}
	return e.tell(c)
}

// wholeNumber reads a number of bytes.
func wholeNumber(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s is more than any disk has", quoted(s))
	case err != nil || s[0] == '+':
		return 0, fmt.Errorf("%s is not a whole number of bytes", quoted(s))
	}
	return n, nil
}

// quoted shortens what a list says to what an error can bear.
func quoted(s string) string {
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return strconv.Quote(s)
}

// entry is one object or line of a list.
type entry struct {
	off, length int64
	typed       bool
	kind        int64
	text        *string // the type's description, where there is one
	at          int     // where it ends
}

// tell adds what the entry says.
func (e entry) tell(c *collected) error {
	dirty, text := !e.typed || e.kind == 1, ""
	if e.text != nil {
		text = *e.text
	}
	wrong := e.typed && e.kind != 0 && e.kind != 1
	if e.text != nil {
		wrong = wrong || !e.typed || dirty && text != "dirty" || !dirty && text != "clean"
	}
	if wrong {
		return fmt.Errorf("type %d, %s: that is no map of a dirty bitmap, whose types are 0, clean, and 1, dirty; make one with nbdinfo --json --map=qemu:dirty-bitmap:NAME", e.kind, quoted(text))
	}
	return c.add(e.off, e.length, dirty, e.at)
}
