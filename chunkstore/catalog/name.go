package catalog

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	rootPrefix = "v"
	nameEnd    = "\x00\x01"
	idLayout   = "2006-01-02T15-04-05Z"
)

// vmPrefix begins the root names of all versions of a VM.
func vmPrefix(vm string) string {
	return rootPrefix + strings.ReplaceAll(vm, "\x00", "\x00\xff") + nameEnd
}

func rootName(vm, id string) string { return vmPrefix(vm) + id }

// parseRootName splits a root name into VM and version id.
func parseRootName(name string) (vm, id string, err error) {
	rest, ok := strings.CutPrefix(name, rootPrefix)
	esc, id, ok2 := strings.Cut(rest, nameEnd)
	if !ok || !ok2 {
		return "", "", fmt.Errorf("root name %q is not a version's", name)
	}
	return strings.ReplaceAll(esc, "\x00\xff", "\x00"), id, nil
}

// makeID returns the id of the n-th version (from 1) of a VM at t.
func makeID(t time.Time, n int) string {
	id := t.UTC().Format(idLayout)
	if n > 1 {
		id += fmt.Sprintf("-%02d", n)
	}
	return id
}

// idTime returns the time that a version id names.
func idTime(id string) (time.Time, error) {
	if len(id) != len(idLayout) {
		n, err := strconv.Atoi(strings.TrimPrefix(id[min(len(id), len(idLayout)):], "-"))
		if err != nil || n < 2 || n > maxPerSecond || len(id) != len(idLayout)+3 {
			return time.Time{}, fmt.Errorf("version id %q: want a time such as %s", id, idLayout)
		}
		id = id[:len(idLayout)]
	}
	t, err := time.Parse(idLayout, id)
	if err != nil {
		return time.Time{}, fmt.Errorf("version id %q: want a time such as %s", id, idLayout)
	}
	return t, nil
}

// timeLayouts are how people write times; those without a zone are local.
var timeLayouts = []string{
	idLayout, time.RFC3339, "2006-01-02T15:04Z07:00",
	"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04",
}

// ParseTime reads a time as people write it: RFC 3339, a version id, "2026-11-21
// 02:00" (local), or a day, which means its beginning.
func ParseTime(s string) (time.Time, error) {
	for _, l := range timeLayouts {
		if t, err := time.ParseInLocation(l, s, zoneOf(l)); err == nil {
			return t, nil
		}
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, time.Local); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("time %q: write it as 2026-11-21, \"2026-11-21 02:00\" or 2026-11-21T02:00:00Z", s)
}

func zoneOf(layout string) *time.Location {
	if layout == idLayout {
		return time.UTC
	}
	return time.Local
}

// parseUpTo reads a time for «newest at or before»: a day means its last
// moment, a minute its last second.
func parseUpTo(s string) (time.Time, error) {
	t, err := ParseTime(s)
	if err != nil {
		return time.Time{}, err
	}
	switch {
	case len(s) == len(time.DateOnly):
		return t.AddDate(0, 0, 1).Add(-time.Nanosecond), nil
	case strings.Count(s, ":") == 1:
		return t.Add(time.Minute - time.Nanosecond), nil
	}
	return t.Add(time.Second - time.Nanosecond), nil
}
