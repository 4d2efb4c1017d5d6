package catalog

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/chunkstore"
)

var (
	policyRounds = flag.Int("policy-rounds", 400, "random policies to compare with the oracle")
	policySeed   = flag.Uint64("policy-seed", 1, "seed of the random policies")
)

// oracle says by definition, not by a walk, whether a policy keeps a version.
type oracle struct {
	p   Policy
	all []Candidate
	now time.Time
	loc *time.Location
}

func later(a, b Candidate) bool {
	return a.Time.After(b.Time) || a.Time.Equal(b.Time) && a.ID > b.ID
}

func (o oracle) past() (list []Candidate) {
	for _, c := range o.all {
		if !c.Time.After(o.now) {
			list = append(list, c)
		}
	}
	return list
}

// newest tells whether none of those for which is holds is later than c, for
// which it holds.
func (o oracle) newest(c Candidate, is func(Candidate) bool) bool {
	for _, d := range o.past() {
		if is(d) && later(d, c) {
			return false
		}
	}
	return is(c)
}

func (o oracle) keeps(c Candidate) bool {
	if c.Time.After(o.now) || c.Pinned {
		return true
	}
	if o.p.MinAge > 0 && (o.now.Sub(c.Time) < o.p.MinAge || !c.Captured.IsZero() && o.now.Sub(c.Captured) < o.p.MinAge) {
		return true
	}
	whole := func(d Candidate) bool { return d.State != chunkstore.Hurt }
	if o.newest(c, func(Candidate) bool { return true }) || o.newest(c, whole) ||
		o.newest(c, func(d Candidate) bool { return d.State == chunkstore.Valid }) {
		return true
	}
	for _, d := range o.past() {
		if o.newest(d, func(Candidate) bool { return true }) && o.p.Within > 0 && d.Time.Sub(c.Time) <= o.p.Within {
			return true
		}
	}
	for n, same := range o.periods() {
		if n != 0 && o.byPeriod(c, n, same) {
			return true
		}
	}
	return false
}

// periods gives for each rule of N periods what it means that two times are of
// one period, by the calendar and not by formats.
func (o oracle) periods() func(yield func(int, func(a, b Candidate) bool) bool) {
	in := func(c Candidate) time.Time { return c.Time.In(o.loc) }
	day := func(a, b Candidate) bool {
		return in(a).Year() == in(b).Year() && in(a).YearDay() == in(b).YearDay()
	}
	monday := func(c Candidate) time.Time {
		t := in(c)
		noon := time.Date(t.Year(), t.Month(), t.Day(), 12, 0, 0, 0, time.UTC)
		return noon.AddDate(0, 0, -(int(t.Weekday())+6)%7)
	}
	rules := []struct {
		n    int
		same func(a, b Candidate) bool
	}{
		{o.p.Last, func(a, b Candidate) bool { return a.ID == b.ID }},
		{o.p.Hourly, func(a, b Candidate) bool {
			_, x := in(a).Zone()
			_, y := in(b).Zone()
			return day(a, b) && in(a).Hour() == in(b).Hour() && x == y
		}},
		{o.p.Daily, day},
		{o.p.Weekly, func(a, b Candidate) bool { return monday(a).Equal(monday(b)) }},
		{o.p.Monthly, func(a, b Candidate) bool { return in(a).Year() == in(b).Year() && in(a).Month() == in(b).Month() }},
		{o.p.Yearly, func(a, b Candidate) bool { return in(a).Year() == in(b).Year() }},
	}
	return func(yield func(int, func(a, b Candidate) bool) bool) {
		for _, r := range rules {
			if !yield(r.n, r.same) {
				return
			}
		}
	}
}

// byPeriod: c is the one to keep of its period, and fewer than n later periods
// have a whole version.
func (o oracle) byPeriod(c Candidate, n int, same func(a, b Candidate) bool) bool {
	var laterPeriods []Candidate
	for _, d := range o.past() {
		damaged := d.State == chunkstore.Hurt
		if same(c, d) {
			if c.State == chunkstore.Hurt && !damaged || damaged == (c.State == chunkstore.Hurt) && later(d, c) {
				return false
			}
			continue
		}
		if later(d, c) && !damaged && !slices.ContainsFunc(laterPeriods, func(e Candidate) bool { return same(d, e) }) {
			laterPeriods = append(laterPeriods, d)
		}
	}
	return n == NoLimit || len(laterPeriods) < n
}

// randomTimes gathers times where calendars are odd: around changes of the
// clocks, leap days, ends of years, and equal ones.
func randomTimes(r *rand.Rand, loc *time.Location) []time.Time {
	odd := []time.Time{
		time.Date(2024, 2, 29, 12, 0, 0, 0, loc), time.Date(2026, 3, 29, 2, 30, 0, 0, loc),
		time.Date(2026, 10, 25, 2, 30, 0, 0, loc), time.Date(2026, 4, 5, 1, 45, 0, 0, loc),
		time.Date(2026, 12, 31, 23, 59, 59, 0, loc), time.Date(2021, 1, 3, 12, 0, 0, 0, loc),
		time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	spans := []time.Duration{time.Minute, time.Hour, 24 * time.Hour, 30 * 24 * time.Hour, 900 * 24 * time.Hour}
	base, span := odd[r.IntN(6)], spans[r.IntN(len(spans))]
	var list []time.Time
	for range r.IntN(40) {
		t := base.Add(time.Duration(r.Int64N(int64(span))) - span/2)
		switch r.IntN(12) {
		case 0:
			t = odd[r.IntN(len(odd))]
		case 1:
			if len(list) > 0 {
				t = list[r.IntN(len(list))]
			}
		}
		list = append(list, t.UTC().Truncate(time.Second))
	}
	return list
}

func randomPolicy(r *rand.Rand, zone string) Policy {
	n := func() int {
		switch r.IntN(5) {
		case 0:
			return 1 + r.IntN(6)
		case 1:
			return []int{NoLimit, 1, 1000}[r.IntN(3)]
		}
		return 0
	}
	p := Policy{Last: n(), Hourly: n(), Daily: n(), Weekly: n(), Monthly: n(), Yearly: n(), Zone: zone}
	if r.IntN(4) == 0 {
		p.Within = time.Duration(1+r.IntN([]int{90, 7000, 90 * 24 * 3600}[r.IntN(3)])) * time.Second
	}
	if r.IntN(4) == 0 {
		p.MinAge = time.Duration(r.Int64N(int64(48 * time.Hour)))
	}
	if !p.Keeps() {
		p.Last = 1
	}
	return p
}

func TestPolicyAgainstTheOracle(t *testing.T) {
	t.Logf("seed %d (-policy-seed), %d rounds (-policy-rounds)", *policySeed, *policyRounds)
	kept, dropped := 0, 0
	for round := range *policyRounds {
		r := rand.New(rand.NewPCG(*policySeed, uint64(round)))
		zone := []string{"", "UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"}[r.IntN(6)]
		p := randomPolicy(r, zone)
		loc, err := p.location()
		if err != nil {
			t.Fatal(err)
		}
		times := randomTimes(r, loc)
		o := oracle{p: p, loc: loc, now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
		if len(times) > 0 && r.IntN(2) == 0 {
			o.now = times[r.IntN(len(times))]
		}
		count := map[time.Time]int{}
		for _, at := range times {
			count[at]++
			c := Candidate{ID: makeID(at, count[at]), Time: at, Pinned: r.IntN(15) == 0}
			if r.IntN(2) == 0 {
				c.Captured = at.Add(time.Duration(r.Int64N(int64(100 * time.Hour))))
			}
			c.State = []chunkstore.Validation{chunkstore.Pending, chunkstore.Valid, chunkstore.Hurt, chunkstore.Incomplete}[r.IntN(4)]
			o.all = append(o.all, c)
		}
		plan, err := p.Plan(o.all, o.now)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if len(plan) != len(o.all) {
			t.Fatalf("round %d: %d verdicts on %d versions", round, len(plan), len(o.all))
		}
		for i, v := range plan {
			if i > 0 && !later(v.Candidate, plan[i-1].Candidate) {
				t.Fatalf("round %d: %s does not follow %s", round, v.ID, plan[i-1].ID)
			}
			if want := o.keeps(v.Candidate); want != (len(v.Keep) > 0) {
				t.Fatalf("round %d: %+v at %v: version %s (%v): kept by %q, want kept %v; all: %+v", round, p, o.now, v.ID, v.State, v.Keep, want, o.all)
			}
			if len(v.Keep) > 0 {
				kept++
			} else {
				dropped++
			}
		}
	}
	t.Logf("%d kept, %d to be forgotten", kept, dropped)
	if kept < *policyRounds || dropped < *policyRounds {
		t.Fatal("the rounds do not reach both verdicts")
	}
}

func day(d, h int) time.Time { return time.Date(2026, 11, d, h, 0, 0, 0, time.UTC) }

// plan shows the verdicts in one line each.
func plan(t *testing.T, p Policy, now time.Time, versions ...Candidate) []string {
	t.Helper()
	for i := range versions {
		versions[i].ID = makeID(versions[i].Time, 1)
	}
	verdicts, err := p.Plan(versions, now)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, v := range verdicts {
		lines = append(lines, fmt.Sprintf("%s: %s", v.Time.Format("02 15h"), strings.Join(v.Keep, ", ")))
	}
	return lines
}

func TestPolicyTellsItsReasons(t *testing.T) {
	for name, c := range map[string]struct {
		policy   Policy
		versions []Candidate
		want     []string
	}{
		"newest of each day": {Policy{Daily: 2}, []Candidate{{Time: day(18, 1)}, {Time: day(19, 1)}, {Time: day(19, 2)}, {Time: day(20, 3)}},
			[]string{"18 01h: ", "19 01h: ", "19 02h: daily 2026-11-19", "20 03h: the last version, the last good version, daily 2026-11-20"}},
		"the future pushes nothing out": {Policy{Last: 1, Within: time.Hour}, []Candidate{{Time: day(19, 1)}, {Time: day(20, 1)}, {Time: day(29, 1)}, {Time: day(30, 1)}},
			[]string{"19 01h: ", "20 01h: the last version, the last good version, last, within 1h0m0s", "29 01h: dated in the future", "30 01h: dated in the future"}},
		"a good one stands for its day": {Policy{Daily: 1}, []Candidate{{Time: day(19, 1)}, {Time: day(20, 1)}, {Time: day(20, 2), State: chunkstore.Hurt}},
			[]string{"19 01h: ", "20 01h: the last good version, daily 2026-11-20", "20 02h: the last version"}},
		"a damaged day counts for nothing": {Policy{Daily: 1}, []Candidate{{Time: day(18, 1)}, {Time: day(19, 1)}, {Time: day(20, 2), State: chunkstore.Hurt}},
			[]string{"18 01h: ", "19 01h: the last good version, daily 2026-11-19", "20 02h: the last version, daily 2026-11-20"}},
		"the last valid one stays": {Policy{Last: 1}, []Candidate{{Time: day(1, 1), State: chunkstore.Valid}, {Time: day(19, 1)}, {Time: day(20, 2)}},
			[]string{"01 01h: the last valid version", "19 01h: ", "20 02h: the last version, the last good version, last"}},
		"as old as may be": {Policy{Within: 25 * time.Hour}, []Candidate{{Time: day(19, 0)}, {Time: day(19, 1)}, {Time: day(20, 2)}},
			[]string{"19 00h: ", "19 01h: within 25h0m0s", "20 02h: the last version, the last good version, within 25h0m0s"}},
		"pins and youth": {Policy{Last: 1, MinAge: 36 * time.Hour}, []Candidate{{Time: day(1, 1), Pinned: true}, {Time: day(2, 1), Captured: day(20, 1)}, {Time: day(19, 23)}, {Time: day(20, 2)}},
			[]string{"01 01h: pinned", "02 01h: younger than the minimum age", "19 23h: ", "20 02h: the last version, the last good version, last, younger than the minimum age"}},
	} {
		if got := plan(t, c.policy, day(21, 12), c.versions...); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
	}
}

func TestBadPoliciesAreRefused(t *testing.T) {
	for name, p := range map[string]Policy{
		"no rule": {}, "only an age": {MinAge: time.Hour}, "negative": {Last: -2}, "too many": {Daily: maxKeep + 1},
		"negative time": {Within: -1}, "unknown zone": {Last: 1, Zone: "Mars/Olympus"}, "path as zone": {Last: 1, Zone: "../../etc/passwd"},
	} {
		if _, err := p.Plan([]Candidate{{ID: "x", Time: day(1, 1)}}, day(2, 1)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
