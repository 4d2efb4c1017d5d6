package restore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// object is one of a JSON list: an entry, or a DiskChangeInfo. Keys count in any
// case, as encoding/json has it; those that are not named here say nothing.
type object struct {
	Offset, Start, StartOffset, Length, Type *int64

	Description *string
	ChangedArea json.RawMessage // an array of {start, length}, or null

	// Of a map of what is allocated, as qemu-img map prints it.
	Depth, Present, Zero, Data json.RawMessage
}

// parseJSON reads one array or object behind the other, and returns how far it came.
func parseJSON(text []byte, c *collected) (end int, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	place := func() int { return int(dec.InputOffset()) }
	for err == nil {
		rest := bytes.TrimLeft(text[place():], " \t\r\n")
		switch {
		case len(rest) == 0:
			return place(), nil
		case rest[0] == '[':
			err = parseArray(dec, place, c)
		default:
			err = parseObject(dec, place, c)
		}
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return int(e.Offset), fmt.Errorf("it is no JSON: %w", e)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return len(text), errors.New("the list ends in the middle: it was cut short; make it anew")
	}
	return place(), typeError(err)
}

func parseArray(dec *json.Decoder, place func() int, c *collected) error {
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		if err := parseObject(dec, place, c); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// parseObject reads an entry, or a DiskChangeInfo with its areas.
func parseObject(dec *json.Decoder, place func() int, c *collected) error {
	var o object
	if err := dec.Decode(&o); err != nil {
		return err
	}
	switch {
	case o.Depth != nil || o.Present != nil || o.Zero != nil || o.Data != nil:
		return errors.New("that is a map of what is allocated, as qemu-img map prints it, and not of what changed; make one with nbdinfo --json --map=qemu:dirty-bitmap:NAME")
	case o.Length == nil, o.Offset != nil && o.Start != nil, o.StartOffset == nil && o.ChangedArea != nil:
	case o.StartOffset != nil && o.Offset == nil && o.Start == nil:
		return o.areas(c, place())
	case o.StartOffset != nil:
	case o.Offset != nil:
		return o.entry(*o.Offset, place()).tell(c)
	case o.Start != nil:
		return o.entry(*o.Start, place()).tell(c)
	}
	return errObject
}

var errObject = errors.New(`an object that is neither {"offset", "length"} nor {"start", "length"} nor {"startOffset", "length", "changedArea"}`)

func (o *object) entry(off int64, at int) entry {
	e := entry{off: off, length: *o.Length, text: o.Description, at: at}
	if o.Type != nil {
		e.kind, e.typed = *o.Type, true
	}
	return e
}

// areas takes in a DiskChangeInfo. Where nothing changed PowerShell writes null.
func (o *object) areas(c *collected, at int) error {
	if o.ChangedArea == nil {
		return errors.New("an answer without changedArea; where nothing changed it is []")
	}
	if err := c.about(*o.StartOffset, *o.Length); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(o.ChangedArea))
	switch first, err := dec.Token(); {
	case err != nil || first != nil && first != json.Delim('['):
		return errors.New("a changedArea that is no array")
	case first == nil:
		return nil
	}
	for dec.More() {
		var a struct{ Start, Length *int64 }
		if err := dec.Decode(&a); err != nil {
			return err
		}
		switch {
		case a.Start == nil || a.Length == nil:
			return errObject
		case *a.Start < *o.StartOffset || *a.Length > *o.Length || *a.Start-*o.StartOffset > *o.Length-*a.Length:
			return fmt.Errorf("%d changed bytes at %d, in an answer about %d bytes at %d", *a.Length, *a.Start, *o.Length, *o.StartOffset)
		}
		if err := c.add(*a.Start, *a.Length, true, at); err != nil {
			return err
		}
	}
	return nil
}

// typeError says what encoding/json means, to who wrote a list.
func typeError(err error) error {
	e, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return err
	}
	what := "a whole number of bytes"
	switch {
	case e.Field == "":
		what = "an object"
	case strings.EqualFold(e.Field, "description"):
		what = "a text"
	}
	return fmt.Errorf("a value (%.60s) where %s belongs", e.Value, what)
}
