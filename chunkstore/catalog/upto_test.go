package catalog

import (
	"testing"
	"time"
)

// TestUpToMeansTheLastMoment: «newest at or before» takes in the whole day,
// minute or second that was written, in whatever zone it was written.
func TestUpToMeansTheLastMoment(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	defer func(l *time.Location) { time.Local = l }(time.Local)
	time.Local = berlin
	for s, want := range map[string]string{
		"2026-11-21T02:00+01:00":    "2026-11-21T01:00:59.999999999Z",
		"2026-11-21T02:00Z":         "2026-11-21T02:00:59.999999999Z",
		"2026-11-21T02:00":          "2026-11-21T01:00:59.999999999Z",
		"2026-11-21 02:00":          "2026-11-21T01:00:59.999999999Z",
		"2026-11-21 02:00:07":       "2026-11-21T01:00:07.999999999Z",
		"2026-11-21T02:00:07+01:00": "2026-11-21T01:00:07.999999999Z",
		"2026-11-21T02-00-07Z":      "2026-11-21T02:00:07.999999999Z",
		"2026-11-21T02:00:07.5Z":    "2026-11-21T02:00:07.5Z",
		"2026-03-29":                "2026-03-29T21:59:59.999999999Z", // a day of 23 hours
		"2026-10-25":                "2026-10-25T22:59:59.999999999Z", // a day of 25 hours
	} {
		got, err := parseUpTo(s)
		if err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %v, %v, want %s", s, got.UTC().Format(time.RFC3339Nano), err, want)
		}
	}
}

func TestOnlyOneSpellingOfAnID(t *testing.T) {
	for _, id := range []string{"2026-11-21T02-00-00Z+02", "2026-11-21T02-00-00Z002", "2026-11-21T02-00-00Z-01", "2026-11-21T02-00-00Z-2", "2026-11-21T02-00-00.5Z"} {
		if at, err := idTime(id); err == nil {
			t.Errorf("%q is taken for %v", id, at)
		}
	}
}
