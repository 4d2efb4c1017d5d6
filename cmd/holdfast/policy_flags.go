package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a policy names a zone, and small machines have no files of them

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore/catalog"
)

// keepFlags are the rules of a policy on a command line.
func keepFlags() []cli.Flag {
	number := func(name, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Usage: usage}
	}
	return []cli.Flag{
		number("keep-last", "keep the newest `N` versions"),
		number("keep-hourly", "keep the newest version of each of the last `N` hours that have one"),
		number("keep-daily", "likewise of the last `N` days"),
		number("keep-weekly", "likewise of the last `N` weeks, from Monday on"),
		number("keep-monthly", "likewise of the last `N` months"),
		number("keep-yearly", "likewise of the last `N` years; all of them: all"),
		number("keep-within", "keep what is within `AGE` (12h, 30d) of the newest version"),
		number("min-age", "forget nothing that is younger than `AGE`"),
		number("zone", "where days begin: `ZONE` is UTC, local or a name such as Europe/Berlin (default: UTC)"),
	}
}

// keepOptions are the flags as they were given.
type keepOptions struct {
	Policy        catalog.Policy
	MinAge, Zoned bool // these two were given
}

func (k keepOptions) given() bool { return k.Policy.Keeps() }
func (k keepOptions) any() bool   { return k.given() || k.MinAge || k.Zoned }

func parseKeep(c *cli.Context) (k keepOptions, err error) {
	for _, f := range []struct {
		name string
		to   *int
	}{
		{"keep-last", &k.Policy.Last}, {"keep-hourly", &k.Policy.Hourly}, {"keep-daily", &k.Policy.Daily},
		{"keep-weekly", &k.Policy.Weekly}, {"keep-monthly", &k.Policy.Monthly}, {"keep-yearly", &k.Policy.Yearly},
	} {
		if *f.to, err = parseKeepNumber(f.name, c.String(f.name)); err != nil {
			return k, err
		}
	}
	if k.Policy.Within, err = parseAge("keep-within", c.String("keep-within")); err != nil {
		return k, err
	}
	if k.Policy.MinAge, err = parseAge("min-age", c.String("min-age")); err != nil {
		return k, err
	}
	k.MinAge, k.Zoned = c.IsSet("min-age"), c.IsSet("zone")
	if k.Policy.Zone = c.String("zone"); strings.EqualFold(k.Policy.Zone, "UTC") {
		k.Policy.Zone = ""
	}
	if k.given() {
		if err := k.Policy.Validate(); err != nil {
			return k, usagef("%v", err)
		}
	}
	return k, nil
}

func parseKeepNumber(option, s string) (int, error) {
	switch s {
	case "":
		return 0, nil
	case "all":
		return catalog.NoLimit, nil
	}
	n, err := strconv.ParseUint(s, 10, 20)
	if err != nil {
		return 0, usagef("--%s %q: want a number or all", option, s)
	}
	return int(n), nil
}

// over puts what was given over a stored policy: rules replace all its rules,
// while its minimum age and its zone stay where no other was given.
func (k keepOptions) over(stored catalog.Policy) catalog.Policy {
	p := stored
	if k.given() {
		p = k.Policy
		p.MinAge, p.Zone = stored.MinAge, stored.Zone
	}
	if k.MinAge {
		p.MinAge = k.Policy.MinAge
	}
	if k.Zoned {
		p.Zone = k.Policy.Zone
	}
	return p
}

// policyText words a policy.
func policyText(p catalog.Policy) string {
	var words []string
	for _, r := range []struct {
		n    int
		name string
	}{{p.Last, "last"}, {p.Hourly, "hourly"}, {p.Daily, "daily"}, {p.Weekly, "weekly"}, {p.Monthly, "monthly"}, {p.Yearly, "yearly"}} {
		switch {
		case r.n == catalog.NoLimit:
			words = append(words, r.name+" all")
		case r.n > 0:
			words = append(words, fmt.Sprintf("%s %d", r.name, r.n))
		}
	}
	if p.Within > 0 {
		words = append(words, "within "+ageText(p.Within))
	}
	text := "keep " + strings.Join(words, ", ")
	if p.MinAge > 0 {
		text += "; forget nothing younger than " + ageText(p.MinAge)
	}
	return text + "; days begin in " + zoneText(p.Zone)
}

func zoneText(zone string) string {
	if zone == "" {
		return "UTC"
	}
	return oneLine(zone)
}

// ageText prints an age as parseAge reads it.
func ageText(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return strconv.FormatInt(int64(d/(24*time.Hour)), 10) + "d"
	}
	s := d.String() // 1h30m0s
	s = strings.TrimSuffix(s, "m0s") + map[bool]string{true: "m"}[strings.HasSuffix(s, "m0s")]
	return strings.TrimSuffix(s, "h0m") + map[bool]string{true: "h"}[strings.HasSuffix(s, "h0m")]
}

// policyView is a policy in JSON. A number of -1 stands for all.
type policyView struct {
	Last    int    `json:"keep_last"`
	Hourly  int    `json:"keep_hourly"`
	Daily   int    `json:"keep_daily"`
	Weekly  int    `json:"keep_weekly"`
	Monthly int    `json:"keep_monthly"`
	Yearly  int    `json:"keep_yearly"`
	Within  int64  `json:"keep_within_seconds"`
	MinAge  int64  `json:"min_age_seconds"`
	Zone    string `json:"zone"`
}

func viewPolicy(p catalog.Policy) *policyView {
	return &policyView{
		Last: p.Last, Hourly: p.Hourly, Daily: p.Daily, Weekly: p.Weekly, Monthly: p.Monthly, Yearly: p.Yearly,
		Within: int64(p.Within / time.Second), MinAge: int64(p.MinAge / time.Second), Zone: zoneText(p.Zone),
	}
}
