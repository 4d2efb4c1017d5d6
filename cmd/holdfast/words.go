package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// sizeText prints bytes as people write them: 512 B, 1.5 GiB, 64 MiB.
func sizeText(n int64) string {
	if n < 0 {
		return "-" + sizeText(-n)
	}
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, names := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	// 1023.95 KiB would print as 1024.0: it is 1 MiB.
	for v >= 1023.95 && i < len(names)-1 {
		v /= 1024
		i++
	}
	s := strconv.FormatFloat(v, 'f', 1, 64)
	if v < 10 {
		s = strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strings.TrimRight(strings.TrimRight(s, "0"), ".") + " " + names[i]
}

// parseSize reads 64MiB, 1G or 4096 as bytes; all units are powers of 1024.
func parseSize(option, s string) (int64, error) {
	n, err := units.RAMInBytes(s)
	if err != nil || n < 0 {
		return 0, usagef("--%s %q: write a size as 64MiB, 1G or 4096", option, s)
	}
	return n, nil
}

// rateText prints a rate.
func rateText(n int64, d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	return sizeText(int64(float64(n)/d.Seconds())) + "/s"
}

// durationText prints a duration with a precision that fits it.
func durationText(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// ratio returns whole:part, and whether there is one.
func ratio(whole, part int64) (float64, bool) {
	if part <= 0 || whole < 0 {
		return 0, false
	}
	return float64(whole) / float64(part), true
}

// ratioText prints a ratio, or why there is none.
func ratioText(whole, part int64, none string) string {
	r, ok := ratio(whole, part)
	switch {
	case !ok:
		return none
	case r >= 100:
		return fmt.Sprintf("%.0f : 1", r)
	}
	return fmt.Sprintf("%.2f : 1", r)
}

// ratioJSON is null where there is no ratio.
func ratioJSON(whole, part int64) *float64 {
	r, ok := ratio(whole, part)
	if !ok {
		return nil
	}
	return &r
}

// timeText prints a time in the local zone.
func timeText(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// countText prints a number with its noun: 1 disk, 2 disks.
func countText(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(n) + " " + noun + "s"
}

// thousands prints a number in groups of three: 12,345.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// nameText prints the name of a VM or disk, which may be any bytes: as it is
// where a terminal shows it faithfully, else quoted.
func nameText(name string) string {
	if name == "" || printable(name) != name || strings.TrimSpace(name) != name {
		return strconv.Quote(name)
	}
	return name
}
