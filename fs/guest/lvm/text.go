package lvm

import (
	"strconv"
	"strings"

	"holdfast/fs/guest"
)

// Bounds of a metadata text: a tree of 64 MiB at worst. A group of 10,000
// volumes has 150,000 values.
const (
	maxDepth  = 16
	maxValues = 1 << 18
)

// section is a block of the text: values by key, and sections by name, in
// their order.
type section struct {
	name   string
	values map[string][]value
	inner  []*section
}

// value is a number or a string.
type value struct {
	text string
	num  int64
	str  bool
}

func (s *section) section(name string) *section {
	for _, i := range s.inner {
		if i.name == name {
			return i
		}
	}
	return nil
}

// str gives the string under key, "" when there is none.
func (s *section) str(key string) string {
	if v := s.values[key]; len(v) == 1 && v[0].str {
		return v[0].text
	}
	return ""
}

// number gives the number under key, or other when there is none.
func (s *section) number(key string, other int64) int64 {
	if v := s.values[key]; len(v) == 1 && !v[0].str {
		return v[0].num
	}
	return other
}

// has tells whether the list under key holds the string.
func (s *section) has(key, word string) bool {
	for _, v := range s.values[key] {
		if v.str && v.text == word {
			return true
		}
	}
	return false
}

// parser reads the text from left to right.
type parser struct {
	rest   string
	size   int
	values int
}

// parse reads a metadata text.
func parse(text []byte) (*section, error) {
	p := &parser{rest: strings.TrimRight(string(text), "\x00"), size: len(text)}
	return p.body("", 0)
}

func (p *parser) corrupt(what string) error {
	return guest.Corrupt("metadata text at byte %d: %s", p.size-len(p.rest), what)
}

// body reads up to the closing brace, or the text's end at depth 0.
func (p *parser) body(name string, depth int) (*section, error) {
	s := &section{name: name, values: map[string][]value{}}
	for {
		p.space()
		if p.rest == "" && depth == 0 {
			return s, nil
		}
		if depth > 0 && p.take('}') {
			return s, nil
		}
		key := p.word()
		p.space()
		if p.values++; key == "" || p.values > maxValues || depth > maxDepth {
			return nil, p.corrupt("no key, or too many of them")
		}
		switch {
		case p.take('{'):
			i, err := p.body(key, depth+1)
			if err != nil {
				return nil, err
			}
			s.inner = append(s.inner, i)
		case p.take('='):
			v, err := p.list()
			if err != nil {
				return nil, err
			}
			s.values[key] = v
		default:
			return nil, p.corrupt("neither = nor { behind a key")
		}
	}
}

// list reads a value or a list of them in brackets.
func (p *parser) list() ([]value, error) {
	p.space()
	if !p.take('[') {
		v, err := p.value()
		return []value{v}, err
	}
	list := []value{}
	for {
		p.space()
		if p.take(']') {
			return list, nil
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		if p.values++; p.values > maxValues {
			return nil, p.corrupt("too many values")
		}
		p.space()
		p.take(',')
	}
}

// value reads a string in quotes or a number.
func (p *parser) value() (value, error) {
	if p.take('"') {
		return p.quoted()
	}
	n := 0
	for n < len(p.rest) && strings.IndexByte("+-.0123456789", p.rest[n]) >= 0 {
		n++
	}
	word := p.rest[:n]
	num, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		if _, err := strconv.ParseFloat(word, 64); err != nil {
			return value{}, p.corrupt("neither a string nor a number")
		}
	}
	p.rest = p.rest[n:]
	return value{text: word, num: num}, nil
}

// quoted reads a string behind its opening quote; a backslash takes the next
// character as it is.
func (p *parser) quoted() (value, error) {
	var b strings.Builder
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return value{text: b.String(), str: true}, nil
		case c == '\\' && i+1 < len(p.rest):
			i++
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return value{}, p.corrupt("string without an end")
}

// space skips blanks and comments.
func (p *parser) space() {
	for {
		p.rest = strings.TrimLeft(p.rest, " \t\r\n")
		if !strings.HasPrefix(p.rest, "#") {
			return
		}
		end := strings.IndexByte(p.rest, '\n')
		if end < 0 {
			end = len(p.rest)
		}
		p.rest = p.rest[end:]
	}
}

// word reads a key: letters, digits and what names of volumes may have.
func (p *parser) word() string {
	n := 0
	for n < len(p.rest) && nameByte(p.rest[n]) {
		n++
	}
	w := p.rest[:n]
	p.rest = p.rest[n:]
	return w
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("+_.-/", c) >= 0
}

func (p *parser) take(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// peek gives the group's name, id and seqno of a text. The text is kept to be
// parsed once more, when the newest one is known: a tree takes ten times its
// text.
func peek(text []byte) (name, id string, seqno int64, ok bool) {
	if text == nil {
		return "", "", 0, false
	}
	s, err := parse(text)
	if err != nil {
		return "", "", 0, false
	}
	g := groupSection(s)
	if g == nil {
		return "", "", 0, false
	}
	return g.name, g.str("id"), g.number("seqno", 0), true
}

// groupSection finds the section of the volume group: the one with an id.
func groupSection(s *section) *section {
	for _, g := range s.inner {
		if g.str("id") != "" && validName(g.name) {
			return g
		}
	}
	return nil
}

// validName tells whether LVM would let a group or volume have the name; such
// a name is a file name too.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 127 && name[0] != '-' && !strings.Contains(name, "/")
}
