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
	head, n := id, 1
	if len(id) == len(idLayout)+3 {
		head = id[:len(idLayout)]
		n, _ = strconv.Atoi(id[len(idLayout)+1:]) // makeID judges it
	}
	t, err := time.Parse(idLayout, head)
	if err != nil || n > maxPerSecond || makeID(t, n) != id {
		return time.Time{}, fmt.Errorf("version id %q: want a time such as %s", id, idLayout)
	}
	return t, nil
}

// timeLayouts are how people write times; those without a zone are local.
var timeLayouts = []string{
	idLayout, time.RFC3339, "2006-01-02T15:04Z07:00",
	"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04",
	time.DateOnly,
}

// ParseTime reads a time as people write it: RFC 3339, a version id, "2026-11-21
// 02:00" (local), or a day, which means its beginning.
func ParseTime(s string) (time.Time, error) {
	t, _, err := parseTime(s)
	return t, err
}

// parseTime returns the layout that fits, too.
func parseTime(s string) (time.Time, string, error) {
	for _, l := range timeLayouts {
		if t, err := time.ParseInLocation(l, s, zoneOf(l)); err == nil {
			return t, l, nil
		}
	}
	return time.Time{}, "", fmt.Errorf("time %q: write it as 2026-11-21, \"2026-11-21 02:00\" or 2026-11-21T02:00:00Z", s)
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
	t, layout, err := parseTime(s)
	switch {
	case err != nil:
		return time.Time{}, err
	case layout == time.DateOnly:
		return t.AddDate(0, 0, 1).Add(-time.Nanosecond), nil
	case !strings.Contains(layout, "05"): // no seconds
		return t.Add(time.Minute - time.Nanosecond), nil
	case t.Nanosecond() != 0: // a moment
		return t, nil
	}
	return t.Add(time.Second - time.Nanosecond), nil
}
