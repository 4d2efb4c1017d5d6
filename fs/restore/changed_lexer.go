package restore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	maxDepth  = 16  // of values that say nothing here
	maxString = 256 // of what is kept of a string
)

// lexer reads the tokens of JSON (RFC 8259) in constant memory, and knows its line.
type lexer struct {
	in   *bufio.Reader
	line int
}

// peek returns the next byte that is not white space, and leaves it there.
func (l *lexer) peek() (byte, error) {
	for {
		b, err := l.in.ReadByte()
		if err != nil {
			return 0, err
		}
		switch b {
		case '\n':
			l.line++
		case ' ', '\t', '\r':
		default:
			return b, l.in.UnreadByte()
		}
	}
}

// inside makes of an end of the list one that should not be there.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the list ends in the middle: it was cut short; make it anew")
	}
	return err
}

// take reads b, or says what it found in its place.
func (l *lexer) take(b byte) error {
	got, err := l.peek()
	if err != nil {
		return inside(err)
	}
	if got != b {
		return fmt.Errorf("%q where %q belongs", got, b)
	}
	_, err = l.in.ReadByte()
	return err
}

// text reads a string. Of a long one it keeps the beginning, and escapes as they are:
// what is looked for has none.
func (l *lexer) text() (string, error) {
	if err := l.take('"'); err != nil {
		return "", err
	}
	var s []byte
	for escaped := false; ; {
		b, err := l.in.ReadByte()
		switch {
		case err != nil:
			return "", inside(err)
		case b < ' ':
			return "", errors.New("a line ends within a string")
		case b == '"' && !escaped:
			return string(s), nil
		}
		escaped = b == '\\' && !escaped
		if len(s) < maxString {
			s = append(s, b)
		}
	}
}

// bare reads a number or a literal.
func (l *lexer) bare() (string, error) {
	if _, err := l.peek(); err != nil {
		return "", inside(err)
	}
	var s []byte
	for {
		b, err := l.in.ReadByte()
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if err != nil || strings.IndexByte(" \t\r\n,:[]{}\"", b) >= 0 {
			if err == nil {
				err = l.in.UnreadByte()
			} else {
				err = nil
			}
			if len(s) == 0 && err == nil {
				err = fmt.Errorf("%q where a value belongs", b)
			}
			return string(s), err
		}
		if len(s) == maxString {
			return "", fmt.Errorf("%s is no number", quoted(string(s)))
		}
		s = append(s, b)
	}
}

// number reads a whole number.
func (l *lexer) number() (int64, error) {
	if b, err := l.peek(); err == nil && b == '"' {
		return 0, errors.New("a string where a number of bytes belongs")
	}
	s, err := l.bare()
	if err != nil {
		return 0, err
	}
	return wholeNumber(s)
}

// list calls each for every element of an array or member of an object.
func (l *lexer) list(begin, end byte, each func() error) error {
	if err := l.take(begin); err != nil {
		return err
	}
	if b, err := l.peek(); err != nil {
		return inside(err)
	} else if b == end {
		return l.take(end)
	}
	for {
		if err := each(); err != nil {
			return err
		}
		b, err := l.peek()
		if err != nil {
			return inside(err)
		}
		if b == end {
			return l.take(end)
		}
		if err := l.take(','); err != nil {
			return err
		}
	}
}

// skip passes over a value.
func (l *lexer) skip(depth int) error {
	b, err := l.peek()
	switch {
	case err != nil:
		return inside(err)
	case depth == 0:
		return errors.New("values within values, deeper than a list has any")
	case b == '"':
		_, err = l.text()
	case b == '[':
		err = l.list('[', ']', func() error { return l.skip(depth - 1) })
	case b == '{':
		err = l.list('{', '}', func() error {
			if _, err := l.text(); err != nil {
				return err
			}
			if err := l.take(':'); err != nil {
				return err
			}
			return l.skip(depth - 1)
		})
	default:
		_, err = l.bare()
	}
	return err
}
