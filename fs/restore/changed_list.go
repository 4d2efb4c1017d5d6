package restore

import (
	"bufio"
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
	maxLine   = 4 << 10
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
//	    begins a comment.
//
// Errors name the line. Nothing at all is an error: what names no change is [].
func ParseChanged(r io.Reader, size int64) (Changed, error) {
	return parseChanged(r, &collected{size: size, most: maxListed})
}

func parseChanged(r io.Reader, c *collected) (Changed, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if bytes.Equal(head, []byte("\xef\xbb\xbf")) {
		in.Discard(3) //nolint:errcheck // it was peeked at
	} else if bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff")) {
		return nil, errors.New("it is UTF-16; write it as UTF-8 (PowerShell: Out-File -Encoding utf8)")
	}
	l := &lexer{in: in, line: 1}
	first, err := l.peek()
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("it is empty; a list that names no change is []")
	case err != nil:
		return nil, err
	case first == '[' || first == '{':
		err = parseJSON(l, c)
	default:
		err = parseLines(l, c)
	}
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", l.line, err)
	}
	return c.finish()
}

// parseLines reads lines from the one that the lexer stands in.
func parseLines(l *lexer, c *collected) error {
	found := false
	for ; ; l.line++ {
		line, err := l.in.ReadSlice('\n')
		if len(line) > maxLine || errors.Is(err, bufio.ErrBufferFull) {
			return errors.New("the line is longer than a list has any")
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		text, _, _ := strings.Cut(string(line), "#")
		if fields := strings.Fields(text); len(fields) > 0 {
			found = true
			if err := parseLine(fields, c, l.line); err != nil {
				return err
			}
		}
		if err != nil {
			break
		}
	}
	if !found {
		return errors.New("it has comments only; a list that names no change is []")
	}
	return nil
}

func parseLine(fields []string, c *collected, line int) error {
	if len(fields) < 2 || len(fields) > 4 {
		return fmt.Errorf("%s: want OFFSET LENGTH, in bytes, or JSON", quoted(strings.Join(fields, " ")))
	}
	e := entry{line: line}
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
		e.has |= hasType
	}
	if len(fields) > 3 {
		e.text, e.has = fields[3], e.has|hasText
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
	has               uint
	off, length, kind int64
	text              string // the type's description
	line              int    // at its end
}

// tell adds what the entry says.
func (e entry) tell(c *collected) error {
	dirty := e.has&hasType == 0 || e.kind == 1
	switch {
	case e.has&hasType != 0 && e.kind != 0 && e.kind != 1, e.has&hasText != 0 && (e.has&hasType == 0 || e.text != map[bool]string{true: "dirty", false: "clean"}[dirty]):
		return fmt.Errorf("type %d, %s: that is no map of a dirty bitmap, whose types are 0, clean, and 1, dirty; make one with nbdinfo --json --map=qemu:dirty-bitmap:NAME", e.kind, quoted(e.text))
	}
	return c.add(e.off, e.length, dirty, e.line)
}
