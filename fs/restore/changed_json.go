package restore

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// What an object or a line of a list has.
const (
	hasOffset = 1 << iota
	hasStart
	hasPart
	hasLength
	hasType
	hasText
	hasAreas
	hasAllocation // it is of a map of what is allocated, as qemu-img map prints it
)

// members are the keys that say something, in lower case.
var members = map[string]uint{
	"offset": hasOffset, "start": hasStart, "startoffset": hasPart, "length": hasLength,
	"type": hasType, "description": hasText, "changedarea": hasAreas,
	"depth": hasAllocation, "present": hasAllocation, "zero": hasAllocation, "data": hasAllocation,
}

// parseJSON reads one array or object behind the other.
func parseJSON(l *lexer, c *collected) error {
	for {
		b, err := l.peek()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case b == '[':
			err = l.list('[', ']', func() error { return parseObject(l, c, true) })
		default:
			err = parseObject(l, c, true)
		}
		if err != nil {
			return err
		}
	}
}

// parseObject reads an entry, or a DiskChangeInfo with its areas where one may be.
func parseObject(l *lexer, c *collected, areas bool) error {
	var e entry
	err := l.list('{', '}', func() error {
		key, err := l.text()
		if err != nil {
			return err
		}
		if err := l.take(':'); err != nil {
			return err
		}
		return e.member(l, c, strings.ToLower(key), areas)
	})
	if err != nil {
		return err
	}
	e.line = l.line
	switch named := e.has & (hasOffset | hasStart | hasPart | hasLength | hasAreas); {
	case e.has&hasAllocation != 0:
		return errors.New("that is a map of what is allocated, as qemu-img map prints it, and not of what changed; make one with nbdinfo --json --map=qemu:dirty-bitmap:NAME")
	case named == hasPart|hasLength|hasAreas:
		return c.about(e.off, e.length)
	case named == hasOffset|hasLength, named == hasStart|hasLength:
		return e.tell(c)
	}
	return errors.New(`an object that is neither {"offset", "length"} nor {"start", "length"} nor {"startOffset", "length", "changedArea"}`)
}

// member reads the value of one key, in lower case.
func (e *entry) member(l *lexer, c *collected, key string, areas bool) (err error) {
	field := members[key]
	if e.has&field != 0 && field != hasAllocation {
		return fmt.Errorf("%q twice", key)
	}
	e.has |= field
	switch field {
	case hasOffset, hasStart, hasPart:
		e.off, err = l.number()
	case hasLength:
		e.length, err = l.number()
	case hasType:
		e.kind, err = l.number()
	case hasText:
		e.text, err = l.text()
	case hasAreas:
		if !areas {
			return errors.New("a changedArea within another")
		}
		if b, err := l.peek(); err == nil && b == 'n' {
			return e.null(l)
		}
		err = l.list('[', ']', func() error { return parseObject(l, c, false) })
	default:
		err = l.skip(maxDepth)
	}
	return err
}

// null reads the null that PowerShell writes for an empty array.
func (e *entry) null(l *lexer) error {
	if s, err := l.bare(); err != nil || s != "null" {
		return errors.Join(fmt.Errorf("%s where an array belongs", quoted(s)), err)
	}
	return nil
}
